"""The document: exact when it comes back, refused wherever it was changed."""

import random
from typing import Any

import numpy as np
import orjson
import pytest

from engine.tabular import artifact
from engine.tabular.artifact import ArtifactError, dump, load
from engine.tabular.explaining import with_importance
from engine.tabular.model import TabularModel
from tests.engine.tabular.tables import ALL, TARGETS, houses, trained

NAMES = [params.get("kind", name) for name, params in ALL]


@pytest.fixture(scope="module")
def model() -> TabularModel:
    return with_importance(trained("multiclass", "lightgbm").model, houses(20))


@pytest.mark.parametrize("case", TARGETS)
@pytest.mark.parametrize(("algorithm", "params"), ALL, ids=NAMES)
def test_round_trip_answers_the_same_bit_for_bit(algorithm: str, params: dict[str, Any], case: str) -> None:
    model, frame = trained(case, algorithm, params).model, houses(60, seed=7)
    content = dump(model)

    again = load(content)

    assert dump(again) == content
    np.testing.assert_array_equal(again.raw(frame), model.raw(frame))
    assert again.predict(frame).values == model.predict(frame).values
    assert again.predict(frame).probabilities == model.predict(frame).probabilities
    assert again.signature == model.signature


@pytest.mark.parametrize(("algorithm", "params"), ALL[:3], ids=NAMES[:3])
def test_boosters_trained_alike_are_equal_bytes(algorithm: str, params: dict[str, Any]) -> None:
    assert dump(trained("regression", algorithm, params).model) == dump(trained("regression", algorithm, params).model)


def test_everything_beside_the_library_survives(model: TabularModel) -> None:
    again = load(dump(model))

    assert again.importances == model.importances
    assert (again.target, again.task, again.features) == ("band", "classification", model.features)
    assert (again.labels, again.params, again.notes) == (("low", "middle", "top"), model.params, model.notes)
    assert again.importance_method == "shap_native"


def altered(model: TabularModel, /, **changes: Any) -> bytes:
    document = orjson.loads(dump(model))
    for path, value in changes.items():
        target = document
        *parents, last = path.split("__")
        for name in parents:
            target = target[int(name) if name.isdigit() else name]
        target[last] = value
    return orjson.dumps(document)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "tiltyard-tabular/2"}, "format"),
        ({"algorithm": "pickle"}, "algorithm must be one of"),
        ({"task": "ranking"}, "task must be one of"),
        ({"task": "regression"}, "postprocessor lacks"),
        ({"link": "logit"}, "link does not fit"),
        ({"link": "identity"}, "link does not fit"),
        ({"target": ""}, "target must have"),
        ({"extra": 1}, "unknown fields: extra"),
        ({"params": []}, "params must be"),
        ({"params": {"depth": [1]}}, "must be a number"),
        ({"notes": [1]}, "must be a text"),
        ({"importances": [["cellar", 1.0]]}, "unknown features"),
        ({"importances": [["size"]]}, "a name and a number"),
        ({"preprocessor": None}, "must be an object"),
        ({"preprocessor__features__0__dropped": "gone"}, "columns or classes"),
        ({"postprocessor__labels": ["low", "top", "middle", "more"]}, "columns or classes"),
        ({"postprocessor__threshold": 2}, "between 0 and 1"),
        ({"model__content": "tree\nversion=v4\n"}, "size and digest"),
        ({"model__sha256": "0" * 64}, "size and digest"),
        ({"model__bytes": 5}, "size and digest"),
        ({"model__bytes": "5"}, "whole number"),
        ({"algorithm": "catboost"}, "not base64"),
        ({"model": None}, "must be an object"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_changed_field_is_refused_by_name(model: TabularModel, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        load(altered(model, **changes))


def rewritten(model: TabularModel, algorithm: str, content: bytes) -> bytes:
    """A document that vouches for any content."""
    document = orjson.loads(dump(model))
    document["algorithm"] = algorithm
    document["model"] = artifact._content_to_json(algorithm, content)
    return orjson.dumps(document)


@pytest.mark.parametrize("algorithm", ["catboost", "xgboost", "sklearn"])
@pytest.mark.parametrize("content", [b"CBM1", b"{L", b"PK\x03\x04", b"\x80\x04\x95pickle", b"x" * 100], ids=repr)
def test_foreign_content_is_refused_though_its_digest_is_right(model: TabularModel, algorithm: str, content: bytes) -> None:
    with pytest.raises(ArtifactError):
        load(rewritten(model, algorithm, content))


def test_model_of_other_columns_is_refused(model: TabularModel) -> None:
    narrow = {"features": ["size", "rooms"]}
    for name, params in ALL:
        other = trained("multiclass", name, params, **narrow).model
        wide = trained("multiclass", name, params).model
        with pytest.raises(ArtifactError, match="columns or classes"):
            load(rewritten(wide, name, other.fitted.content))


class Unlisted:
    """A type nobody has put on the list."""


def test_type_that_is_not_listed_is_refused_by_name(model: TabularModel) -> None:
    from skops.io import dumps

    with pytest.raises(ArtifactError, match=r"not let in: .*Unlisted"):
        load(rewritten(trained("regression", "sklearn", {"kind": "linear"}).model, "sklearn", dumps(Unlisted())))


def test_estimator_of_another_kind_is_refused() -> None:
    from sklearn.dummy import DummyRegressor
    from skops.io import dumps

    linear = trained("regression", "sklearn", {"kind": "linear"}).model
    other = DummyRegressor().fit(np.zeros((3, linear.fitted.shape.columns)), [1.0, 2.0, 3.0])

    with pytest.raises(ArtifactError, match="kind, columns or classes"):
        load(rewritten(linear, "sklearn", dumps(other)))


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"[]", b"{}", b"\x80\x04\x95pickle", b"tree\n", b'{"format": NaN}', b"[" * 5000])
def test_foreign_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(ArtifactError):
        load(content)


def test_truncated_bytes_are_refused_wherever_they_end(model: TabularModel) -> None:
    content = dump(model)

    for end in range(0, len(content), len(content) // 50):
        with pytest.raises(ArtifactError):
            load(content[:end])


def test_oversized_bytes_are_refused_unread(model: TabularModel, monkeypatch: pytest.MonkeyPatch) -> None:
    content = dump(model)
    monkeypatch.setattr(artifact, "MAX_BYTES", len(content) - 1)

    with pytest.raises(ArtifactError, match="larger than"):
        load(content)
    with pytest.raises(ArtifactError, match="at most"):
        dump(model)


def test_any_changed_byte_loads_or_is_refused_and_nothing_else(model: TabularModel) -> None:
    """LightGBM's text is walked before the library sees it, so that damaged documents may even be read in this process."""
    content, chance = dump(model), random.Random(4)
    refused = 0
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(chance.randint(1, 3)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            load(bytes(damaged))
        except ArtifactError:
            refused += 1
    assert refused > 120
