"""Is the champion still as good as when it won, may the challenger take its place, and when is the next retraining?"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from django.db.models import OuterRef, QuerySet, Subquery

from registry.models import (
    BacktestResult,
    BacktestRun,
    DatasetVersion,
    ForecastAccuracy,
    ModelVersion,
    RegisteredModel,
    RetrainingRun,
    Verdict,
)
from registry.models.accuracy import OVERALL
from registry.queries.models import HEAVY
from registry.queries.schedules import next_retraining
from registry.queries.shadow import Shadow, shadow_of
from registry.rules.metrics import number
from registry.rules.policy import parse
from registry.rules.trailing import DEGRADED_PCT, MONTH, Condition, Day, Trailing
from registry.services.evidence import latest_verdict
from registry.states import DatasetVersionStatus, RetrainingStatus, Trigger, VersionStatus

RECENT_EVENTS = 10


@dataclass(frozen=True)
class ChampionHealth:
    """The champion, how it does, and when it was and will be trained anew."""

    version: ModelVersion
    condition: Condition
    last_retrain: datetime | None
    next_retrain: datetime | None


@dataclass(frozen=True)
class ChallengerHealth:
    """The newest version that competes (or, without one, is shadowed), and what the arena said against the present champion."""

    version: ModelVersion
    errors: Trailing
    verdict: Verdict | None
    shadow: Shadow | None = None

    @property
    def promotion_eligible(self) -> bool:
        """Whether every gate passed, and no shadow evidence says the version is worse by more than chance."""
        return bool(self.verdict and self.verdict.passed) and not (self.shadow and self.shadow.worse)

    @property
    def confidence(self) -> float | None:
        """1 − p of the paired test of daily errors: those in shadow where they can be tested, else those of the backtest; None without."""
        if self.shadow and self.shadow.p_value is not None:
            return max(0.0, 1 - self.shadow.p_value)
        gates = self.verdict.gates if self.verdict else []
        p_value = next((number(gate.get("candidate")) for gate in gates if gate.get("name") == "significance"), None)
        return None if p_value is None else max(0.0, 1 - p_value)


@dataclass(frozen=True)
class Health:
    """Everything `GET /models/health` answers."""

    model: RegisteredModel
    champion: ChampionHealth | None
    challenger: ChallengerHealth | None
    retrainings: list[RetrainingRun]
    next_retrain: datetime | None
    data_through: date | None

    @property
    def triggers(self) -> dict[str, dict[str, Any]]:
        """Per trigger of a retraining: whether it has fired now, and the numbers behind that."""
        change = self.champion.condition.change_pct if self.champion else None
        trained = self.champion.version.trained_through if self.champion else None
        fresh = (self.data_through - trained).days if self.data_through and trained else None
        return {
            Trigger.SCHEDULED.value: {"active": False, "next_run_at": self.next_retrain},
            Trigger.DRIFT_DETECTED.value: {
                "active": change is not None and change > DEGRADED_PCT,
                "mae_change_pct": change,
                "threshold_pct": DEGRADED_PCT,
            },
            Trigger.NEW_DATA.value: {
                "active": bool(fresh and fresh > 0),
                "days": fresh,
                "data_through": self.data_through,
                "trained_through": trained,
            },
        }


def health_of(model: RegisteredModel, *, at: datetime) -> Health:
    """The model's health: at most thirteen queries on indexes, whatever the number of versions and rows."""
    champion = _newest(model, VersionStatus.CHAMPION)
    challenger = _newest(model, VersionStatus.CHALLENGER) or _newest(model, VersionStatus.SHADOW)
    runs = list(RetrainingRun.objects.filter(model=model).order_by("-started_at", "pk")[:RECENT_EVENTS])
    due = next_retraining(at=at) if model.retrained_on_schedule else None
    completed = RetrainingRun.objects.filter(model=model, status=RetrainingStatus.COMPLETED).order_by("-started_at", "pk")
    last = completed.values_list("completed_at", flat=True).first()
    data = DatasetVersion.objects.filter(dataset=model.dataset_id, status=DatasetVersionStatus.READY) if model.dataset_id else None
    return Health(
        model=model,
        champion=_champion(champion, last, due) if champion else None,
        challenger=_challenger(model, challenger, champion) if challenger else None,
        retrainings=runs,
        next_retrain=due,
        data_through=data.order_by("-number").values_list("last_day", flat=True).first() if data is not None else None,
    )


def errors_of(version: ModelVersion) -> Trailing:
    """From the daily validation where there is one, else from the backtest."""
    validated = _days(ForecastAccuracy.objects.filter(version_ref=version, segment_column=OVERALL, segment=OVERALL))
    if validated:
        return Trailing("validation", validated)
    backtested = _days(BacktestResult.objects.filter(version_ref=version))
    return Trailing("backtest" if backtested else None, backtested)


def _newest(model: RegisteredModel, status: VersionStatus) -> ModelVersion | None:
    return with_first_run(ModelVersion.objects.filter(model=model, status=status)).defer(*HEAVY).order_by("-number").first()


def _days(rows: "QuerySet[ForecastAccuracy] | QuerySet[BacktestResult]") -> tuple[Day, ...]:
    newest = rows.filter(n__gt=0).order_by("-forecast_date").values_list("forecast_date", "n", "sum_abs_error", "sum_actual")
    return tuple(Day(*row) for row in reversed(newest[:MONTH]))


def with_first_run(versions: QuerySet[ModelVersion]) -> QuerySet[ModelVersion]:
    """The versions with the metrics of their first backtest as `first_run_metrics`, for `baseline_of`."""
    first = BacktestRun.objects.filter(version=OuterRef("pk")).order_by("created_at", "pk").values("metrics")[:1]
    return versions.annotate(first_run_metrics=Subquery(first))


def baseline_of(version: ModelVersion) -> float | None:
    """The MAE that the version, of `with_first_run`, was registered with, else that of its first backtest."""
    for metrics in (version.metrics, getattr(version, "first_run_metrics", None) or {}):
        mae = number(metrics.get("mae"))
        if mae is not None and mae > 0:
            return mae
    return None


def _champion(version: ModelVersion, last: datetime | None, due: datetime | None) -> ChampionHealth:
    return ChampionHealth(version, Condition(errors_of(version), baseline_of(version)), last, due)


def _challenger(model: RegisteredModel, version: ModelVersion, champion: ModelVersion | None) -> ChallengerHealth:
    evidence = shadow_of(version, champion, policy=parse(model.policy), segments=False) if champion else None
    shadow = evidence if evidence and evidence.days else None
    return ChallengerHealth(version, errors_of(version), latest_verdict(version, champion), shadow)
