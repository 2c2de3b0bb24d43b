"""One question to a model and its answer as JSON, the same in a process that holds the model and in a child that loads it for once."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from engine.tabular.model import TabularModel
from engine.tabular.problems import TooMuchToExplain

MAX_ROWS = 1_000
MAX_EXPLAINED = 200_000
"""Rows times features of one question for explanations: each is a number in the answer."""
MAX_WALKS = 1_000_000
"""Rows times trees of predictions that are there in a moment: up to a second or two."""


@dataclass(frozen=True)
class Question:
    """`records` as JSON objects; with `explain`, why the model answers so instead of what."""

    records: Sequence[Mapping[str, Any]]
    explain: bool = False

    def to_json(self) -> dict[str, Any]:
        """The inverse of `Question(**…)`."""
        return asdict(self)


def ask(model: TabularModel, question: Question) -> dict[str, Any]:
    """`predictions`, `probabilities` and the `unit` (empty without one), or, explaining, `method`, `importances` and `explanations`; and
    always `notes`.

    Without records an explanation is the importance measured in training. Raises PredictError naming row and feature, or
    TooMuchToExplain.
    """
    if not question.explain:
        frame, extra = model.read(question.records)
        found = model.predict(frame)
        notes = [*_ignored(extra), *found.notes]
        return {"predictions": found.values, "probabilities": found.probabilities, "unit": model.unit, "notes": notes}
    from engine.tabular.explaining import explain_all, explained_at_once, importance

    if question.records and len(question.records) > (most := explained_at_once(model)):
        raise TooMuchToExplain(most)
    frame, extra = model.read(question.records)
    overall, explanations = explain_all(model, frame) if question.records else (importance(model), [])
    return {
        "method": overall.method,
        "importances": [{"feature": name, "importance": share} for name, share in overall.values],
        "explanations": [asdict(one) for one in explanations],
        "notes": [*_ignored(extra), *model.unseen(frame)],
    }


def is_long(model: TabularModel, question: Question) -> bool:
    """Whether the answer takes more than a moment."""
    return bool(question.records) and (question.explain or len(question.records) * model.fitted.trees > MAX_WALKS)


def _ignored(extra: Sequence[str]) -> list[str]:
    return [f"Fields that are no feature of this model were ignored: {', '.join(extra)[:300]}."] if extra else []
