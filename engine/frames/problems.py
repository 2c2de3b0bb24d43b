"""What can be wrong with a data file, in a form that a screen can list and a program can branch on."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any, Literal

Severity = Literal["error", "warning"]

MAX_EXAMPLES = 5
MAX_EXAMPLE_LENGTH = 80


@dataclass(frozen=True)
class FrameProblem:
    """One finding. `rows` counts the rows concerned (0 where the finding is not about rows); `code` is stable, `message` is for people."""

    code: str
    message: str
    severity: Severity = "error"
    column: str | None = None
    rows: int = 0
    examples: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "examples": list(self.examples)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "FrameProblem":
        return cls(
            code=str(value["code"]),
            message=str(value["message"]),
            severity="warning" if value["severity"] == "warning" else "error",
            column=None if value["column"] is None else str(value["column"]),
            rows=int(value["rows"]),
            examples=tuple(str(example) for example in value["examples"]),
        )


class FrameError(Exception):
    """The file cannot be used as it is. Carries every error found, and the warnings beside them, never only the first."""

    def __init__(self, problems: Iterable[FrameProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__(" ".join(problem.message for problem in self.problems if problem.severity == "error"))

    @property
    def codes(self) -> tuple[str, ...]:
        return tuple(problem.code for problem in self.problems)


class Findings:
    """Collects problems while a file is checked, so that one upload tells the user everything at once."""

    def __init__(self, problems: Iterable[FrameProblem] = ()) -> None:
        self.problems: list[FrameProblem] = list(problems)

    def error(self, code: str, message: str, *, column: str | None = None, rows: int = 0, examples: Iterable[object] = ()) -> None:
        self.problems.append(FrameProblem(code, message, "error", column, rows, shorten(examples)))

    def warn(self, code: str, message: str, *, column: str | None = None, rows: int = 0, examples: Iterable[object] = ()) -> None:
        self.problems.append(FrameProblem(code, message, "warning", column, rows, shorten(examples)))

    @property
    def has_errors(self) -> bool:
        return any(problem.severity == "error" for problem in self.problems)

    def stop_on_errors(self) -> None:
        """Raise FrameError with everything found so far if any of it is an error."""
        if self.has_errors:
            raise FrameError(self.problems)


def refuse(code: str, message: str, *, column: str | None = None, examples: Iterable[object] = ()) -> FrameError:
    """The error for a finding after which there is nothing left to check."""
    return FrameError([FrameProblem(code, message, "error", column, 0, shorten(examples))])


def counted(number: int, one: str, many: str = "") -> str:
    """`1 row`, `2 rows`; `many` where an s is not enough."""
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def be(number: int) -> str:
    """Is or are, as that many things do."""
    return "is" if number == 1 else "are"


def have(number: int) -> str:
    """Has or have."""
    return "has" if number == 1 else "have"


def was(number: int) -> str:
    """Was or were."""
    return "was" if number == 1 else "were"


def shorten(examples: Iterable[object]) -> tuple[str, ...]:
    """The first few examples, each cut to a length that fits a table cell."""
    texts: list[str] = []
    for example in examples:
        if len(texts) == MAX_EXAMPLES:
            break
        text = str(example)
        texts.append(text if len(text) <= MAX_EXAMPLE_LENGTH else text[: MAX_EXAMPLE_LENGTH - 1] + "…")
    return tuple(texts)


@dataclass(frozen=True)
class Report:
    """What was read, what was kept, and what was left out and why (`left_out`: reason -> rows). `problems` holds warnings only."""

    rows_read: int
    rows_kept: int
    left_out: dict[str, int]
    series: int
    days: int
    panel_rows: int
    first_day: date
    last_day: date
    closed_days: int
    """Number of (location, day) pairs taken as closed."""
    filled_days: int = 0
    """Days of a series without a row that are neither closed nor a gap: zero or unknown, as the mapping says."""
    source: dict[str, Any] = field(default_factory=dict)
    """Format, encoding, delimiter, compression and number of files, as found."""
    problems: tuple[FrameProblem, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "first_day": self.first_day.isoformat(),
            "last_day": self.last_day.isoformat(),
            "problems": [problem.to_json() for problem in self.problems],
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Report":
        numbers = {name: int(value[name]) for name in ("rows_read", "rows_kept", "series", "days", "panel_rows", "closed_days")}
        problems: Sequence[dict[str, Any]] = value["problems"]
        return cls(
            left_out={str(reason): int(rows) for reason, rows in value["left_out"].items()},
            first_day=date.fromisoformat(value["first_day"]),
            last_day=date.fromisoformat(value["last_day"]),
            filled_days=int(value.get("filled_days", 0)),
            source=dict(value["source"]),
            problems=tuple(FrameProblem.from_json(problem) for problem in problems),
            **numbers,
        )
