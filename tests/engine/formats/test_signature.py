"""Signatures are strict about what they are made of."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.formats.signature import Feature, Signature, SignatureError, signature_of
from engine.formats.trial import try_model
from tests.engine.formats.samples import model_text, saved

PRICE: dict[str, Any] = {"name": "price", "dtype": "number", "low": 0.5, "high": 9}


def test_signature_survives_json() -> None:
    signature = Signature(
        (Feature("price", "number", None, 0.0, 9.5), Feature("day", "category", ("Mo", "Tu")), Feature("open", "boolean"))
    )

    assert Signature.from_json(json.loads(json.dumps(signature.to_json()))) == signature
    assert signature.names == ("price", "day", "open")


@pytest.mark.parametrize(
    ("features", "field"),
    [
        ([], "features"),
        ("price", "features"),
        (["price"], "features[0]"),
        ([{}], "features[0].name"),
        ([{"name": ""}], "features[0].name"),
        ([PRICE, PRICE], "features[1].name"),
        ([{**PRICE, "dtype": "float"}], "features[0].dtype"),
        ([{**PRICE, "dtype": ["number"]}], "features[0].dtype"),
        ([{**PRICE, "unit": "EUR"}], "features[0].unit"),
        ([{**PRICE, "low": "0"}], "features[0].low"),
        ([{**PRICE, "low": True}], "features[0].low"),
        ([{**PRICE, "low": 10}], "features[0].low"),
        ([{**PRICE, "high": float("nan")}], "features[0].high"),
        ([{**PRICE, "high": 10**400}], "features[0].high"),
        ([{**PRICE, "categories": ["a"]}], "features[0].categories"),
        ([{"name": "day", "dtype": "category", "categories": ["a", "a"]}], "features[0].categories"),
        ([{"name": "day", "dtype": "category", "categories": [1]}], "features[0].categories"),
        ([{"name": "day", "dtype": "category", "low": 1}], "features[0].low"),
    ],
)
def test_wrong_entries_are_named_by_path(features: object, field: str) -> None:
    with pytest.raises(SignatureError) as caught:
        Signature.from_json({"features": features})

    assert caught.value.field == field


fields = st.sampled_from(["features", "name", "dtype", "categories", "low", "high"])
json_values = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(fields, inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
@settings(max_examples=200, deadline=None)
def test_any_json_is_a_signature_or_refused(value: object) -> None:
    accepted = accepted_signature(value)

    assert accepted is None or Signature.from_json(accepted.to_json()) == accepted


def accepted_signature(value: object) -> Signature | None:
    try:
        return Signature.from_json(value)
    except SignatureError:
        return None


def test_model_file_tells_its_signature(tmp_path: Path) -> None:
    signature = signature_of(try_model(saved(tmp_path / "m", model_text())))

    assert signature.features == (
        Feature("price", "number", None, -3.0, 3.0),
        Feature("stock", "number", None, 0.0, 10.0),
        Feature("weekday", "category", ("-1", "0", "1", "2")),
    )
