"""Whether an experiment may begin: approved or rejected by somebody who did not write it."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from experiments.models import Experiment
from experiments.rules import is_own
from experiments.services.finding import IfMatch, advance, author_of, lock_experiment
from experiments.states import EXPERIMENT_LIFECYCLE, ExperimentStatus
from mlops.errors import DomainError, InvalidField
from mlops.tenancy.roles import Principal


class OwnExperiment(DomainError):
    """Four eyes: whoever proposed or edited it cannot approve it, administrators included."""

    status = 403
    code = "four_eyes"


def approve(*, experiment_id: UUID, by: Principal, at: datetime, rationale: str = "", if_match: IfMatch | None = None) -> Experiment:
    """Let the experiment begin. Raises OwnExperiment, IllegalMove, Forbidden, Stale."""
    with transaction.atomic():
        experiment = lock_experiment(experiment_id, if_match)
        EXPERIMENT_LIFECYCLE.check(label=str(experiment), current=experiment.status, target=ExperimentStatus.APPROVED, actor=by)
        if is_own(experiment.authors, author_of(by)):
            raise OwnExperiment("You proposed or edited this experiment; another manager has to decide.")
        given: dict[str, Any] = {"approved_by": by.on_behalf_of or by.name, "approved_at": at, "approval_rationale": rationale}
        advance(experiment, ExperimentStatus.APPROVED, by=by, at=at, reason=rationale, **given)
    return experiment


def reject(*, experiment_id: UUID, by: Principal, at: datetime, rationale: str, if_match: IfMatch | None = None) -> Experiment:
    """Refuse the experiment, for good. Raises InvalidField without a rationale, IllegalMove, Forbidden, Stale."""
    if not rationale.strip():
        raise InvalidField("rationale", "Say why the experiment is rejected; it goes into the record.")
    with transaction.atomic():
        experiment = lock_experiment(experiment_id, if_match)
        closed: dict[str, Any] = {"closed_by": by.on_behalf_of or by.name, "closed_at": at, "decision_rationale": rationale}
        advance(experiment, ExperimentStatus.REJECTED, by=by, at=at, reason=rationale, **closed)
    return experiment
