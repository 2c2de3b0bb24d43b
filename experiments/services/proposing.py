"""Proposing an experiment, editing the proposal, and talking about it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from experiments.events import ExperimentProposed
from experiments.models import Experiment, ExperimentComment
from experiments.services.finding import advance, lock_experiment
from experiments.states import EXPERIMENT_LIFECYCLE, UNBEGUN, ExperimentStatus, ExperimentType
from mlops.audit.services import record
from mlops.errors import InvalidField
from mlops.outbox.services import publish
from mlops.tenancy.persons import party_of
from mlops.tenancy.roles import Principal
from registry.models import RegisteredModel
from registry.services.lookups import IfMatch

EDITABLE = frozenset({"experiment_name", "hypothesis", "experiment_type", "model"})


def propose(
    *,
    experiment_name: str,
    hypothesis: str,
    experiment_type: str,
    by: Principal,
    at: datetime,
    model: RegisteredModel | None = None,
) -> Experiment:
    """Propose an experiment; a manager other than the proposer decides about it. Raises InvalidField."""
    by.authorize("experiment.propose")
    _check({"experiment_name": experiment_name, "hypothesis": hypothesis, "experiment_type": experiment_type})
    with transaction.atomic():
        experiment = Experiment.objects.create(
            experiment_name=experiment_name,
            hypothesis=hypothesis,
            experiment_type=experiment_type,
            model=model,
            proposed_by=by.on_behalf_of or by.name,
            proposed_by_id=by.user_id,
            authors=[party_of(by).to_json()],
            created_at=at,
            updated_at=at,
        )
        after = {"experiment_name": experiment_name, "hypothesis": hypothesis, "experiment_type": experiment_type}
        record(action="experiment.proposed", target=experiment, label=str(experiment), at=at, after=after, actor=by)
        _tell(experiment, at=at)
    return experiment


def edit(*, experiment_id: UUID, changes: Mapping[str, Any], by: Principal, at: datetime, if_match: IfMatch | None = None) -> Experiment:
    """Change a proposal that nobody has begun to work on. Editing what was approved revokes the approval, and the editor becomes one of
    those who cannot approve it. Values that stay as they are change nothing. Raises InvalidField, IllegalMove, Stale."""
    by.authorize("experiment.propose")
    unknown = set(changes) - EDITABLE
    if unknown:
        raise InvalidField(min(unknown), f"Cannot be changed. Changeable: {', '.join(sorted(EDITABLE))}.")
    _check(changes)
    with transaction.atomic():
        experiment = lock_experiment(experiment_id, if_match)
        if experiment.status not in UNBEGUN:
            raise EXPERIMENT_LIFECYCLE.refusal(label=str(experiment), current=experiment.status, wanted="edited", deed="be edited")
        before = {name: getattr(experiment, name) for name in changes}
        new = {name: value for name, value in changes.items() if before[name] != value}
        if not new:
            return experiment
        shown = {name: _plain(before[name]) for name in new}
        after = {name: _plain(value) for name, value in new.items()}
        values = new | {"authors": [*experiment.authors, party_of(by).to_json()]}
        if experiment.status == ExperimentStatus.APPROVED:
            revoked: dict[str, Any] = {"approved_by": "", "approved_at": None, "approval_rationale": ""}
            why = f"Edited by {by.on_behalf_of or by.name}: the approval by {experiment.approved_by} is revoked."
            advance(experiment, ExperimentStatus.PROPOSED, by=by, at=at, reason=why, forced=True, **values, **revoked)
        else:
            values |= {"revision": experiment.revision + 1, "updated_at": at}
            Experiment.objects.filter(pk=experiment.pk).update(**values)
            for name, value in values.items():
                setattr(experiment, name, value)
        record(action="experiment.edited", target=experiment, label=str(experiment), at=at, before=shown, after=after, actor=by)
        _tell(experiment, at=at)
    return experiment


def comment(*, experiment_id: UUID, body: str, by: Principal, at: datetime) -> ExperimentComment:
    """Add to the discussion, whatever the experiment's status. A comment is never changed. Raises InvalidField, NotFound."""
    by.authorize("experiment.comment")
    if not body.strip():
        raise InvalidField("body", "Say something.")
    with transaction.atomic():
        experiment = lock_experiment(experiment_id)
        said = ExperimentComment.objects.create(
            experiment=experiment, author=by.on_behalf_of or by.name, actor=by.name, body=body, created_at=at
        )
        record(action="experiment.commented", target=experiment, label=str(experiment), at=at, after={"comment": str(said.pk)}, actor=by)
    return said


def _check(values: Mapping[str, Any]) -> None:
    for name in ("experiment_name", "hypothesis"):
        if name in values and not str(values[name]).strip():
            raise InvalidField(name, "Must not be empty.")
    if "experiment_type" in values and values["experiment_type"] not in ExperimentType.values:
        raise InvalidField("experiment_type", f"Must be one of: {', '.join(ExperimentType.values)}.")


def _tell(experiment: Experiment, *, at: datetime) -> None:
    publish(ExperimentProposed(str(experiment.pk), experiment.experiment_name, experiment.proposed_by, experiment.hypothesis[:500]), at=at)


def _plain(value: Any) -> Any:
    return value.name if isinstance(value, RegisteredModel) else value
