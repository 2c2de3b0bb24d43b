"""Whatever is accepted as JSON can be stored, read back and shown; everything else is refused by name."""

import json
import math
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops.api.json import JSONProblem, check_value, dumps, loads
from mlops.audit.models import AuditEvent
from mlops.audit.services import record
from mlops.storable import clean, storable
from mlops.tenancy.context import customer as scoped
from mlops.tenancy.models import Customer
from tests.conftest import NOON

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=8)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4), max_leaves=12
)


def acceptable(value: Any) -> bool:
    if isinstance(value, str):
        return "\x00" not in value and not any(0xD800 <= ord(character) <= 0xDFFF for character in value)
    if isinstance(value, bool) or value is None:
        return True
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(acceptable(key) and acceptable(item) for key, item in value.items())
    return all(acceptable(item) for item in value)


@given(values)
@settings(max_examples=300, deadline=None)
def test_exactly_what_can_be_kept_is_accepted(value: Any) -> None:
    text = json.dumps(value).encode()

    if acceptable(value):
        assert loads(text) == value
        assert json.loads(dumps(value)) == value
    else:
        with pytest.raises(JSONProblem):
            loads(text)


@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:0123456789eE+-.truefalsn\\u', max_size=60).map(str.encode))
@settings(max_examples=300, deadline=None)
def test_bytes_are_a_value_or_a_problem_never_a_defect(content: bytes) -> None:
    try:
        value = loads(content)
    except JSONProblem as problem:
        dumps({"detail": str(problem)})  # what the client is told can itself be sent
    else:
        check_value(value)


@pytest.mark.django_db
@given(values.filter(acceptable))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_accepted_survives_the_database(customer: Customer, value: Any) -> None:
    with scoped(customer.pk), transaction.atomic():
        event = record(action="note", target=customer, label="x", at=NOON, after={"value": value})

        stored = AuditEvent.objects.get(pk=event.pk).after

    assert same_numbers(stored) == same_numbers({"value": value})


def same_numbers(value: Any) -> Any:
    """PostgreSQL keeps 1e16 as an integer: in JSON both are the same number."""
    return json.loads(json.dumps(value), parse_int=float)


@pytest.mark.parametrize(
    ("content", "where", "what"),
    [
        (b'{"a": {"b": [1, "\\u0000"]}}', "a.b[1]", "NUL"),
        (b'{"a": {"b": 1, "b": 2}}', "b", "twice"),
        (b'[{"a": NaN}]', "body", "NaN"),
        (b"[" * 65 + b"]" * 65, "", "64 levels"),
        (b'{"a": 18446744073709551616}', "a", "64 bits"),
        (b'{"a": "\\udc00"}', "a", "surrogates"),
        (b'{"a": 1', "body", "line 1, column 8"),
    ],
)
def test_a_problem_says_where_and_what(content: bytes, where: str, what: str) -> None:
    with pytest.raises(JSONProblem) as refused:
        loads(content)

    assert str(refused.value).startswith(where)
    assert what in str(refused.value)


def test_numbers_that_no_json_reader_knows_leave_as_null() -> None:
    assert dumps({"a": math.nan, "b": [math.inf]}) == b'{"a":null,"b":[null]}'


def test_integers_beyond_64_bits_leave_as_floats() -> None:
    assert json.loads(dumps({"a": [10**300, -(2**63)], "b": (2**64,)})) == {"a": [1e300, -(2**63)], "b": [2.0**64]}


@pytest.mark.parametrize(
    "value", ["a\x00b", "\ud800", {"\x00": [float("nan"), 2**63, -(2**63) - 1, (float("inf"),)]}, ["fine", 1, 1.5, True, None]]
)
def test_what_was_cleaned_is_what_the_strict_parser_takes(value: Any) -> None:
    cleaned = clean(value)

    check_value(cleaned)
    assert clean(cleaned) == cleaned


@pytest.mark.parametrize(("text", "fits"), [("ale", True), ("", False), ("a\x00", False), ("\udfff", False), ("é🜁", True)])
def test_storable_text_is_what_the_strict_parser_takes(text: str, fits: bool) -> None:
    assert storable(text) is fits
