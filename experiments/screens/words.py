"""What each act on an experiment is called, and what it will do, in words."""

from dataclasses import dataclass

from experiments.models import Experiment
from experiments.queries.results import Outcome
from experiments.states import EXPERIMENT_LIFECYCLE, ROAD, ExperimentStatus

_S = ExperimentStatus


@dataclass(frozen=True)
class Act:
    """Something a person can do with an experiment. `dangerous` ones are red."""

    name: str
    label: str
    icon: str
    action: str
    target: str
    dangerous: bool = False
    needs_reason: bool = True

    def possible(self, status: str) -> bool:
        """Whether the life cycle has this step; completing may skip steps that nobody took."""
        if self.target == _S.COMPLETED:
            return status in ROAD[:-1]
        return self.target in EXPERIMENT_LIFECYCLE.allowed(status)


ACTS: dict[str, Act] = {
    act.name: act
    for act in (
        Act("approve", "Approve", "check", "experiment.decide", _S.APPROVED, needs_reason=False),
        Act("start", "Start", "play_arrow", "experiment.run", _S.IN_PROGRESS, needs_reason=False),
        Act("shadow-test", "Shadow test", "contrast", "experiment.run", _S.SHADOW_TESTING, needs_reason=False),
        Act("complete", "Complete", "flag", "experiment.conclude", _S.COMPLETED),
        Act("reject", "Reject", "close", "experiment.decide", _S.REJECTED, dangerous=True),
        Act("rollback", "Roll back", "undo", "experiment.conclude", _S.ROLLED_BACK, dangerous=True),
    )
}


def headline(experiment: Experiment, outcome: Outcome) -> str:
    """Where the experiment stands, in one sentence."""
    match experiment.status:
        case _S.PROPOSED:
            return f"It waits for a manager other than {experiment.proposed_by} to approve or reject it."
        case _S.APPROVED:
            return f"{experiment.approved_by} approved it; nobody has begun yet."
        case _S.IN_PROGRESS | _S.SHADOW_TESTING:
            return outcome.said
        case _S.COMPLETED:
            told = f": {outcome.numbers}" if outcome.numbers else ""
            return f"Completed with the decision to {experiment.get_decision_display().lower()}{told}."
        case _:
            return f"{experiment.get_status_display()} by {experiment.closed_by}: {experiment.decision_rationale}"


def consequences(act: Act, experiment: Experiment) -> list[str]:
    """What will happen, sentence by sentence."""
    model = experiment.model.name if experiment.model else "its model"
    told = {
        "approve": [
            "Work on it may begin. Editing it from now on revokes this approval.",
            "Four eyes: whoever proposed or edited it cannot approve it.",
        ],
        "start": [
            "It is in progress from now on.",
            f"The champion of {model} of this moment becomes the baseline that it has to beat.",
        ],
        "shadow-test": [
            "A version that you name is put into shadow: it predicts beside the champion and answers nobody.",
            "The champion stays.",
        ],
        "complete": [
            "The experiment ends with your decision, for good. Steps that nobody took are recorded with it.",
            f"Adopting leads to a promotion in {model} through the same gates as any other.",
            "It happens at once if they passed and the policy lets a winner take the throne; else another manager is asked.",
        ],
        "reject": ["The proposal is refused, for good. Somebody can propose another one."],
        "rollback": [
            "The experiment ends without a result, for good.",
            "Its versions stay as they are: archive them on their model's page.",
        ],
    }
    return [*told[act.name], "Your name, the moment and your reason go into the audit trail."]
