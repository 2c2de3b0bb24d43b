"""What waits for a person: the rows of the approvals and the counts beside the navigation, whichever app asks."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet
from django.http import HttpRequest

from mlops.tenancy.parties import with_makers
from mlops.tenancy.persons import Party, party_of, same_person
from mlops.tenancy.roles import Principal

MOST_COUNTED = 1000
"""Nobody reads further; a count that reaches it is shown as 999+."""


@dataclass(frozen=True)
class Choice:
    """One answer. Its button posts `answer=<value>`, `revision`, `reason` and `back=approvals` to `url`."""

    label: str
    icon: str
    url: str
    value: str
    dangerous: bool = False
    needs_other: bool = False
    """Whether four eyes keep it from those whose own doing it is."""


@dataclass(frozen=True)
class Objection:
    """Why one of the doers cannot approve; whether they are the viewer is looked up for all rows at once."""

    text: str
    doers: Sequence[Party]
    vouching: bool = False


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
    objections: tuple[Objection, ...] = ()
    own: str = ""
    """Why this viewer cannot approve it, where four eyes forbid."""


Rows = Callable[[Principal], list[Waiting]]
Tally = Callable[[], QuerySet[Any]]
Revision = Callable[[UUID], int | None]

_sources: list[Rows] = []
_tallies: list[tuple[str, Tally]] = []
_subjects: dict[str, Revision] = {}
_by_model: list[Callable[[], list[str]]] = []


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
    """What waits anywhere, oldest first. Whose each is takes at most two queries, whatever their number."""
    rows = sorted((row for rows in _sources for row in rows(principal)), key=lambda row: row.asked_at)
    if not any(row.choices and row.objections for row in rows):
        return rows
    parties = [party for row in rows for objection in row.objections for party in objection.doers]
    me, *known = with_makers([party_of(principal), *parties])
    ahead = iter(known)
    return [_with_own(row, [[next(ahead) for _ in objection.doers] for objection in row.objections], me) for row in rows]


def _with_own(row: Waiting, doers: list[list[Party]], me: Party) -> Waiting:
    """The row as the viewer sees it, for whom some answers may be forbidden."""
    for objection, parties in zip(row.objections, doers, strict=True):
        if row.choices and any(same_person(party, me, vouching=objection.vouching) for party in parties):
            return replace(row, own=objection.text, choices=tuple(choice for choice in row.choices if not choice.needs_other))
    return row


def tallies(request: HttpRequest) -> dict[str, int]:
    """Every count of the navigation, by name: one query, once a request. What is counted stops at MOST_COUNTED."""
    known: dict[str, int] | None = getattr(request, "tallies", None)
    if known is None:
        known = _count()
        request.tallies = known  # type: ignore[attr-defined]  # a cache for the rest of this request
    return known


def open_by_model(names: Callable[[], list[str]]) -> Callable[[], list[str]]:
    """Decorator: the function names the model of each open thing, of MOST_COUNTED things at most. One query."""
    _by_model.append(names)
    return names


def open_about_models() -> dict[str, str]:
    """How much is open about each model, by its name, as people read it: `3`, or `3+` where there are too many to count all."""
    found = [names() for names in _by_model]
    more = "+" if any(len(names) >= MOST_COUNTED for names in found) else ""
    return {name: f"{count}{more}" for name, count in Counter(name for names in found for name in names).items()}


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


def shown(count: int) -> str:
    """A count as people read it; empty for none."""
    return f"{MOST_COUNTED - 1}+" if count >= MOST_COUNTED else str(count or "")


def _count() -> dict[str, int]:
    """Each queryset stops at MOST_COUNTED rows, so that a full inbox costs no page more than a tidy one."""
    parts: list[str] = []
    params: list[Any] = []
    for name, rows in _tallies:
        sql, given = rows().order_by().values("pk")[:MOST_COUNTED].query.sql_with_params()
        parts.append(f"SELECT %s, COUNT(*) FROM ({sql}) AS counted")  # noqa: S608 - the querysets' own SQL, its values apart
        params += [name, *given]
    found: Counter[str] = Counter()
    if parts:
        with connection.cursor() as cursor:
            cursor.execute(" UNION ALL ".join(parts), params)
            for name, number in cursor.fetchall():
                found[name] += number
    return dict(found)
