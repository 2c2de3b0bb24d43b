"""Before a shadow starts: how small a difference from the champion would be noticed, and after how many days."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from registry.models import BacktestResult, BacktestSegment, ModelVersion, Verdict
from registry.models.accuracy import OVERALL
from registry.rules.policy import Policy, parse
from registry.services.backtesting import step_of

ALPHA, POWER = 0.05, 0.8
SHOWN_DAYS = (14, 28, 56, 91)
PILOT_DAYS = 90

Basis = Literal["pairs", "champion"]


@dataclass(frozen=True)
class Detectable:
    """What a shadow of so many days would notice: a difference of daily MAE, in units of demand and in percent of the champion's."""

    days: int
    mae: float
    pct: float


@dataclass(frozen=True)
class ShadowPlan:
    """The minimum detectable effect of the paired test, at 5 % significance and 80 % power."""

    version: ModelVersion
    champion: ModelVersion
    basis: Basis | None
    """Whose noise it rests on: of the differences in the backtests of the last verdict, or of the champion's errors alone, which bounds it
    from above as if the errors of both had nothing in common. None where neither is there."""
    pilot_days: int
    champion_mae: float | None
    detectable: list[Detectable]
    wanted_pct: float
    """The improvement that the model's policy asks for."""

    @property
    def days_for_policy(self) -> int | None:
        """The shortest of the shown spans that notices what the policy asks for; None where none does."""
        return next((one.days for one in self.detectable if one.pct <= self.wanted_pct), None)

    @property
    def said(self) -> str:
        """The plan in one or two sentences."""
        if not self.detectable:
            return (
                "How small a difference a shadow would notice is not known: neither version has enough backtested days to tell the noise."
            )
        one = next((found for found in self.detectable if found.days == 28), self.detectable[-1])
        bound = "at worst " if self.basis == "champion" else ""
        first = f"In {one.days} days a difference of {bound}{one.pct:.1f} % MAE ({one.mae:.3g} units) is noticed four times out of five."
        needed = self.days_for_policy
        if needed is None:
            return f"{first} The policy asks for {self.wanted_pct:g} %: more than {self.detectable[-1].days} days are needed."
        return f"{first} The policy asks for {self.wanted_pct:g} %: {needed} days suffice."


def shadow_plan(version: ModelVersion, champion: ModelVersion, *, policy: Policy | None = None) -> ShadowPlan:
    """At most three queries, on indexes and over at most a window of days."""
    rules = policy or parse(version.model.policy)
    differences, errors, basis = _pilot(version, champion)
    mae = sum(errors) / len(errors) if errors else None
    found = _detectable(differences, mae, horizon=step_of(rules)) if mae else []
    return ShadowPlan(version, champion, basis if found else None, len(errors), mae, found, rules.min_improvement_pct)


def _pilot(version: ModelVersion, champion: ModelVersion) -> tuple[list[float], list[float], Basis]:
    """Daily differences, the champion's daily MAE, and where they are from."""
    verdict = Verdict.objects.filter(version=version, against=champion, run__isnull=False, against_run__isnull=False)
    runs = verdict.order_by("-created_at", "pk").values_list("run_id", "against_run_id").first()
    if runs is not None:
        mine, theirs = (_daily(run) for run in _segments(runs))
        common = sorted(set(mine) & set(theirs))
        if common:
            return [mine[day] - theirs[day] for day in common], [theirs[day] for day in common], "pairs"
    rows = BacktestResult.objects.filter(version_ref=champion, n__gt=0).order_by("-forecast_date")[:PILOT_DAYS]
    errors = [total / n for total, n in rows.values_list("sum_abs_error", "n")][::-1]
    # Two series with this noise and nothing in common differ with twice its variance.
    return [math.sqrt(2) * error for error in errors], errors, "champion"


def _segments(runs: Sequence[Any]) -> list[list[tuple[date, float, int]]]:
    rows = BacktestSegment.objects.filter(run__in=runs, segment_column=OVERALL, segment=OVERALL, n__gt=0)
    found: dict[Any, list[tuple[date, float, int]]] = {run: [] for run in runs}
    for run, day, error, n in rows.values_list("run_id", "forecast_date", "sum_abs_error", "n"):
        found[run].append((day, error, n))
    return [found[run] for run in runs]


def _daily(rows: list[tuple[date, float, int]]) -> dict[date, float]:
    return {day: error / n for day, error, n in rows}


def _detectable(differences: list[float], mae: float, *, horizon: int) -> list[Detectable]:
    from engine.significance import minimum_detectable_effect

    effects = {days: minimum_detectable_effect(differences, days=days, horizon=horizon, alpha=ALPHA, power=POWER) for days in SHOWN_DAYS}
    return [Detectable(days, effect, 100 * effect / mae) for days, effect in effects.items() if effect is not None]
