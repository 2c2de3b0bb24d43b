"""What can be wrong with tables that are to be learnt from or predicted for. Each error names what a person has to change."""

from collections.abc import Iterable
from dataclasses import dataclass

MOST_TOLD = 20


class TrainingError(ValueError):
    """The data or the settings cannot be trained on. `field` is the argument, feature or parameter at fault."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        self.message = message
        super().__init__(f"{field}: {message}")


@dataclass(frozen=True)
class CellProblem:
    """One value, or with `row` None a whole column, that cannot be read. Rows count from 0."""

    feature: str
    row: int | None
    message: str

    def __str__(self) -> str:
        return f"{self.feature}: {self.message}" if self.row is None else f"row {self.row}, {self.feature}: {self.message}"


class PredictError(ValueError):
    """The rows cannot be predicted for. `problems` names every feature and, up to MOST_TOLD, every cell at fault."""

    def __init__(self, problems: Iterable[CellProblem]) -> None:
        self.problems = tuple(problems)[:MOST_TOLD]
        super().__init__("; ".join(map(str, self.problems)))


class TooMuchToExplain(ValueError):
    """The rows are more than the model explains at a time. `most` is how many it does; 0 where one is too many."""

    def __init__(self, most: int) -> None:
        self.most = most
        super().__init__(f"at most {most} rows are explained at a time")


class ScoringError(ValueError):
    """The metric has no value on these rows; it is never NaN."""
