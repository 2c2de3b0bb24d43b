"""Foreign model files: accepted with facts or refused with a reason, never anything else, and never with an effect."""

import hashlib
import json
import os
import pickle
import random
from datetime import date
from pathlib import Path

import pytest

from engine.forecasting.artifact import dump
from engine.forecasting.features import FeatureSet, Schema
from engine.forecasting.forecaster import LightGBMForecaster
from engine.formats.sniff import UnsafeArtifact
from engine.formats.trial import TrialLimits, try_model
from tests.engine.formats.samples import model_text, saved, tree

MUTANTS = 10_000 if os.environ.get("TORTURE") == "1" else 40


class Touch:
    """Unpickling this creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return open, (str(self.path), "w")


def refusal(path: Path, **limits: int) -> str:
    with pytest.raises(UnsafeArtifact) as caught:
        try_model(path, limits=TrialLimits(**limits))
    return caught.value.reason


def test_sound_model_is_accepted_with_its_facts(tmp_path: Path) -> None:
    facts = try_model(saved(tmp_path / "model.bin", model_text()), format="lightgbm")

    assert facts.features == ("price", "stock", "weekday")
    assert facts.categories == {"weekday": (-1, 0, 1, 2)}
    assert (facts.trees, facts.outputs, facts.objective, facts.format) == (2, 1, "regression", "lightgbm")
    assert facts.sha256 == hashlib.sha256(model_text().encode()).hexdigest()
    assert facts.peak_memory_bytes < 256 << 20


def test_open_descriptor_is_tried_and_keeps_its_position(tmp_path: Path) -> None:
    with saved(tmp_path / "model.txt", model_text()).open("rb") as stream:
        stream.seek(5)

        facts = try_model(stream.fileno())

        assert stream.tell() == 5
    assert facts.trees == 2


def test_pickle_is_refused_and_its_payload_never_runs(tmp_path: Path) -> None:
    target = tmp_path / "created"

    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        reason = refusal(saved(tmp_path / f"model{protocol}.txt", pickle.dumps(Touch(target), protocol=protocol)))
        assert reason == "pickle_refused"

    assert not target.exists()


def test_claimed_format_must_be_the_real_one(tmp_path: Path) -> None:
    with pytest.raises(UnsafeArtifact) as caught:
        try_model(saved(tmp_path / "m.onnx", model_text()), format="onnx")

    assert caught.value.reason == "format_mismatch"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"hello", "unknown_format"),
        (model_text(tree(0, left_child="0 -1")).encode(), "malformed"),
        (model_text()[:700].encode(), "malformed"),
        (b"tree\nversion=v4\n" + b"\xff" * 100, "malformed"),
    ],
)
def test_unsound_models_are_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    assert refusal(saved(tmp_path / "m", data)) == reason


def test_too_large_file_and_absent_file_and_device_are_refused(tmp_path: Path) -> None:
    assert refusal(saved(tmp_path / "m", model_text()), max_bytes=100) == "too_large"
    assert refusal(tmp_path / "absent") == "unreadable"
    assert refusal(Path("/dev/zero")) == "unknown_format"


def lightgbm_document(mean: str, typical: str | None = None, *, categories: int = 3) -> bytes:
    schema = Schema(("price", "stock", "weekday"), {"weekday": tuple(f"day {number}" for number in range(categories))})
    return dump(LightGBMForecaster(date(2024, 6, 1), FeatureSet(), schema, mean, typical))


def naive_document(**changes: object) -> str:
    fields = {"format": "tiltyard-forecaster/1", "kind": "seasonal_naive", "trained_through": "2024-06-01", "season": 7, "intervals": None}
    return json.dumps({**fields, **changes})


def test_forecaster_document_is_tried_booster_by_booster(tmp_path: Path) -> None:
    facts = try_model(saved(tmp_path / "f.json", lightgbm_document(model_text(), model_text())))

    assert (facts.format, facts.kind, facts.trees) == ("forecaster", "lightgbm", 4)
    assert facts.features == ("price", "stock", "weekday")


def test_forecaster_with_many_categories_is_recognized(tmp_path: Path) -> None:
    assert try_model(saved(tmp_path / "f.json", lightgbm_document(model_text(), categories=50_000))).trees == 2


def test_forecaster_without_boosters_is_accepted(tmp_path: Path) -> None:
    facts = try_model(saved(tmp_path / "f.json", naive_document()))

    assert (facts.kind, facts.features, facts.trees) == ("seasonal_naive", (), 0)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (naive_document()[:-1] + ', "kind": "y"}', "malformed"),
        (naive_document(season=float("nan")), "malformed"),
        (naive_document()[:-1] + ', "a": [1,}', "malformed"),
        (naive_document(kind=5), "malformed"),
        (naive_document(kind="oracle"), "malformed"),
        (naive_document(season="weekly"), "malformed"),
        (naive_document(surprise=1), "malformed"),
        (naive_document()[:-1] + ', "a": ' + "[" * 70 + "]" * 70 + "}", "too_nested"),
        (naive_document()[:-1] + ', "a": ' + "[" * 200_000 + "]" * 200_000 + "}", "too_nested"),
    ],
)
def test_unsound_forecaster_documents_are_refused(tmp_path: Path, document: str, reason: str) -> None:
    assert refusal(saved(tmp_path / "f.json", document)) == reason


def test_forecaster_with_an_unsound_booster_is_refused(tmp_path: Path) -> None:
    endless = model_text(tree(0, left_child="0 -1"))

    assert refusal(saved(tmp_path / "f.json", lightgbm_document(model_text(), endless))) == "malformed"


def test_child_that_hangs_is_killed_and_told(tmp_path: Path) -> None:
    with pytest.raises(UnsafeArtifact) as caught:
        try_model(saved(tmp_path / "m", model_text()), limits=TrialLimits(wall_seconds=0.001))

    assert caught.value.reason == "timed_out"


def mutated(text: str, chance: random.Random) -> bytes:
    """One to three small damages: numbers changed, bytes flipped, stretches doubled or cut."""
    data = bytearray(text.encode())
    for _ in range(chance.randint(1, 3)):
        place = chance.randrange(len(data))
        kind = chance.randrange(4)
        if kind == 0:
            data[place] = chance.randrange(256)
        elif kind == 1:
            data[place : place + chance.randint(1, 40)] = b""
        elif kind == 2:
            data[place:place] = data[place : place + chance.randint(1, 200)]
        else:
            digits = [index for index, byte in enumerate(data) if 48 <= byte <= 57]
            data[chance.choice(digits)] = ord(chance.choice("0123456789-."))
    return bytes(data)


def trial_end(path: Path) -> str:
    try:
        try_model(path)
    except UnsafeArtifact as error:
        return error.reason
    return "accepted"


def test_mutants_are_accepted_or_refused_and_nothing_else(tmp_path: Path) -> None:
    chance = random.Random(20)
    ends: dict[str, int] = {}

    for _ in range(MUTANTS):
        end = trial_end(saved(tmp_path / "m", mutated(model_text(), chance)))
        ends[end] = ends.get(end, 0) + 1

    assert sum(ends.values()) == MUTANTS
    assert ends.get("malformed", 0) > MUTANTS // 4
    # The text is walked before the library sees it, so that not even the child should be lost.
    assert ends.get("crashed", 0) + ends.get("timed_out", 0) == 0, ends


class Unknown:
    """A type nobody has put on the list."""


def test_skops_model_is_tried_and_unknown_types_are_refused(tmp_path: Path) -> None:
    from sklearn.ensemble import RandomForestRegressor
    from skops.io import dump as dump_skops

    good, bad = tmp_path / "good.skops", tmp_path / "bad.skops"
    inputs = [[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]]
    dump_skops(RandomForestRegressor(n_estimators=2, max_depth=2).fit(inputs, [1.0, 2.0, 3.0]), good)
    dump_skops(Unknown(), bad)

    facts = try_model(good, format="skops")

    assert (facts.features, facts.kind, facts.outputs) == (("x0", "x1"), "RandomForestRegressor", 1)
    assert refusal(bad) == "untrusted_type"
