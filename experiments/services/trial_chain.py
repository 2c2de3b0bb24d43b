"""Beginnings and ends of one study's trials on their way to the database, each end in one transaction with the beginning after it.

The beginning of a trial may be on its way under the number that it will have, while its parameters are drawn. Nothing else may be asked of
the database before that is confirmed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial

from experiments.models import Study
from experiments.services import trial_rows as rows
from experiments.services.round_trip import Answers, Statement, run
from experiments.services.trial_rows import Owner, TrialTaken


@dataclass(frozen=True)
class _Begun:
    """A trial that is on its way to the database under the number it will have."""

    number: int
    ended: Sequence[Statement]
    """The end of the trial before it, which travels with it."""
    answers: Answers


class TrialChain:
    """For one thread at a time. `chained`: an end waits for the next beginning; otherwise it is written at once.

    `forget` is told the number of a trial that was foreseen, and came to nothing.
    """

    def __init__(self, study: Study, owner: Owner, *, chained: bool, forget: Callable[[int], None]) -> None:
        self._study_id, self._owner, self._chained, self._forget = study.pk, owner, chained, forget
        self._maximize = study.direction == Study.Direction.MAXIMIZE
        self._unwritten: list[Statement] = []
        self._begun: _Begun | None = None

    def begin(self, trial: FrozenTrial, *, foreseen: int | None) -> int:
        """Write a new trial, together with the end of the one before it. Answers its number: the one foreseen, while that is on its way.

        Raises BudgetSpent, StudyStopped or TrialTaken, where `confirm` does not.
        """
        self.confirm()
        ended, self._unwritten = self._unwritten, []
        answers = Answers([*ended, *rows.insertion(self._study_id, trial, self._owner)])
        if foreseen is not None and answers.on_their_way:
            self._begun = _Begun(foreseen, ended, answers)
            return foreseen
        return self._number_of(ended, answers.rows())

    def confirm(self) -> None:
        """Wait until the trial begun last is written. Raises BudgetSpent, StudyStopped or TrialTaken; then there is no such trial."""
        begun, self._begun = self._begun, None
        if begun is None:
            return
        try:
            if self._number_of(begun.ended, begun.answers.rows()) != begun.number:
                raise TrialTaken  # a worker that was given up on still gives out numbers
        except BaseException:
            self._forget(begun.number)
            raise

    def end(self, trial: FrozenTrial, columns: dict[str, Any]) -> None:
        """Write the end of a trial, or keep it for the next beginning. Raises TrialTaken."""
        self.settle()
        self._unwritten = rows.ending(self._study_id, trial, columns, self._owner, maximize=self._maximize)
        if not self._chained:
            self.settle()

    def settle(self) -> None:
        """Write the end of a trial that was to be written with the beginning of the next one. Raises TrialTaken."""
        self.confirm()
        ended, self._unwritten = self._unwritten, []
        if ended:
            _check_end(ended, run(ended))

    def _number_of(self, ended: Sequence[Statement], answers: Sequence[Sequence[Any]]) -> int:
        _check_end(ended, answers)
        if not answers[len(ended)]:
            raise rows.refusal(self._study_id)
        number: int = answers[len(ended)][0][0]
        return number


def _check_end(ended: Sequence[Statement], answers: Sequence[Sequence[Any]]) -> None:
    if ended and not answers[1]:
        raise TrialTaken
