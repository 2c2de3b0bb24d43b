"""One mechanism for every life cycle.

A life cycle is a table: which status may follow which, and which action of `mlops.tenancy.roles` somebody needs to be allowed. `move` is
the only function that changes a status. It checks the table and the actor, writes the status with a compare-and-swap, the history row and
the audit event, all in the caller's transaction. The API's 409, the screens' buttons and the diagrams in the docs read the same table.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import models, transaction
from django.db.models import Max

from mlops.audit.services import Entry, record_all
from mlops.errors import DomainError
from mlops.lifecycle.models import Move
from mlops.tenancy.models.base import TenantModel
from mlops.tenancy.roles import Principal


class IllegalMove(DomainError):
    """The life cycle has no such step."""

    code = "illegal_transition"

    def __init__(self, label: str, current: str, wanted: str, allowed: list[str], *, deed: str = "", way_out: str = "") -> None:
        follow = ", ".join(allowed) or way_out or "nothing: it is an end state"
        super().__init__(f"{label} is {current} and cannot {deed or f'become {wanted}'}. Allowed from {current}: {follow}.")
        self.current, self.wanted, self.allowed = current, wanted, allowed

    def extra(self) -> dict[str, Any]:
        """Where the object stands, and what may follow."""
        return {"current": self.current, "wanted": self.wanted, "allowed": self.allowed}


@dataclass(frozen=True)
class Lifecycle:
    """States and allowed moves, as data. `moves` maps a status to the statuses that may follow, each with the action it needs."""

    name: str
    states: type[models.TextChoices]
    initial: str
    moves: Mapping[str, Mapping[str, str]]
    forced: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Moves that only follow from something else, and what that is (a champion is deprecated when another version takes its place)."""

    def allowed(self, current: str) -> list[str]:
        """Statuses that may follow by somebody's decision, in the table's order."""
        return [target for target in self.moves.get(current, {}) if (current, target) not in self.forced]

    def edges(self) -> Iterator[tuple[str, str, str]]:
        """All (source, target, action)."""
        for source, targets in self.moves.items():
            for target, action in targets.items():
                yield source, target, action

    def refusal(self, *, label: str, current: str, wanted: str, deed: str = "") -> IllegalMove:
        """That there is no such step, with what there is. `deed` says in words what was wanted, where that is no status."""
        ways = [f"it becomes {target} when {cause}" for (source, target), cause in self.forced.items() if source == current]
        way_out = f"nothing by itself; {' or '.join(ways)}" if ways else ""
        return IllegalMove(label, current, wanted, self.allowed(current), deed=deed, way_out=way_out)

    def check(self, *, label: str, current: str, target: str, actor: Principal, forced: bool = False) -> None:
        """Raise IllegalMove or Forbidden unless the actor may make this move."""
        action = self.moves.get(current, {}).get(target)
        if action is None or ((current, target) in self.forced and not forced):
            raise self.refusal(label=label, current=current, wanted=target)
        if not forced:
            actor.authorize(action)


@dataclass(frozen=True)
class Step:
    """One object's move; `changes` are further columns written with the status."""

    row: Any
    to: str
    label: str
    reason: str = ""
    forced: bool = False
    details: Mapping[str, Any] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)


def move(
    lifecycle: Lifecycle,
    target_object: TenantModel,
    to: str,
    *,
    label: str,
    actor: Principal,
    at: datetime,
    reason: str = "",
    forced: bool = False,
    details: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Move:
    """Move an object along its life cycle; `changes` are further columns written with the status. See `move_all`."""
    step = Step(target_object, to, label, reason, forced, details or {}, changes)
    return move_all(lifecycle, [step], actor=actor, at=at)[0]


def move_all(lifecycle: Lifecycle, steps: Sequence[Step], *, actor: Principal, at: datetime) -> list[Move]:
    """Move objects of one stream in this order, leaving a row of history and an audit event each.

    The objects have a `status` and a `stream_id`, the row whose lock orders their moves. The caller has locked that row and
    read the objects after that. Raises IllegalMove where the table has no such step or another transaction moved the object since it was
    read, Forbidden where the actor's role does not allow it; the caller's transaction is then rolled back.
    """
    if not transaction.get_connection().in_atomic_block:
        raise transaction.TransactionManagementError("A move is made inside the transaction that locked its object.")
    sources = [_change_status(lifecycle, step, actor) for step in steps]
    entries = [
        Entry(f"{lifecycle.name}.{step.to}", step.row, step.label, {"status": source}, {"status": step.to, **step.details}, step.reason)
        for step, source in zip(steps, sources, strict=True)
    ]
    events = record_all(entries, at=at, actor=actor)
    stream_id = steps[0].row.stream_id
    last = Move.objects.filter(stream_id=stream_id).aggregate(last=Max("sequence"))["last"] or 0
    return Move.objects.bulk_create(
        Move(
            stream_id=stream_id,
            sequence=sequence,
            object_type=step.row._meta.label_lower,
            object_id=step.row.pk,
            object_label=step.label,
            source=source,
            target=step.to,
            actor=actor.name,
            on_behalf_of=actor.on_behalf_of,
            reason=step.reason,
            details=dict(step.details),
            occurred_at=at,
            audit_number=event.number,
        )
        for sequence, (step, source, event) in enumerate(zip(steps, sources, events, strict=True), start=last + 1)
    )


def _change_status(lifecycle: Lifecycle, step: Step, actor: Principal) -> str:
    """Write the new status where the old one still stands, which is returned."""
    row, current = step.row, str(step.row.status)
    lifecycle.check(label=step.label, current=current, target=step.to, actor=actor, forced=step.forced)
    if not type(row).objects.filter(pk=row.pk, status=current).update(status=step.to, **step.changes):
        row.refresh_from_db()
        raise lifecycle.refusal(label=step.label, current=row.status, wanted=step.to)
    row.status = step.to
    for name, value in step.changes.items():
        setattr(row, name, value)
    return current
