"""What one trial of a study does: fit on the split's training part and measure on validation, or backtest a forecast's recipe."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from engine.tabular.columns import PARTS, PartName, Task
from engine.tuning.limits import rounds_parameter
from engine.tuning.spaces import Space
from experiments.models import Split, Study
from experiments.services.split_files import read_part
from experiments.services.study_settings import FORECAST
from mlops.jobs.services import JobRefused
from registry.models import DatasetVersion, RegisteredModel
from registry.rules.policy import Policy, parse
from registry.services.backtesting import evaluate, step_of
from registry.services.panels import model_panel, newest_data

if TYPE_CHECKING:
    import polars as pl

    from engine.forecasting.backtest import SoFar
    from engine.frames.panel import Panel
    from engine.tabular.training import Trained

SEARCH_DAYS = 28
"""The window a forecast's trials are measured on; the days after it are kept for the backtest that judges the result."""


class NothingToMeasure(ValueError):
    """The metric has no value for what was trained."""


@dataclass(frozen=True)
class Outcome:
    """What a trial found."""

    value: float
    metrics: dict[str, float]
    attrs: dict[str, Any]
    """Further facts for the trial's page."""


class Report(Protocol):
    """How a trial tells its value so far; it may raise, to prune or to stop."""

    def __call__(self, step: int, value: float, *, last: bool = False) -> None:
        """The study's metric after so many steps. `last`: nothing is left to do that stopping could spare. A negative step has no value;
        it only asks whether to stop."""


class Objective(Protocol):
    """A study's objective, with its data in memory."""

    def __call__(self, params: dict[str, Any], report: Report) -> Outcome:
        """Try the parameters, fixed ones included. What `report` raises comes out unchanged."""

    def most_steps(self, space: Space) -> int:
        """The most steps a trial of the space can report."""


@dataclass(frozen=True)
class TabularObjective:
    """Fit on train, measure on validation. The test part is not looked at before the search is over."""

    study: Study
    split: Split
    parts: "dict[str, pl.DataFrame]"

    def __call__(self, params: dict[str, Any], report: Report) -> Outcome:
        trained = self.fit(params, report)
        attrs = {} if trained.best_iteration is None else {"best_iteration": trained.best_iteration}
        return Outcome(trained.value, trained.metrics, attrs)

    def most_steps(self, space: Space) -> int:
        """Iterations of the library."""
        name, default = rounds_parameter(self.study.algorithm, str(space.fixed.get("kind", "")))
        return space.largest(name, default)

    def fit(self, params: dict[str, Any], report: Callable[[int, float], None]) -> "Trained":
        """One fit; equal parameters give an equal model."""
        from engine.tabular.options import postprocessing_of, preprocessing_of
        from engine.tabular.training import train

        task: Task = self.study.task  # type: ignore[assignment]  # one of the two; forecasts have another objective
        return train(
            train=self.parts["train"],
            validation=self.parts["validation"],
            target=self.split.target,
            features=self.split.features,
            task=task,
            algorithm=self.study.algorithm,
            params=params,
            metric=self.study.metric,
            seed=self.study.seed,
            threads=1,
            report=report,
            preprocessing=preprocessing_of(self.study.preprocessing),
            postprocessing=postprocessing_of(self.study.postprocessing, task),
        )


@dataclass(frozen=True)
class ForecastObjective:
    """Backtest a recipe on the days before those on which a version is judged."""

    study: Study
    model: RegisteredModel
    data: DatasetVersion
    policy: Policy
    panel: "Panel"
    """Up to the first day of the final window."""

    def __call__(self, params: dict[str, Any], report: Report) -> Outcome:
        found = evaluate(
            recipe=self.recipe(params),
            panel=self.panel,
            data=self.data,
            policy=replace(self.policy, backtest_days=SEARCH_DAYS),
            progress=lambda _fraction, _text: report(-1, 0.0),
            scored=lambda so_far: self._tell(so_far, report),
        )
        value = found.metrics.get(self.study.metric)
        if value is None:
            raise NothingToMeasure(f"The backtest has no {self.study.metric}.")
        known = {name: number for name, number in found.metrics.items() if number is not None}
        return Outcome(value, known, {"window_days": found.window_days, "fits": found.measured.fits})

    def _tell(self, so_far: "SoFar", report: Report) -> None:
        value = so_far.overall.get(self.study.metric)
        if value is not None:
            report(so_far.origins, value, last=not so_far.fits_left)

    def most_steps(self, space: Space) -> int:
        """Origins of the backtest, whatever is searched."""
        return -(-SEARCH_DAYS // step_of(self.policy))

    def recipe(self, params: dict[str, Any]) -> dict[str, Any]:
        """The recipe with these parameters; what they leave open is the engine's default."""
        return {"kind": "lightgbm", "seed": self.study.seed, **params}


def objective_of(study: Study) -> TabularObjective | ForecastObjective:
    """Load what the study learns from; digests are checked. Raises DomainError, DigestMismatch or ObjectMissing."""
    if study.task == FORECAST:
        return _forecast(study)
    if study.split is None:
        raise JobRefused("The study has no split.")
    return TabularObjective(study, study.split, {name: learning_part(study.split, name) for name in PARTS if name != "test"})


def learning_part(split: Split, part: PartName) -> "pl.DataFrame":
    """Target and features of a part; what it holds besides is not needed here."""
    return read_part(split, part, [split.target, *split.features])


def _forecast(study: Study) -> ForecastObjective:
    model = study.model
    model.dataset_id = study.dataset_id or model.dataset_id  # for this study alone: the row is not saved
    data, policy = newest_data(model), parse(model.policy)
    last = model_panel(model, data).last_day
    panel = model_panel(model, data, through=last - timedelta(days=policy.backtest_days))
    return ForecastObjective(study, model, data, policy, panel)
