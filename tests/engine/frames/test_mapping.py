"""Mappings contradict themselves in many ways; each is refused by field."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.frames.mapping import Mapping, MappingError

FULL: dict[str, Any] = {
    "shape": "long", "date": "day", "target": "units", "keys": ["store", "item"], "attributes": ["dept"], "segments": ["dept", "store"],
    "price": "price", "promotion": "promo", "stock": "stock", "known": ["snap"], "missing_days": "unknown", "unpriced": "not_offered",
    "date_format": "%d/%m/%Y", "decimal": ",", "negatives": "zero", "duplicates": "sum", "closed_days": "keep",
}  # fmt: skip


def test_mapping_survives_json() -> None:
    mapping = Mapping.from_json(FULL)

    assert Mapping.from_json(mapping.to_json()) == mapping
    assert mapping.keys == ("store", "item")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"shape": "tall"}, "shape"),
        ({"date": ""}, "date"),
        ({"date": 5}, "date"),
        ({"target": None}, "target"),
        ({"keys": "store"}, "keys"),
        ({"keys": [1]}, "keys"),
        ({"attributes": ["store"]}, "attributes"),
        ({"price": "units"}, "price"),
        ({"segments": ["color"]}, "segments"),
        ({"segments": ["dept", "dept"]}, "segments"),
        ({"known": ["target"]}, "known"),
        ({"date_format": "yesterday"}, "date_format"),
        ({"date_format": "%Y; drop"}, "date_format"),
        ({"decimal": ";"}, "decimal"),
        ({"items": ["A"]}, "items"),
        ({"order": "invoice"}, "order"),
        ({"colour": 1}, "colour"),
        ({"missing_days": True}, "missing_days"),
    ],
)
def test_contradictions_are_refused_by_field(change: dict[str, Any], field: str) -> None:
    with pytest.raises(MappingError) as caught:
        Mapping.from_json({**FULL, **change})

    assert caught.value.field == field


@pytest.mark.parametrize("change", [{"target": "units"}, {"price": "p"}, {"item_key": "day"}, {"order": "o"}])
def test_wide_mapping_takes_no_line_roles(change: dict[str, Any]) -> None:
    with pytest.raises(MappingError):
        Mapping.from_json({"shape": "wide", "date": "day", **change})


leaves = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
json_values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3))


@given(field=st.sampled_from([*FULL, "items", "order", "item_key", "cancel_prefix", "promotion_suffix"]), value=json_values)
@settings(max_examples=200, deadline=None)
def test_any_json_in_any_field_is_a_mapping_or_refused(field: str, value: Any) -> None:
    accepted = accepted_mapping({**FULL, field: value})

    assert accepted is None or Mapping.from_json(accepted.to_json()) == accepted


def accepted_mapping(value: dict[str, Any]) -> Mapping | None:
    try:
        return Mapping.from_json(value)
    except MappingError:
        return None
