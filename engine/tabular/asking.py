"""One question to a model and its answer as JSON, the same in a process that holds the model and in a child that loads it for once."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from engine.tabular.model import TabularModel

MAX_ROWS = 1_000
MAX_EXPLAINED = 200_000
"""Rows times features of one question for explanations: each is a number in the answer."""


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

    Without records an explanation is the importance measured in training. Raises PredictError naming row and feature.
    """
    if not question.explain:
        frame, extra = model.read(question.records)
        found = model.predict(frame)
        notes = [*_ignored(extra), *found.notes]
        return {"predictions": found.values, "probabilities": found.probabilities, "unit": model.unit, "notes": notes}
    from engine.tabular.explaining import explain, importance

    frame, extra = model.read(question.records)
    overall = importance(model, frame if question.records else None)
    _, explanations = explain(model, frame) if question.records else ("", [])
    return {
        "method": overall.method,
        "importances": [{"feature": name, "importance": share} for name, share in overall.values],
        "explanations": [asdict(one) for one in explanations],
        "notes": [*_ignored(extra), *model.unseen(frame)],
    }


def _ignored(extra: Sequence[str]) -> list[str]:
    return [f"Fields that are no feature of this model were ignored: {', '.join(extra)[:300]}."] if extra else []
