"""Finding and locking experiments, and moving them. Nothing else changes an experiment's status."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from experiments.models import Experiment, ExperimentVersion
from experiments.states import EXPERIMENT_LIFECYCLE, ExperimentStatus
from mlops.database.locking import lock_row
from mlops.errors import InvalidField, NotFound
from mlops.lifecycle.mechanism import move
from mlops.lifecycle.models import Move
from mlops.tenancy.roles import Principal
from registry.models import ModelVersion
from registry.services.lookups import IfMatch


def find_experiment(experiment_id: UUID) -> Experiment:
    """The experiment with its model and versions. One query. Raises NotFound."""
    related = Experiment.objects.select_related("model", "baseline_version", "experimental_version")
    found = related.filter(pk=experiment_id).first()
    if found is None:
        raise NotFound("There is no such experiment.")
    return found


def lock_experiment(experiment_id: UUID, if_match: IfMatch | None = None) -> Experiment:
    """Lock the experiment's row, before any model's; see `lock_row`."""
    return lock_row(Experiment.objects.filter(pk=experiment_id), missing="There is no such experiment.", if_match=if_match)


def advance(
    experiment: Experiment,
    to: ExperimentStatus,
    *,
    by: Principal,
    at: datetime,
    reason: str = "",
    forced: bool = False,
    details: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Move:
    """Make one step of a locked experiment; `changes` are columns written with it. Raises IllegalMove, Forbidden."""
    return move(
        EXPERIMENT_LIFECYCLE,
        experiment,
        to,
        label=str(experiment),
        actor=by,
        at=at,
        reason=reason,
        forced=forced,
        details=details,
        revision=experiment.revision + 1,
        updated_at=at,
        **changes,
    )


def link(experiment: Experiment, version: ModelVersion, *, by: Principal, at: datetime) -> None:
    """Keep that the version belongs to the locked experiment, which tries the newest such version.

    Raises InvalidField for a version of another model than the experiment's.
    """
    if experiment.model_id is not None and version.model_id != experiment.model_id:
        raise InvalidField("experimental_version", f"{version} is a version of another model than the experiment's.")
    ExperimentVersion.objects.get_or_create(
        experiment=experiment, version=version, defaults={"linked_by": by.on_behalf_of or by.name, "linked_at": at}
    )
    experiment.model_id, experiment.experimental_version = version.model_id, version
    Experiment.objects.filter(pk=experiment.pk).update(model=version.model_id, experimental_version=version)
