"""What a version was registered with, as one digest in its event of the audit trail: who rewrites the row does not rewrite the chain."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from mlops.audit.models import AuditEvent
from mlops.database.reading import reading
from registry.models import ModelVersion

REGISTERED = "version.registered"
_FACTS = sorted(field.attname for field in ModelVersion._meta.concrete_fields if field.name in ModelVersion.frozen_fields)


@dataclass(frozen=True)
class Unfaithful:
    """A version that is not as the audit trail says it was registered."""

    label: str
    problem: str


def facts_digest(version: ModelVersion) -> str:
    """SHA-256, hexadecimal, of every fact that never changes, the same from the object that is written and from the row that is read."""
    facts = {name: _alike(getattr(version, name)) for name in _FACTS}
    return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()


def verify_versions() -> tuple[int, list[Unfaithful]]:
    """Compare every version of the ambient customer with the event of its registration. Returns how many there are, and what is wrong.

    It says nothing about the chain, which is verified by itself. O(versions) in time; an event's digest per version in memory.
    """
    with reading():
        events = AuditEvent.objects.filter(action=REGISTERED)
        told = {pk: (label, digest, artifact) for pk, label, digest, artifact in _told(events)}
        number, found = 0, []
        for version in ModelVersion.objects.order_by("pk").iterator(chunk_size=500):
            number += 1
            _, digest, artifact = told.pop(str(version.pk), ("", None, None))
            if problem := _problem_with(version, digest, artifact):
                found.append(Unfaithful(f"version {version}", problem))
    found += [Unfaithful(f"version {label}", "is gone, although it was registered") for label, *_ in told.values()]
    return number, found


def _told(events: Any) -> Iterator[tuple[str, str, str | None, str | None]]:
    yield from events.values_list("object_id", "object_label", "after__facts_sha256", "after__artifact_sha256").iterator(chunk_size=1000)


def _problem_with(version: ModelVersion, digest: str | None, artifact: str | None) -> str:
    if digest is None and artifact is None:
        return "no event of the audit trail registered it"
    # The trail of an installation may begin before registrations kept a digest of all facts.
    same = digest == facts_digest(version) if digest is not None else artifact == version.artifact_sha256
    return "" if same else "differs from what was registered"


def _alike(value: Any) -> Any:
    """The value as it is whichever database it went through: they keep no difference between 1.0 and 1, nor between 0.0 and -0.0."""
    match value:
        case float():
            return int(value) if value.is_integer() else value
        case datetime():
            return value.astimezone(UTC).isoformat()
        case UUID() | date():
            return str(value)
        case Mapping():
            return {str(name): _alike(item) for name, item in value.items()}
        case list() | tuple():
            return [_alike(item) for item in value]
    return value
