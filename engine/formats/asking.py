"""Ask a model that this process must not load itself: one from outside, or one whose library is too much for a web process."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from engine.formats.child import run_child
from engine.tabular.asking import Question
from engine.tabular.documents import ArtifactError
from engine.tabular.problems import CellProblem, PredictError, TooMuchToExplain

ASK_CHILD = Path(__file__).with_name("_ask_child.py")


@dataclass(frozen=True)
class AskLimits:
    """Hard limits on one child."""

    memory_bytes: int = 2 << 30
    cpu_seconds: int = 20
    wall_seconds: float = 30.0


def ask_safely(content: bytes, question: Question, *, limits: AskLimits | None = None) -> dict[str, Any]:
    """`engine.tabular.asking.ask` in a disposable child. Raises PredictError or TooMuchToExplain for the rows,
    ArtifactError for the model."""
    return _answer("tabular", content, question, limits or AskLimits())


def importance_of_forecaster(content: bytes, *, limits: AskLimits | None = None) -> dict[str, Any]:
    """`engine.forecasting.importance.told` of a forecaster's file, in a disposable child. Raises ArtifactError."""
    return _answer("forecaster", content, Question([], explain=True), limits or AskLimits())


def _answer(kind: str, content: bytes, question: Question, limits: AskLimits) -> dict[str, Any]:
    with _file(content) as model_fd, _file(orjson.dumps(question.to_json())) as question_fd:
        spec = {
            "kind": kind,
            "model_fd": model_fd,
            "question_fd": question_fd,
            "memory_bytes": limits.memory_bytes,
            "cpu_seconds": limits.cpu_seconds,
        }
        outcome = run_child(ASK_CHILD, spec, pass_fds=(model_fd, question_fd), wall_seconds=limits.wall_seconds)
    if outcome.answer is None:
        raise ArtifactError(f"the model broke the process that loaded it ({outcome.ended})")
    if "problems" in outcome.answer:
        raise PredictError(CellProblem(**problem) for problem in outcome.answer["problems"])
    if "most" in outcome.answer:
        raise TooMuchToExplain(outcome.answer["most"])
    if "refused" in outcome.answer:
        raise ArtifactError(outcome.answer["refused"])
    answer: dict[str, Any] = outcome.answer["answer"]
    return answer


@contextmanager
def _file(content: bytes) -> Iterator[int]:
    """A descriptor of an unnamed file that holds the bytes."""
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        yield file.fileno()
