"""What experiments ask of a manager: rows of the approvals, counts of the navigation, and whether an open page is still true."""

from uuid import UUID

from django.db.models import QuerySet
from django.urls import reverse

from experiments.models import Experiment
from experiments.queries.experiments import experiments
from experiments.states import ExperimentStatus
from mlops.tenancy.persons import Party
from mlops.tenancy.roles import Principal
from mlops.waiting import Choice, Objection, Waiting, subject, tally, waits

MOST_ROWS = 100
OWN = "You proposed or edited this yourself. Four eyes: another manager has to approve it; you may reject it."


@tally("approvals")
@tally("experiments")
def proposed() -> QuerySet[Experiment]:
    """Proposals that nobody has decided."""
    return Experiment.objects.filter(status=ExperimentStatus.PROPOSED)


@subject("experiment")
def revision_of_experiment(pk: UUID) -> int | None:
    """Counts every change."""
    return Experiment.objects.filter(pk=pk).values_list("revision", flat=True).first()


@waits
def proposals_waiting(principal: Principal) -> list[Waiting]:
    """The oldest proposals, each with what it is to bring. One query."""
    rows = list(experiments().filter(status=ExperimentStatus.PROPOSED).defer(None).order_by("created_at", "pk")[:MOST_ROWS])
    may = principal.may("experiment.decide")
    return [_row(row, may=may) for row in rows]


def _row(row: Experiment, *, may: bool) -> Waiting:
    approve, reject = (reverse("admin:experiments_act", args=[row.pk, name]) for name in ("approve", "reject"))
    refuse = Choice("Reject", "close", reject, "reject", dangerous=True)
    return Waiting(
        kind="Experiment",
        icon="science",
        title=str(row),
        about=f"{row.model} · {row.get_experiment_type_display()}" if row.model else row.get_experiment_type_display(),
        url=reverse("admin:experiments_page", args=[row.pk]),
        asked_by=row.proposed_by,
        asked_at=row.created_at,
        reason="",
        evidence=row.hypothesis,
        will="work on it may begin. Editing it afterwards revokes the approval.",
        revision=row.revision,
        choices=(Choice("Approve", "check", approve, "approve", needs_other=True), refuse) if may else (),
        objections=(Objection(OWN, [Party.from_json(one) for one in row.authors], vouching=True),),
    )
