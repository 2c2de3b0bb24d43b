"""Registering models and versions, and configuring models."""

import hashlib
import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from django.db import IntegrityError, transaction

from mlops.artifacts.storage import Stored, storage
from mlops.audit.services import record
from mlops.errors import DomainError, Duplicate, InvalidField, InvalidFields
from mlops.outbox.services import publish
from mlops.tenancy.context import required
from mlops.tenancy.persons import trace
from mlops.tenancy.roles import Principal
from registry.events import VersionRegistered
from registry.models import Dataset, DatasetVersion, ModelVersion, PolicyChangeRequest, RegisteredModel
from registry.rules import recipes
from registry.rules.metrics import direction_of, flaw_of
from registry.services import policy_changes
from registry.services.artifacts import ArtifactFacts, inspect_artifact
from registry.services.dataset_files import data_path
from registry.services.lookups import IfMatch, hold_dataset, labels_meant, lock_model

NAME = re.compile(r"[a-z][a-z0-9_.-]{0,127}\Z")
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
RESERVED = frozenset(
    {"health", "history", "backtest", "statistics", "types", "registry", "validation", "promotion-requests", "policy-requests"}
)

CONFIGURABLE = frozenset(
    {"display_name", "description", "model_type", "domain", "dataset", "data_dir", "recipe", "policy", "scheduled", "retention_days"}
)


def register_model(
    *,
    name: str,
    by: Principal,
    at: datetime,
    display_name: str = "",
    description: str = "",
    task: str = "forecast",
    model_type: str = "ensemble",
    domain: str = "",
    dataset: Dataset | None = None,
    data_dir: str = "",
    recipe: Mapping[str, Any] | None = None,
    policy: Mapping[str, Any] | None = None,
    scheduled: bool = True,
    retention_days: int = 730,
) -> RegisteredModel:
    """Make a name under which versions compete. Raises InvalidField, NotFound (the data set), or Duplicate (the name)."""
    by.authorize("model.register")
    if not NAME.match(name):
        raise InvalidField("name", "Must start with a lower-case letter and hold up to 128 of a–z, 0–9, _ . -")
    if name in RESERVED:
        raise InvalidField("name", f"{name} is reserved. Reserved: {', '.join(sorted(RESERVED))}.")
    _check_source(task, {"dataset": dataset, "data_dir": data_dir})
    model = RegisteredModel(
        name=name,
        display_name=display_name,
        description=description,
        task=task,
        model_type=model_type,
        domain=domain,
        dataset=dataset,
        data_dir=_checked_data_dir(data_dir),
        recipe=checked_recipe(recipe or {}),
        policy=policy_changes.checked_policy(policy or {}),
        scheduled=scheduled,
        retention_days=retention_days,
        created_by=by.name,
        created_at=at,
    )
    try:
        with transaction.atomic():
            if dataset is not None:
                hold_dataset(dataset.pk)
            model.save(force_insert=True)
            record(action="model.registered", target=model, label=name, at=at, after={"task": task, "model_type": model_type}, actor=by)
    except IntegrityError:
        raise Duplicate(f"A model named {name} exists already.") from None
    return model


@dataclass(frozen=True)
class Configured:
    """The model as it is now, and what has to wait for another manager."""

    model: RegisteredModel
    request: PolicyChangeRequest | None


def configure_model(
    *, model: RegisteredModel, changes: Mapping[str, Any], by: Principal, at: datetime, reason: str = "", if_match: IfMatch | None = None
) -> Configured:
    """Change a model's settings. The policy's revision counts its changes, so that a decision can name the policy it was made under.

    A policy is merged into the present one, so that changing one setting never drops another; None takes a setting back to its default.
    Under four eyes its looser settings wait for another manager; everything else applies at once. A recipe replaces the present one.
    Raises InvalidField, NotFound, Stale.
    """
    by.authorize("model.configure")
    unknown = set(changes) - CONFIGURABLE
    if unknown:
        raise InvalidField(min(unknown), f"Cannot be changed. Changeable: {', '.join(sorted(CONFIGURABLE))}.")
    values = dict(changes)
    _check_source(model.task, values)
    if "recipe" in values:
        values["recipe"] = checked_recipe(values["recipe"])
    if "data_dir" in values:
        values["data_dir"] = _checked_data_dir(values["data_dir"])
    with transaction.atomic():
        if values.get("dataset") is not None:
            hold_dataset(values["dataset"].pk)
        locked = lock_model(model.pk, if_match)
        waiting: dict[str, Any] = {}
        if "policy" in values:
            values["policy"], waiting = policy_changes.split(locked, values["policy"], by)
            if waiting and values["policy"] == locked.policy:
                del values["policy"]  # all of it waits
        if values or not waiting:
            _apply(locked, values, by=by, at=at, reason=reason)
        request = policy_changes.ask(locked, waiting, by=by, at=at, reason=reason) if waiting else None
    return Configured(locked, request)


