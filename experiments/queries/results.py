"""Baseline and experiment on the same backtest days: what the numbers say, and whether it is more than chance."""

from dataclasses import dataclass
from datetime import date
from typing import Any

from experiments.models import Experiment
from experiments.states import ADOPTIONS
from registry.models import BacktestRun, BacktestSegment, ModelVersion
from registry.models.accuracy import OVERALL
from registry.queries.backtests import MOST_RUNS, newest_pair
from registry.rules.arena import improvement_pct
from registry.rules.metrics import number
from registry.services.lookups import champion_of

CHANCE = 0.05


@dataclass(frozen=True)
class Day:
    """MAE of both sides on one forecast date."""

    date: date
    baseline: float
    experimental: float


@dataclass(frozen=True)
class Comparison:
    """Both sides over the days they have in common. MAE is pooled over all series and days, in units of demand."""

    window_start: date
    window_end: date
    horizon: int
    dataset_version_id: Any
    baseline_run: BacktestRun
    experimental_run: BacktestRun
    days: list[Day]
    baseline_mae: float | None
    experimental_mae: float | None
    mean_difference: float | None
    """Mean over days of experimental minus baseline MAE; below zero the experiment is better."""
    interval: tuple[float, float] | None
    """95 % interval of that difference."""
    p_value: float | None
    method: str
    reason: str
    """Why there is no test, where there is none."""

    @property
    def improvement_pct(self) -> float | None:
        """How much smaller the experiment's MAE is, percent of the baseline's."""
        return improvement_pct(self.experimental_mae, self.baseline_mae)

    @property
    def significant(self) -> bool | None:
        """Whether the difference is more than chance at 5 %; None without a test."""
        return None if self.p_value is None else self.p_value < CHANCE


@dataclass(frozen=True)
class Outcome:
    """What is known of an experiment's outcome: what was reported, and what the backtests say."""

    experiment: Experiment
    baseline: ModelVersion | None
    experimental: ModelVersion | None
    comparison: Comparison | None
    said: str
    """The outcome in one sentence, or why nothing can be compared."""

    @property
    def reported_pct(self) -> float | None:
        """The improvement as it was reported, percent of the baseline's MAE."""
        return number(self.experiment.results.get("improvement_pct"))

    @property
    def measured_pct(self) -> float | None:
        """The improvement as our backtests measured it; None without common ground."""
        return self.comparison.improvement_pct if self.comparison else None

    @property
    def numbers(self) -> str:
        """What was reported beside what we measured, in words; empty where neither is known."""
        told = [] if self.reported_pct is None else [f"reported {_gain(self.reported_pct)}"]
        if self.measured_pct is not None and self.comparison is not None:
            doubt = {True: "", False: ", within chance", None: ", untested against chance"}[self.comparison.significant]
            told.append(f"our backtest: {_gain(self.measured_pct)}{doubt}")
        elif told:
            told.append("no backtest of ours compares the two")
        return "; ".join(told)

    @property
    def doubtful(self) -> bool:
        """Whether our backtest does not bear out how it ended: it points the other way than the report, or what is adopted is within
        chance."""
        if self.measured_pct is None or self.comparison is None:
            return False
        contradicts = self.reported_pct is not None and (self.reported_pct >= 0) != (self.measured_pct >= 0)
        return contradicts or (self.experiment.decision in ADOPTIONS and self.comparison.significant is False)


def outcome_of(experiment: Experiment) -> Outcome:
    """At most five queries. The baseline is the champion the experiment set out against, or the present one while it has not begun."""
    experimental = experiment.experimental_version
    baseline = experiment.baseline_version or champion_of(experiment.model)
    if experimental is None:
        return Outcome(experiment, baseline, None, None, "No version belongs to the experiment yet.")
    if baseline is None or baseline.pk == experimental.pk:
        return Outcome(experiment, None, experimental, None, f"There is no other champion to compare {experimental.version} with.")
    comparison = compare(baseline, experimental)
    if comparison is None:
        said = f"{baseline.version} and {experimental.version} have no backtest on the same window and data: judge {experimental.version}."
        return Outcome(experiment, baseline, experimental, None, said)
    return Outcome(experiment, baseline, experimental, comparison, _sentence(baseline, experimental, comparison))


def compare(baseline: ModelVersion, experimental: ModelVersion) -> Comparison | None:
    """The newest backtests of both on the very same window, data, truth and horizon; None where they have none, or no day in common."""
    runs = BacktestRun.objects.filter(version__in=[baseline, experimental]).order_by("-created_at", "pk")
    light = list(runs.defer("by_segment", "worst_series", "error_histogram")[: 2 * MOST_RUNS])
    pair = newest_pair(light, baseline, experimental)
    return _measure(*pair) if pair else None


def _measure(baseline: BacktestRun, experimental: BacktestRun) -> Comparison | None:
    from engine.significance import diebold_mariano, difference_interval

    sums: dict[Any, dict[date, tuple[float, int]]] = {baseline.pk: {}, experimental.pk: {}}
    rows = BacktestSegment.objects.filter(run__in=[baseline, experimental], segment_column=OVERALL, segment=OVERALL, n__gt=0)
    for run, day, error, n in rows.values_list("run_id", "forecast_date", "sum_abs_error", "n"):
        sums[run][day] = (error, n)
    theirs, mine = sums[baseline.pk], sums[experimental.pk]
    common = sorted(set(theirs) & set(mine))
    if not common:
        return None
    days = [Day(day, theirs[day][0] / theirs[day][1], mine[day][0] / mine[day][1]) for day in common]
    pairs = [one.experimental for one in days], [one.baseline for one in days]
    test = diebold_mariano(*pairs, horizon=baseline.horizon)
    return Comparison(
        window_start=common[0],
        window_end=common[-1],
        horizon=baseline.horizon,
        dataset_version_id=baseline.dataset_version_id,
        baseline_run=baseline,
        experimental_run=experimental,
        days=days,
        baseline_mae=_pooled([theirs[day] for day in common]),
        experimental_mae=_pooled([mine[day] for day in common]),
        mean_difference=test.mean_difference,
        interval=difference_interval(*pairs, block=baseline.horizon),
        p_value=test.p_value,
        method=test.method,
        reason=test.reason,
    )


def _pooled(sums: list[tuple[float, int]]) -> float | None:
    n = sum(count for _, count in sums)
    return sum(error for error, _ in sums) / n if n else None


def _gain(percent: float) -> str:
    return f"{abs(percent):.1f} % {'better' if percent >= 0 else 'worse'}"


def _sentence(baseline: ModelVersion, experimental: ModelVersion, found: Comparison) -> str:
    gain = found.improvement_pct
    if gain is None:
        return f"{experimental.version} cannot be compared with {baseline.version} by MAE."
    start = f"{experimental.version} is {_gain(gain)} than {baseline.version} by MAE over {len(found.days)} common backtest days"
    if found.p_value is None:
        return f"{start}; whether that is more than chance cannot be tested ({found.reason})."
    shown = f"p = {found.p_value:.3f}" if found.p_value >= 0.001 else "p < 0.001"
    return f"{start}; the difference is {'more than chance' if found.significant else 'within chance'} ({shown})."
