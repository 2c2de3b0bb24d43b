"""Whether an experiment may begin: approved or rejected by somebody who did not write it."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from experiments.models import Experiment
from experiments.services.finding import advance, lock_experiment
from experiments.states import EXPERIMENT_LIFECYCLE, ExperimentStatus
from mlops.errors import DomainError, InvalidField
from mlops.tenancy.parties import common_adders, is_own
from mlops.tenancy.persons import Party
from mlops.tenancy.roles import Principal
from registry.services.lookups import IfMatch


class OwnExperiment(DomainError):
    """Four eyes: whoever proposed or edited it cannot approve it, administrators included."""

    status = 403
    code = "four_eyes"


def approve(*, experiment_id: UUID, by: Principal, at: datetime, rationale: str = "", if_match: IfMatch | None = None) -> Experiment:
    """Let the experiment begin. Raises OwnExperiment, IllegalMove, Forbidden, Stale."""
    with transaction.atomic():
        experiment = lock_experiment(experiment_id, if_match)
        EXPERIMENT_LIFECYCLE.check(label=str(experiment), current=experiment.status, target=ExperimentStatus.APPROVED, actor=by)
        if proposed_by(experiment, by):
            raise OwnExperiment("You proposed or edited this experiment; another manager has to decide.")
        given: dict[str, Any] = {"approved_by": by.on_behalf_of or by.name, "approved_at": at, "approval_rationale": rationale}
        hand = common_adders(_authors(experiment), by)
        details = {"asker_and_approver_added_by": hand} if hand else {}
        advance(experiment, ExperimentStatus.APPROVED, by=by, at=at, reason=rationale, details=details, **given)
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


def proposed_by(experiment: Experiment, by: Principal) -> bool:
    """Whether the principal may be one of those who proposed or edited it.

    A program vouches for the people it names: it brings what one of them proposes and what another one decides, as documented.
    """
    return is_own(_authors(experiment), by, vouching=True)


def _authors(experiment: Experiment) -> list[Party]:
    return [Party.from_json(author) for author in experiment.authors]
