"""Registering versions of models."""

import hashlib
import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from django.db import transaction

from mlops.artifacts.storage import Stored, storage
from mlops.audit.services import record
from mlops.errors import DomainError, Duplicate, InvalidField, InvalidFields
from mlops.outbox.services import publish
from mlops.tenancy.context import required
from mlops.tenancy.persons import trace
from mlops.tenancy.roles import Principal
from registry.events import VersionRegistered
from registry.models import DatasetVersion, ModelVersion, RegisteredModel
from registry.rules.metrics import direction_of, flaw_of
from registry.services.artifacts import ArtifactFacts, inspect_artifact
from registry.services.facts import REGISTERED, facts_digest
from registry.services.lookups import hold_dataset, labels_meant, lock_model
from registry.services.model_settings import RESERVED

LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}\Z")
MOST_ERRORS = 20
MOST_METRICS, LONGEST_METRIC = 500, 100
LARGEST = {
    "metrics": 64 * 1024,
    "hyperparameters": 64 * 1024,
    "lineage": 1024 * 1024,
    "signature": 8 * 1024 * 1024,
    "reference_statistics": 8 * 1024 * 1024,
}
"""Characters of each as JSON. The first two stand in every row of a list. The others are what a study of the widest table may need, whose
2,000 features have options, and 20,000 categories of 200 characters; a request's body is bounded by MAX_BODY_BYTES all the same."""
UUID_SHAPE = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")


@dataclass(frozen=True)
class PreparedArtifact:
    """An artifact that was tried and stored for a version that does not exist yet."""

    version_id: uuid.UUID
    stored: Stored
    facts: ArtifactFacts


def prepare_artifact(*, model: RegisteredModel, path: Path) -> PreparedArtifact:
    """Try the file in a disposable child and store it. Slow, so it belongs before the transaction.

    Raises UnsafeUpload or Busy.
    """
    facts = inspect_artifact(path)
    version_id = uuid.uuid4()
    # The folder carries the version's id: its label is only known under the model's lock.
    stored = storage().put(f"models/{required()}/{model.name}/{version_id}/model{facts.suffix}", path)
    return PreparedArtifact(version_id, stored, facts)


def register_version(
    *,
    model: RegisteredModel,
    by: Principal,
    at: datetime,
    label: str = "",
    algorithm: str = "",
    metrics: Mapping[str, Any] | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    signature: Mapping[str, Any] | None = None,
    reference_statistics: Mapping[str, Any] | None = None,
    lineage: Mapping[str, Any] | None = None,
    dataset_version: DatasetVersion | None = None,
    parent: ModelVersion | None = None,
    trained_through: date | None = None,
    training_seconds: float | None = None,
    artifact: Path | PreparedArtifact | None = None,
    notes: str = "",
) -> ModelVersion:
    """Register a candidate. Labels `v1, v2, …` are given in order, without gaps under concurrency; another label may be given instead.

    An artifact is tried in a disposable child process first (InvalidField with code `unsafe_artifact` otherwise), then stored, create-only,
    before the row is committed: a crash in between leaves a file nobody refers to, never a version without its file. A refusal leaves none.
    Raises InvalidField, InvalidFields (metrics), NotFound where the data set is gone, Duplicate when the label is taken, or Busy.
    """
    by.authorize("version.register")
    label = _checked_label(label)
    _check_metrics(metrics or {})
    given = {"metrics": metrics, "hyperparameters": hyperparameters, "signature": signature}
    _check_sizes(given | {"reference_statistics": reference_statistics, "lineage": lineage})
    prepared = prepare_artifact(model=model, path=artifact) if isinstance(artifact, Path) else artifact
    version = _candidate(model, by=by, at=at)
    version.metrics, version.hyperparameters, version.lineage = dict(metrics or {}), dict(hyperparameters or {}), dict(lineage or {})
    version.signature, version.reference_statistics = dict(signature or {}), dict(reference_statistics or {})
    version.dataset_version, version.parent = dataset_version, parent
    version.trained_through, version.training_seconds = trained_through, training_seconds
    version.algorithm, version.notes = algorithm, notes
    if prepared is not None:
        _take(version, prepared)
    try:
        return _insert(version, label=label, by=by, at=at)
    except DomainError:
        if prepared is not None and isinstance(artifact, Path):
            storage().delete(prepared.stored.path)  # refused, so nobody will ever refer to it; or refusals would fill the storage
        raise


