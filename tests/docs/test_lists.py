"""Every list orders and searches by what the documentation says of it."""

import re
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from django.urls import URLPattern, get_resolver, resolve

from mlops.api.views import ListView

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text()
ROWS = re.findall(r"^\| `(/(?:api/)?v1/[^`]+)` \| ([^|]+) \| ([^|]+) \|$", DOCUMENT, re.MULTILINE)
ANSWERED = {"model__name": "model_name", "version__version": "version", "channel__name": "channel"}
OF_MOVES = {"object_label": "version", "actor": "promoted_by"}
"""What answers call the fields that the tables call otherwise."""


def lists(patterns: list[object]) -> Iterator[type[ListView]]:
    for one in patterns:
        if isinstance(one, URLPattern):
            view = getattr(one.callback, "view_class", None) or getattr(one.callback, "cls", None)
            if view is not None and issubclass(view, ListView):
                yield view
        else:
            yield from lists(one.url_patterns)  # type: ignore[attr-defined]  # a resolver, where it is no pattern


def view_of(address: str) -> type[ListView]:
    found = resolve(address.replace("MODEL", "demand").replace("NAME", "sales").replace("ID", str(uuid4()))).func
    view: type[ListView] = getattr(found, "view_class", None) or found.cls  # type: ignore[attr-defined]  # one of the two
    return view


def names_in(cell: str) -> set[str]:
    return set(re.findall(r"`([a-z0-9_]+)`", cell))


@pytest.mark.parametrize(("address", "ordering", "search"), ROWS, ids=[address for address, _, _ in ROWS])
def test_a_list_takes_what_is_documented(address: str, ordering: str, search: str) -> None:
    view = view_of(address)

    answered = ANSWERED | (OF_MOVES if "deployment" in address else {})
    assert set(view.ordering_fields) == names_in(ordering)
    assert {answered.get(name, name) for name in view.search_fields} == names_in(search)


def test_every_list_is_documented() -> None:
    known = set(lists(get_resolver().url_patterns))

    assert len(known) > 15
    assert {view_of(address) for address, _, _ in ROWS} == known
