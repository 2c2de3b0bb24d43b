"""Registering models, and changing their settings."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction

from mlops.audit.services import record
from mlops.errors import Duplicate, InvalidField
from mlops.tenancy.roles import Principal
from registry.models import Dataset, PolicyChangeRequest, RegisteredModel
from registry.rules import recipes
from registry.services import policy_changes
from registry.services.dataset_files import data_path
from registry.services.lookups import IfMatch, hold_dataset, lock_model

NAME = re.compile(r"[a-z][a-z0-9_.-]{0,127}\Z")
RESERVED = frozenset(
    {"health", "history", "backtest", "statistics", "types", "registry", "validation", "promotion-requests", "policy-requests"}
)
"""Names of neither a model nor a version: addresses below `/models/` have them."""

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