def _candidate(model: RegisteredModel, *, by: Principal, at: datetime) -> ModelVersion:
    return ModelVersion(
        model=model,
        model_name=model.name,
        created_by=by.on_behalf_of or by.name,
        created_by_id=by.user_id,
        created_at=at,
        status_changed_at=at,
    )


def _take(version: ModelVersion, prepared: PreparedArtifact) -> None:
    """Make the artifact the version's, under the id it was stored for; what nobody said of the version, the file says."""
    facts, stored = prepared.facts, prepared.stored
    version.id = prepared.version_id
    version.algorithm = version.algorithm or facts.algorithm
    version.signature = version.signature or dict(facts.signature)
    version.artifact_format = facts.format
    version.artifact_path, version.artifact_sha256, version.artifact_size = stored.path, stored.sha256, stored.size


def _checked_label(label: str) -> str:
    """The label that is meant: a bare number means `v` and the number, here as wherever a version is named. Raises InvalidField."""
    if label and (not LABEL.match(label) or label in RESERVED or UUID_SHAPE.match(label)):
        raise InvalidField(
            "version", "Must be 1 to 64 of A–Z a–z 0–9 . _ + - beginning with a letter or digit, no reserved word and no UUID."
        )
    return labels_meant(label)[-1]


def _check_metrics(metrics: Mapping[str, Any]) -> None:
    if len(metrics) > MOST_METRICS:
        raise InvalidField("metrics", f"Holds {len(metrics):,} metrics; at most {MOST_METRICS} are allowed.")
    if any(len(name) > LONGEST_METRIC for name in metrics):
        raise InvalidField("metrics", f"A metric's name may have at most {LONGEST_METRIC} characters.")
    flaws = {name: flaw for name, value in metrics.items() if (flaw := flaw_of(name, value))}
    if flaws:
        errors = [{"field": f"metrics.{name[:100]}", "message": flaw, "code": "invalid"} for name, flaw in flaws.items()]
        raise InvalidFields("Some fields are not valid.", errors[:MOST_ERRORS])


def _check_sizes(given: Mapping[str, Mapping[str, Any] | None]) -> None:
    for name, value in given.items():
        size, most = len(json.dumps(value or {}, ensure_ascii=False, default=str)), LARGEST[name]
        if size > most:
            raise InvalidField(name, f"Has {size:,} characters as JSON; at most {most:,} are allowed.")


def _registered(version: ModelVersion) -> dict[str, Any]:
    """What the trail keeps of a version: the known metrics, which decide about it, a digest of all metrics, and one of all facts."""
    digest = hashlib.sha256(json.dumps(version.metrics, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
    known = {name: value for name, value in version.metrics.items() if direction_of(name) is not None}
    digests = {"artifact_sha256": version.artifact_sha256, "metrics_sha256": digest, "facts_sha256": facts_digest(version)}
    return {"version": version.version, "metrics": known, **digests}


def _insert(version: ModelVersion, *, label: str, by: Principal, at: datetime) -> ModelVersion:
    """Number, label and write the version under its model's lock. Raises Duplicate."""
    with transaction.atomic():
        if version.dataset_version is not None:
            hold_dataset(version.dataset_version.dataset_id)
        model = lock_model(version.model_id)
        version.number = model.last_version_number + 1
        version.version = label or _next_label(model)
        if ModelVersion.objects.filter(model=model, version=version.version).exists():
            raise Duplicate(f"{model.name} has a version {version.version} already.")
        version.save(force_insert=True)
        model.last_version_number = version.number
        model.revision += 1
        model.count_version(source=None, target=version.status)
        model.save(update_fields=["last_version_number", "last_label_number", "revision", "status_counts"])
        after = {**_registered(version), **trace(by)}
        record(action=REGISTERED, target=version, label=str(version), at=at, after=after, actor=by)
        publish(VersionRegistered(model.name, str(version.pk), version.version, by.name), at=at)
    return version


def _next_label(model: RegisteredModel) -> str:
    """The next automatic label under the model's lock, passing over those that somebody gave by hand."""
    model.last_label_number += 1
    while ModelVersion.objects.filter(model=model, version=f"v{model.last_label_number}").exists():
        model.last_label_number += 1
    return f"v{model.last_label_number}"
