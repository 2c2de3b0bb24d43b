"""An approved experiment at work: begun, tried in shadow, rolled back; and kept in step with what happens to its versions."""

from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from django.db import transaction

from experiments.models import Experiment, ExperimentVersion
from experiments.services.finding import advance, link, lock_experiment
from experiments.states import EXPERIMENT_LIFECYCLE, OPEN, ROAD, ExperimentStatus
from mlops.errors import InvalidField
from mlops.tenancy.roles import Principal
from registry.models import ModelVersion
from registry.services import moves
from registry.services.lookups import IfMatch, as_uuid, champion_of, lock_model
from registry.states import VersionStatus

log = structlog.get_logger(__name__)


def start(*, experiment_id: UUID, by: Principal, at: datetime, reason: str = "", if_match: IfMatch | None = None) -> Experiment:
    """Work begins; the champion of now is what the experiment has to beat. Raises IllegalMove, Forbidden, Stale."""
    with transaction.atomic():
        experiment = lock_experiment(experiment_id, if_match)
        begin(experiment, by=by, at=at, reason=reason)
    return experiment


def begin(experiment: Experiment, *, by: Principal, at: datetime, reason: str) -> None:
    """The step to `in_progress` of a locked experiment."""
    champion = champion_of(experiment.model)
    baseline = champion if champion and champion.pk != experiment.experimental_version_id else None
    values: dict[str, Any] = {"started_at": at, **({"baseline_version": baseline} if baseline else {})}
    details = {"baseline_version": str(baseline)} if baseline else {}
    advance(experiment, ExperimentStatus.IN_PROGRESS, by=by, at=at, reason=reason, details=details, **values)


def shadow_test(
    *,
    experiment_id: UUID,
    by: Principal,
    at: datetime,
    reason: str = "",
    version: ModelVersion | None = None,
    if_match: IfMatch | None = None,
) -> Experiment:
    """The candidate is tried beside the champion. A version named here becomes the experiment's, and is put into shadow unless it is there.

    Raises IllegalMove (also for a version that cannot be shadowed), InvalidField for a version of another model, Forbidden, Stale.
    """
    with transaction.atomic():
        experiment = lock_experiment(experiment_id, if_match)
        target = ExperimentStatus.SHADOW_TESTING
        EXPERIMENT_LIFECYCLE.check(label=str(experiment), current=experiment.status, target=target, actor=by)
        if version is not None:
            lock_model(version.model_id)  # before anything is written to the audit trail, whose head is a lock of its own
            link(experiment, version, by=by, at=at)
            version.refresh_from_db()
            if version.status != VersionStatus.SHADOW:
                moves.shadow(version_id=version.pk, by=by, at=at, reason=f"Experiment: {experiment.experiment_name}")
        details = {"experimental_version": str(version)} if version else {}
        advance(experiment, target, by=by, at=at, reason=reason, details=details)
    return experiment


def roll_back(*, experiment_id: UUID, by: Principal, at: datetime, rationale: str, if_match: IfMatch | None = None) -> Experiment:
    """Stop and undo an experiment that is under way. Raises InvalidField without a rationale, IllegalMove, Forbidden, Stale."""
    if not rationale.strip():
        raise InvalidField("rationale", "Say why the experiment is rolled back; it goes into the record.")
    with transaction.atomic():
        experiment = lock_experiment(experiment_id, if_match)
        closed: dict[str, Any] = {"closed_by": by.on_behalf_of or by.name, "closed_at": at, "decision_rationale": rationale}
        advance(experiment, ExperimentStatus.ROLLED_BACK, by=by, at=at, reason=rationale, **closed)
    return experiment


def follow_registration(*, version_id: UUID, by: Principal, at: datetime) -> None:
    """A version was registered: if its lineage names an approved experiment, that is under way now. Repeats change nothing."""
    _follow(version_id, ExperimentStatus.IN_PROGRESS, by=by, at=at, why="{version} was registered under it.")


def follow_shadow(*, version_id: UUID, by: Principal, at: datetime) -> None:
    """A version was put into shadow: the experiments it belongs to are shadow testing now. Repeats change nothing."""
    _follow(version_id, ExperimentStatus.SHADOW_TESTING, by=by, at=at, why="{version} was put into shadow.")


def _follow(version_id: UUID, target: ExperimentStatus, *, by: Principal, at: datetime, why: str) -> None:
    with transaction.atomic():
        version = ModelVersion.objects.filter(pk=version_id).first()
        if version is None:
            return
        named = as_uuid(str(version.lineage.get("experiment") or ""))
        linked = ExperimentVersion.objects.filter(version=version).values_list("experiment_id", flat=True)
        for experiment_id in sorted({*linked, *([named] if named else [])}):
            experiment = Experiment.objects.select_for_update(no_key=True).filter(pk=experiment_id, status__in=OPEN).first()
            if experiment is None:
                log.info("experiment.not_followed", experiment=str(experiment_id), version=str(version))
                continue
            _walk(experiment, version, target, by=by, at=at, why=why.format(version=version))


def _walk(experiment: Experiment, version: ModelVersion, target: ExperimentStatus, *, by: Principal, at: datetime, why: str) -> None:
    if experiment.model_id is not None and experiment.model_id != version.model_id:
        log.info("experiment.not_followed", experiment=str(experiment.pk), version=str(version), why="another model")
        return
    link(experiment, version, by=by, at=at)
    if experiment.status not in ROAD:
        return  # a proposal that nobody has approved moves for nobody
    for step in ROAD[ROAD.index(ExperimentStatus(experiment.status)) + 1 : ROAD.index(target) + 1]:
        if step == ExperimentStatus.IN_PROGRESS:
            begin(experiment, by=by, at=at, reason=why)
        else:
            advance(experiment, step, by=by, at=at, reason=why)
