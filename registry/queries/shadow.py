"""Shadow evidence: a version and the champion on the same days, and whether their errors differ by more than chance."""

from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from django.db.models import F, Max, QuerySet, Sum

from registry.models import ModelVersion, ShadowDay
from registry.models.accuracy import OVERALL
from registry.rules.arena import improvement_pct
from registry.rules.policy import Policy, parse
from registry.services.backtesting import step_of
from registry.states import SHADOWED

LONGEST_DAYS = 730
MOST_SEGMENTS = 200
CHANCE = 0.05


@dataclass(frozen=True)
class Pair:
    """One day, or one segment, of both sides. MAE in units of demand."""

    n: int
    n_ahead: int
    error: float
    champion_error: float
    day: date = date.min
    column: str = ""
    segment: str = ""

    @property
    def mae(self) -> float:
        """Of the version."""
        return self.error / self.n

    @property
    def champion_mae(self) -> float:
        """Of the champion."""
        return self.champion_error / self.n

    @property
    def improvement_pct(self) -> float | None:
        """How much smaller the version's MAE is, percent of the champion's."""
        return improvement_pct(self.mae, self.champion_mae)


@dataclass(frozen=True)
class Shadow:
    """The evidence over a window that ends with the last day whose truth is known."""

    version: ModelVersion
    champion: ModelVersion
    days: list[Pair]
    mean_difference: float | None
    """Mean over days of the version's minus the champion's MAE; below zero the version is better."""
    interval: tuple[float, float] | None
    """95 % interval of that difference."""
    p_value: float | None
    method: str
    reason: str
    """Why there is no test, where there is none."""
    segments: list[Pair] = field(default_factory=list)

    @property
    def total(self) -> Pair | None:
        """All days together; None without any."""
        if not self.days:
            return None
        sums = [sum(getattr(day, name) for day in self.days) for name in ("n", "n_ahead", "error", "champion_error")]
        return Pair(int(sums[0]), int(sums[1]), sums[2], sums[3])

    @property
    def worse(self) -> bool:
        """Whether the version is worse by more than chance."""
        return self.p_value is not None and self.p_value < CHANCE and (self.mean_difference or 0) > 0

    @property
    def said(self) -> str:
        """The evidence in one sentence."""
        total = self.total
        if total is None:
            return f"{self.version.version} has no pair with {self.champion.version} whose truth is known yet."
        gain = total.improvement_pct
        told = "has the same MAE as" if not gain else f"is {abs(gain):.1f} % {'better' if gain > 0 else 'worse'} by MAE than"
        start = f"In shadow {self.version.version} {told} {self.champion.version} over {len(self.days)} days and {total.n:,} pairs"
        if self.p_value is None:
            return f"{start}; whether that is more than chance cannot be tested ({self.reason})."
        shown = f"p = {self.p_value:.3f}" if self.p_value >= 0.001 else "p < 0.001"
        return f"{start}; the difference is {'more than chance' if self.p_value < CHANCE else 'within chance'} ({shown})."


def shadow_of(
    version: ModelVersion, champion: ModelVersion, *, days: int = 90, policy: Policy | None = None, segments: bool = True
) -> Shadow:
    """One query, two with segments, on an index; at most `days` rows of days. Computes the paired test over the days."""
    rows = ShadowDay.objects.filter(version=version, champion=champion)
    overall = rows.filter(segment_column=OVERALL, n__gt=0).order_by("-day")
    columns = ("n", "n_ahead", "sum_abs_error", "champion_sum_abs_error", "day")
    newest = [Pair(*row) for row in overall.values_list(*columns)[:days]]
    found = [one for one in newest if one.day > newest[0].day - timedelta(days=days)][::-1]
    test = _test([one.mae for one in found], [one.champion_mae for one in found], block=step_of(policy or parse(version.model.policy)))
    parts = _segments(rows, first=found[0].day) if segments and found else []
    return Shadow(version=version, champion=champion, days=found, segments=parts, **test)


def rival_of(champion: ModelVersion) -> ModelVersion | None:
    """The version in shadow, or the challenger, beside this champion: of several the one whose evidence is the newest, else the newest one,
    of which nothing need be known yet. Where none competes any more, the one that was measured last. Three queries."""
    newest = ShadowDay.objects.filter(champion=champion, segment_column=OVERALL).values("version").annotate(last=Max("scored_at"))
    measured = [row["version"] for row in newest.order_by("-last", "version")]
    competing = ModelVersion.objects.filter(model=champion.model_id, status__in=SHADOWED)
    rivals = list(competing.order_by("-number").values_list("pk", flat=True))
    chosen = next((one for one in [*(pk for pk in measured if pk in rivals), *rivals, *measured]), None)
    return ModelVersion.objects.filter(pk=chosen).select_related("model").first() if chosen else None


def _test(mine: list[float], theirs: list[float], *, block: int) -> dict[str, Any]:
    from engine.significance import diebold_mariano, difference_interval

    test = diebold_mariano(mine, theirs, horizon=block)
    interval = difference_interval(mine, theirs, block=block)
    return {
        "mean_difference": test.mean_difference,
        "interval": interval,
        "p_value": test.p_value,
        "method": test.method,
        "reason": test.reason,
    }


def _segments(rows: QuerySet[ShadowDay], *, first: date) -> list[Pair]:
    """Sums per segment over the window, largest loss against the champion first."""
    parts = rows.exclude(segment_column=OVERALL).filter(day__gte=first).order_by().values("segment_column", "segment")
    names = {"n": "total", "n_ahead": "ahead", "sum_abs_error": "error", "champion_sum_abs_error": "champion_error"}
    summed: Any = parts.annotate(
        **{alias: Sum(name) for name, alias in names.items()}, loss=Sum(F("sum_abs_error") - F("champion_sum_abs_error"))
    )
    return [
        Pair(row["total"], row["ahead"], row["error"], row["champion_error"], column=row["segment_column"], segment=row["segment"])
        for row in summed.filter(total__gt=0).order_by("-loss", "segment_column", "segment")[:MOST_SEGMENTS]
    ]
