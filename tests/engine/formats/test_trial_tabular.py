"""Our own tabular models at the door: tried like any foreign file, accepted with their signature or refused, and harmless either way."""

import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest

from engine.formats.signature import Signature
from engine.formats.sniff import UnsafeArtifact
from engine.formats.trial import try_model
from engine.tabular import artifact
from engine.tabular.model import TabularModel
from tests.engine.formats.samples import saved
from tests.engine.tabular.tables import ALL, FEATURES, houses, trained

ONE_PER_LIBRARY = ALL[:4]
TORTURE = os.environ.get("TORTURE") == "1"
MUTANTS = {name: 2_500 if TORTURE else few for name, few in (("catboost", 5), ("xgboost", 2), ("lightgbm", 3), ("sklearn", 1))}


def end(path: Path) -> str:
    try:
        return f"accepted {try_model(path).format}"
    except UnsafeArtifact as refusal:
        return refusal.reason


@pytest.mark.parametrize(("algorithm", "params"), ONE_PER_LIBRARY, ids=[name for name, _ in ONE_PER_LIBRARY])
def test_every_kind_of_model_is_accepted_with_its_signature(algorithm: str, params: dict[str, Any], tmp_path: Path) -> None:
    model = trained("multiclass", algorithm, params).model

    facts = try_model(saved(tmp_path / "m", artifact.dump(model)))

    assert (facts.format, facts.kind, facts.features, facts.outputs) == ("tabular", algorithm, FEATURES, 3)
    assert facts.signature == model.signature
    assert Signature.from_json(facts.signature).names == FEATURES


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(artifact.dump(trained("regression", "lightgbm").model))
    return found


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: text[:-1] + ', "task": "regression"}', "malformed"),
        (lambda text: text[:-1] + ', "more": 1}', "malformed"),
        (lambda text: text[:-1] + ', "more": NaN}', "malformed"),
        (lambda text: text[:-1] + ', "more": ' + "[" * 70 + "]" * 70 + "}", "too_nested"),
        (lambda text: text[:-1] + ', "more": ' + "[" * 200_000 + "]" * 200_000 + "}", "too_nested"),
        (lambda text: text[: len(text) // 2], "malformed"),
        (lambda text: " " + text, "unknown_format"),
        (lambda text: text.replace("left_child=1", "left_child=0", 1), "malformed"),
    ],
    ids=["twice", "unknown", "nan", "deep", "bottomless", "cut", "indented", "loop"],
)  # fmt: skip
def test_unsound_documents_are_refused(change: Any, reason: str, document: dict[str, Any], tmp_path: Path) -> None:
    assert end(saved(tmp_path / "m", change(orjson.dumps(document).decode()))) == reason


def test_category_that_looks_like_another_format_misleads_nobody(tmp_path: Path) -> None:
    frame = houses(60).with_columns(town=pl.when("garden").then(pl.lit("tiltyard-forecaster/1")).otherwise(pl.lit("learner")))
    model = trained("regression", "lightgbm", train=frame, validation=frame).model

    assert end(saved(tmp_path / "m", artifact.dump(model))) == "accepted tabular"


def mutated(model: TabularModel, chance: random.Random) -> bytes:
    """Damage inside the library's own bytes, with a digest that vouches for it, so that the library really sees it."""
    content = bytearray(model.fitted.content)
    for _ in range(chance.randint(1, 3)):
        place, kind = chance.randrange(len(content)), chance.randrange(3)
        if kind == 0:
            content[place] = chance.randrange(256)
        elif kind == 1:
            content[place : place + chance.randint(1, 40)] = b""
        else:
            content[place : place + 4] = chance.randbytes(4)
    document = orjson.loads(artifact.dump(model))
    written = artifact._content_to_json(model.algorithm, bytes(content)) if model.algorithm != "lightgbm" else None
    if written is None:
        text = content.decode("utf-8", "replace")
        written = artifact._content_to_json("lightgbm", text.encode())
    document["model"] = written
    return orjson.dumps(document)


@pytest.mark.parametrize("algorithm", MUTANTS)
def test_mutants_are_accepted_or_refused_and_nothing_else(algorithm: str, tmp_path: Path) -> None:
    params = next(params for name, params in ALL if name == algorithm)
    model, chance = trained("regression", algorithm, params).model, random.Random(11)

    ends = Counter(end(saved(tmp_path / "m", mutated(model, chance))) for _ in range(MUTANTS[algorithm]))

    # A crash is the child's alone, and counts as a refusal here as it does at the door.
    assert sum(ends.values()) == MUTANTS[algorithm]
    assert set(ends) <= {"accepted tabular", "malformed", "not_finite", "crashed", "timed_out", "memory"}
