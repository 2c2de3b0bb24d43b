"""Finding models and versions by the names people use."""

import re
from collections.abc import Callable
from typing import Protocol
from uuid import UUID

from mlops.database.locking import lock_row
from mlops.errors import NotFound, Stale
from mlops.storable import storable
from mlops.tenancy.models import Customer
from registry.models import BacktestRun, Dataset, ModelVersion, RegisteredModel
from registry.states import VersionStatus

DEFAULT_MODEL = "demand_forecast"


class Revised(Protocol):
    """A row that counts its changes."""

    @property
    def revision(self) -> int:
        """The number in its ETag."""


IfMatch = Callable[[Revised], None]
"""Refuses a locked row that is not as the caller saw it (412)."""


def customer_called(text: str) -> UUID:
    """The id of a customer that exists, from the text a task was given. Raises NotFound."""
    identifier = as_uuid(text)
    if identifier is None or not Customer.objects.filter(pk=identifier).exists():
        raise NotFound(f"There is no customer {shown(text)}.")
    return identifier


def model_named(name: str) -> RegisteredModel:
    """The customer's model of this name. Raises NotFound."""
    model = RegisteredModel.objects.filter(name=name).first() if storable(name) else None
    if model is None:
        raise NotFound(f"There is no model named {shown(name)}.")
    return model


def version_of(model: RegisteredModel, reference: str) -> ModelVersion:
    """A model's version by its label or id; a bare number `1` means `v1` unless a version is labelled so. Raises NotFound."""
    version = None
    if storable(reference):
        identifier = as_uuid(reference)
        if identifier:
            version = model.versions.filter(pk=identifier).first()
        labels = labels_meant(reference)
        found = {one.version: one for one in model.versions.filter(version__in=labels)} if version is None else {}
        version = version or next((found[label] for label in labels if label in found), None)
    if version is None:
        raise NotFound(f"The model {model.name} has no version {shown(reference)}.")
    return version


def labels_meant(reference: str) -> list[str]:
    """The labels a reference may stand for, the likeliest first."""
    return [reference, f"v{reference}"] if re.fullmatch(r"[0-9]{1,9}", reference) else [reference]


def champion_of(model: RegisteredModel | None) -> ModelVersion | None:
    """The version that serves by default now; None where nothing does, or where there is no model."""
    return ModelVersion.objects.filter(model=model, status=VersionStatus.CHAMPION).first() if model else None


def reference_run(version: ModelVersion) -> BacktestRun | None:
    """The version's first backtest: what its later errors are measured against. One on newer days would learn a drift as normal."""
    return version.backtest_runs.order_by("created_at", "pk").first()


def hold_dataset(dataset_id: UUID) -> None:
    """Keep the data set from deletion until the caller's transaction ends, in which something comes to refer to it or to a version of it.

    Before any model is locked and any audit event is written: a deletion locks in that order. Raises NotFound where it is gone.
    """
    held = Dataset.objects.select_for_update(no_key=True).filter(pk=dataset_id).values_list("pk", flat=True)
    if not held:
        raise NotFound("The data set was deleted meanwhile.")


def lock_model(model_id: UUID, if_match: IfMatch | None = None) -> RegisteredModel:
    """Lock the model's row; see `lock_row`."""
    return lock_row(RegisteredModel.objects.filter(pk=model_id), missing="There is no such model.", if_match=if_match)


def lock_version(version_id: UUID, if_match: IfMatch | None = None) -> tuple[RegisteredModel, ModelVersion]:
    """Lock the version's model, then read the version as it is under that lock. Raises NotFound."""
    model = RegisteredModel.objects.select_for_update(of=("self",), no_key=True).filter(versions=version_id).order_by().first()
    if model is None:
        raise NotFound("There is no such version.")
    if if_match is not None:
        if_match(model)
    version = ModelVersion.objects.get(pk=version_id)
    version.model = model
    return model, version


def expect_revision(revision: int, what: str = "model") -> IfMatch:
    """A condition for `if_match`: the page that was decided on showed this revision."""

    def check(row: Revised) -> None:
        if row.revision != revision:
            raise Stale(f"The {what} has changed since you opened the page. Look again, then decide.")

    return check


def as_uuid(text: str) -> UUID | None:
    """The UUID written in the usual 36 characters, or None."""
    try:
        return UUID(text) if len(text) == 36 else None
    except ValueError:
        return None


def shown(text: str) -> str:
    """What somebody typed, short and in characters that every screen can hold, to be named in a refusal."""
    return text[:80].encode("ascii", "backslashreplace").decode()
