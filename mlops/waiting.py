"""What waits for a person: the rows of the approvals and the counts beside the navigation, whichever app asks."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Count, QuerySet, Value
from django.http import HttpRequest

from mlops.tenancy.roles import Principal


@dataclass(frozen=True)
class Choice:
    """One answer. Its button posts `answer=<value>`, `revision`, `reason` and `back=approvals` to `url`."""

    label: str
    icon: str
    url: str
    value: str
    dangerous: bool = False


@dataclass(frozen=True)
class Waiting:
    """Something that waits for a decision: who asked, the evidence in one line, and the answers that can be given in place."""

    kind: str
    """What it is, for the eye: Promotion, Experiment, Alert."""
    icon: str
    title: str
    about: str
    """The model, or whatever it concerns."""
    url: str
    """Its own page, with the whole evidence."""
    asked_by: str
    asked_at: datetime
    reason: str
    evidence: str
    will: str
    """What approving does, in one sentence."""
    revision: int
    """What the viewer decides on; a later one is refused as stale."""
    choices: tuple[Choice, ...] = ()
    """Empty for those who may not decide."""
    own: str = ""
    """Why this viewer cannot approve it, where four eyes forbid."""


Rows = Callable[[Principal], list[Waiting]]
Tally = Callable[[], QuerySet[Any]]
Revision = Callable[[UUID], int | None]

_sources: list[Rows] = []
_tallies: list[tuple[str, Tally]] = []
_subjects: dict[str, Revision] = {}
_by_model: list[Callable[[], dict[str, int]]] = []


def waits(rows: Rows) -> Rows:
    """Decorator: the function's rows stand on the approvals. It reads its oldest rows, a limited number, in a fixed number of queries."""
    _sources.append(rows)
    return rows


def tally(name: str) -> Callable[[Tally], Tally]:
    """Decorator: the rows of the function's queryset count for the entry of the navigation whose badge is `name`."""

    def register(count: Tally) -> Tally:
        _tallies.append((name, count))
        return count

    return register


def everything(principal: Principal) -> list[Waiting]:
    """What waits anywhere, oldest first."""
    return sorted((row for rows in _sources for row in rows(principal)), key=lambda row: row.asked_at)


def tallies(request: HttpRequest) -> dict[str, int]:
    """Every count of the navigation, by name: one query, once a request."""
    known: dict[str, int] | None = getattr(request, "tallies", None)
    if known is None:
        known = _count()
        request.tallies = known  # type: ignore[attr-defined]  # a cache for the rest of this request
    return known


def open_by_model(count: Callable[[], dict[str, int]]) -> Callable[[], dict[str, int]]:
    """Decorator: the function's numbers, by the name of a model, are what is open about it. In one query."""
    _by_model.append(count)
    return count


def open_about_models() -> dict[str, int]:
    """How much is open about each model, by its name; models without anything are absent."""
    found: Counter[str] = Counter()
    for count in _by_model:
        found.update(count())
    return dict(found)


def subject(kind: str) -> Callable[[Revision], Revision]:
    """Decorator: the function tells the present revision of what pages call `<kind>:<id>`, or None where there is no such thing."""

    def register(revision: Revision) -> Revision:
        _subjects[kind] = revision
        return revision

    return register


def revision_now(reference: str) -> int | None:
    """The present revision of a page's subject (`model:<id>`); None for what nobody knows. One query."""
    kind, _, identifier = reference.partition(":")
    find = _subjects.get(kind)
    try:
        return find(UUID(identifier)) if find else None
    except ValueError:
        return None


def _count() -> dict[str, int]:
    if not _tallies:
        return {}
    first, *others = [
        rows().order_by().annotate(tally=Value(name)).values("tally").annotate(n=Count("pk")).values_list("tally", "n")
        for name, rows in _tallies
    ]
    found: Counter[str] = Counter()
    for name, number in first.union(*others, all=True):
        found[name] += number
    return dict(found)