def _check_source(task: str, values: Mapping[str, Any]) -> None:
    if task == RegisteredModel.Task.FORECAST:
        return
    for name, field in (("dataset", "dataset_id"), ("data_dir", "data_dir")):
        if values.get(name):
            raise InvalidField(field, f"Only a forecast learns from daily demand; studies of a {task} learn from splits.")


def _apply(model: RegisteredModel, values: Mapping[str, Any], *, by: Principal, at: datetime, reason: str) -> None:
    before = {name: _plain(getattr(model, name)) for name in values}
    for name, value in values.items():
        setattr(model, name, value)
    model.revision += 1
    if "policy" in values and before["policy"] != values["policy"]:
        model.policy_revision += 1
    model.save()
    after = {name: _plain(value) for name, value in values.items()}
    record(action="model.configured", target=model, label=model.name, at=at, before=before, after=after, reason=reason, actor=by)
    if "policy" in values:
        policy_changes.settle(model, before["policy"], by=by, at=at, reason=reason)


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
    facts = prepared.facts if prepared else None
    version = ModelVersion(
        id=prepared.version_id if prepared else uuid.uuid4(),
        model=model,
        model_name=model.name,
        algorithm=algorithm or (facts.algorithm if facts else ""),
        metrics=dict(metrics or {}),
        hyperparameters=dict(hyperparameters or {}),
        signature=dict(signature or (facts.signature if facts else {})),
        reference_statistics=dict(reference_statistics or {}),
        lineage=dict(lineage or {}),
        dataset_version=dataset_version,
        parent=parent,
        trained_through=trained_through,
        training_seconds=training_seconds,
        artifact_format=facts.format if facts else "",
        artifact_path=prepared.stored.path if prepared else "",
        artifact_sha256=prepared.stored.sha256 if prepared else "",
        artifact_size=prepared.stored.size if prepared else None,
        notes=notes,
        created_by=by.on_behalf_of or by.name,
        created_by_id=by.user_id,
        created_at=at,
        status_changed_at=at,
    )
    try:
        return _insert(version, label=label, by=by, at=at)
    except DomainError:
        if prepared is not None and isinstance(artifact, Path):
            storage().delete(prepared.stored.path)  # refused, so nobody will ever refer to it; or refusals would fill the storage
        raise


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
    """What the trail keeps of a version: the metrics that are known, which decide about it, and a digest of all there are."""
    digest = hashlib.sha256(json.dumps(version.metrics, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
    known = {name: value for name, value in version.metrics.items() if direction_of(name) is not None}
    return {"version": version.version, "artifact_sha256": version.artifact_sha256, "metrics": known, "metrics_sha256": digest}


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
        record(action="version.registered", target=version, label=str(version), at=at, after=after, actor=by)
        publish(VersionRegistered(model.name, str(version.pk), version.version, by.name), at=at)
    return version


def _next_label(model: RegisteredModel) -> str:
    """The next automatic label under the model's lock, passing over those that somebody gave by hand."""
    model.last_label_number += 1
    while ModelVersion.objects.filter(model=model, version=f"v{model.last_label_number}").exists():
        model.last_label_number += 1
    return f"v{model.last_label_number}"


def checked_recipe(values: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe, if it could be fitted. Raises InvalidField."""
    try:
        recipes.check(values)
    except recipes.RecipeError as error:
        raise InvalidField(f"recipe.{error.field}", str(error)) from None
    return dict(values)


def _checked_data_dir(text: str) -> str:
    """An existing path below an allowed root, symbolic links resolved. Raises InvalidField; an empty one is fine."""
    return str(data_path(text)) if text else ""


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Dataset) else value
