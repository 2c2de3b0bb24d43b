"""What the first page shows: a card per model, what waits, what is wrong. A fixed number of queries, whatever the number of models."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from django.db.models import OuterRef, Q, Subquery
from django_celery_beat.models import PeriodicTask

from mlops.jobs.models import OPEN, Job, JobState, Schedule
from mlops.jobs.queries import jobs
from mlops.jobs.schedules import next_slot
from mlops.tenancy.context import required
from registry.models import BacktestResult, ForecastAccuracy, ModelVersion, PromotionRequest, RegisteredModel, RetrainingRun, Verdict
from registry.models.accuracy import OVERALL
from registry.states import RequestStatus, RetrainingStatus, VersionStatus

SHOWN_DAYS = 60
WORSE_PCT = 15.0
"""A week this much worse than the month before it is worth a word."""
RECENT_FAILURES = timedelta(hours=24)
DRIFT_JOB = "detect_model_drift"
RETRAIN_SCHEDULE = "retrain_forecast_model"


@dataclass(frozen=True)
class DailyError:
    """One day of a version: MAE, and the sums that windows are pooled from."""

    day: date
    mae: float
    n: int
    sum_abs_error: float
    sum_actual: float


@dataclass(frozen=True)
class ModelCard:
    """One model at a glance."""

    model: RegisteredModel
    champion: ModelVersion | None
    challengers: list[ModelVersion]
    verdict: Verdict | None
    days: list[DailyError]
    validated: bool
    """Whether the days are validated forecasts; else they come from the backtest."""
    retraining: RetrainingRun | None
    retraining_verdict: Verdict | None
    next_retrain: datetime | None
    drift: dict[str, Any] = field(default_factory=dict)

    @property
    def challenger(self) -> ModelVersion | None:
        """The newest one."""
        return self.challengers[0] if self.challengers else None

    @property
    def points(self) -> list[tuple[date, float]]:
        """What the sparkline draws."""
        return [(one.day, one.mae) for one in self.days]

    @property
    def promoted_on(self) -> date | None:
        """The day the champion took its place."""
        return self.champion.promoted_at.date() if self.champion and self.champion.promoted_at else None

    @property
    def mae_7(self) -> float | None:
        """MAE pooled over the last seven days with a known truth."""
        return self._pooled(7)

    @property
    def mae_30(self) -> float | None:
        """MAE pooled over the last thirty."""
        return self._pooled(30)

    @property
    def wape_7(self) -> float | None:
        """Absolute error over demand, last seven days; a fraction."""
        week = self._last(7)
        actual = sum(one.sum_actual for one in week)
        return sum(one.sum_abs_error for one in week) / actual if actual else None

    @property
    def trend_pct(self) -> float | None:
        """The last seven days against the thirty before, percent; above zero is worse."""
        before = [one for one in self._last(37) if one not in self._last(7)]
        rows = sum(one.n for one in before)
        if len(before) < 7 or not rows or self.mae_7 is None:
            return None
        reference = sum(one.sum_abs_error for one in before) / rows
        return 100 * (self.mae_7 / reference - 1) if reference else None

    @property
    def problems(self) -> list[str]:
        """What is wrong, in words; empty when nothing is."""
        found = []
        if self.champion is None:
            found.append("has no champion")
        if self.drift.get("drifted"):
            found.append("has drifted")
        elif self.validated and self.trend_pct is not None and self.trend_pct > WORSE_PCT:
            found.append(f"is {self.trend_pct:.0f} % worse this week than the month before")
        if self.retraining and self.retraining.status == RetrainingStatus.FAILED:
            found.append("failed its last retraining")
        return found

    def _last(self, days: int) -> list[DailyError]:
        if not self.days:
            return []
        since = self.days[-1].day - timedelta(days=days - 1)
        return [one for one in self.days if one.day >= since]

    def _pooled(self, days: int) -> float | None:
        rows = self._last(days)
        n = sum(one.n for one in rows)
        return sum(one.sum_abs_error for one in rows) / n if n else None


@dataclass(frozen=True)
class Overview:
    """The whole first page."""

    cards: list[ModelCard]
    pending: list[PromotionRequest]
    running: list[Job]
    failed: list[Job]

    @property
    def wrong(self) -> list[str]:
        """Everything that is wrong, one clause for each model and each failed job."""
        found = [f"{card.model} {' and '.join(card.problems)}" for card in self.cards if card.problems]
        return found + [f"the job “{job.label}” failed" for job in self.failed]


def pending_requests() -> list[PromotionRequest]:
    """What waits for a manager, oldest first, each with its version, model and verdict."""
    waiting = PromotionRequest.objects.filter(status=RequestStatus.PENDING)
    return list(waiting.select_related("version", "model", "verdict", "verdict__against").order_by("requested_at", "id")[:200])


def running_jobs() -> list[Job]:
    """Open jobs, those at work first."""
    return sorted(
        jobs().filter(state__in=OPEN).order_by("created_at")[:20], key=lambda job: (job.state != JobState.RUNNING, job.created_at)
    )


def overview(*, pending: list[PromotionRequest], at: datetime) -> Overview:
    """Read it all: eight queries beside the pending requests, which the navigation has read already."""
    newest = RetrainingRun.objects.filter(model=OuterRef("pk")).order_by("-started_at").values("pk")[:1]
    models = list(RegisteredModel.objects.annotate(last_retraining_id=Subquery(newest)).order_by("name")[:200])
    retrainings = _retrainings(models)
    standing = _standing(models)
    champions = [one for versions in standing.values() for one in versions if one.status == VersionStatus.CHAMPION]
    validated = _days(ForecastAccuracy.objects.filter(segment_column=OVERALL), champions)
    without = [one for one in champions if one.pk not in validated]
    backtested = _days(BacktestResult.objects.all(), without) if without else {}
    verdicts = _verdicts([*(one for versions in standing.values() for one in versions), *(run.produced_id for run in retrainings.values())])
    known_jobs = _jobs(at)
    due = _next_retrain(at)
    drift = _drift(known_jobs)
    cards = []
    for model in models:
        versions = standing[model.pk]
        champion = next((one for one in versions if one.status == VersionStatus.CHAMPION), None)
        challengers = [one for one in versions if one.status == VersionStatus.CHALLENGER]
        run = retrainings.get(model.pk)
        against = _against(champion, verdicts.get(challengers[0].pk, [])) if challengers else None
        cards.append(
            ModelCard(
                model=model,
                champion=champion,
                challengers=challengers,
                verdict=against,
                days=(validated.get(champion.pk) or backtested.get(champion.pk) or []) if champion else [],
                validated=bool(champion and champion.pk in validated),
                retraining=run,
                retraining_verdict=next(iter(verdicts.get(run.produced_id, [])), None) if run and run.produced_id else None,
                next_retrain=due if model.scheduled and model.task == RegisteredModel.Task.FORECAST else None,
                drift=drift.get(model.name, {}),
            )
        )
    open_jobs = [job for job in known_jobs if job.state in OPEN]
    failed = [job for job in known_jobs if job.state == JobState.FAILED]
    return Overview(cards, pending, open_jobs, failed)


def _standing(models: Sequence[RegisteredModel]) -> dict[Any, list[ModelVersion]]:
    versions = ModelVersion.objects.filter(model__in=models, status__in=[VersionStatus.CHAMPION, VersionStatus.CHALLENGER])
    plain = versions.defer("metrics", "hyperparameters", "signature", "reference_statistics", "lineage").order_by("-number")
    grouped: dict[Any, list[ModelVersion]] = defaultdict(list)
    for one in plain:
        grouped[one.model_id].append(one)
    return grouped


def _days(rows: Any, versions: Sequence[ModelVersion]) -> dict[Any, list[DailyError]]:
    found: dict[Any, list[DailyError]] = defaultdict(list)
    columns = ("version_ref_id", "forecast_date", "mae", "n", "sum_abs_error", "sum_actual")
    wanted = rows.filter(version_ref__in=versions, mae__isnull=False).order_by("-forecast_date").values_list(*columns)
    for version_id, *values in wanted[: 3 * SHOWN_DAYS * max(len(versions), 1)]:
        if len(found[version_id]) < SHOWN_DAYS:
            found[version_id].append(DailyError(*values))
    return {version_id: days[::-1] for version_id, days in found.items()}


def _retrainings(models: Iterable[Any]) -> dict[Any, RetrainingRun]:
    ids = [model.last_retraining_id for model in models if model.last_retraining_id]
    return {run.model_id: run for run in RetrainingRun.objects.filter(pk__in=ids).select_related("produced")} if ids else {}


def _verdicts(versions: Iterable[Any]) -> dict[Any, list[Verdict]]:
    """Verdicts by version, newest first; without the policies they were made under."""
    grouped: dict[Any, list[Verdict]] = defaultdict(list)
    for verdict in (
        Verdict.objects.filter(version__in=[one for one in versions if one]).defer("policy").order_by("-created_at", "pk")[:1000]
    ):
        grouped[verdict.version_id].append(verdict)
    return grouped


def _against(champion: ModelVersion | None, verdicts: Iterable[Verdict]) -> Verdict | None:
    wanted = champion.pk if champion else None
    return next((one for one in verdicts if one.against_id == wanted), None)


def _jobs(at: datetime) -> list[Job]:
    """Open ones, what failed lately, and the last drift check: one query."""
    last_check = jobs().filter(kind=DRIFT_JOB, state=JobState.SUCCEEDED).order_by("-finished_at").values("pk")[:1]
    failed = Q(state=JobState.FAILED, finished_at__gte=at - RECENT_FAILURES)
    wanted = jobs().filter(Q(state__in=OPEN) | failed | Q(pk__in=Subquery(last_check)))
    return list(wanted.order_by("-created_at", "id")[:50])


def _drift(known: Iterable[Job]) -> dict[str, dict[str, Any]]:
    check = next((job for job in known if job.kind == DRIFT_JOB and job.state == JobState.SUCCEEDED), None)
    reports = check.result.get("models", {}) if check else {}
    return {name: report for name, report in reports.items() if isinstance(report, dict)}


def _next_retrain(at: datetime) -> datetime | None:
    task = (
        PeriodicTask.objects.filter(
            pk__in=Schedule.objects.filter(customer_id=required(), job=RETRAIN_SCHEDULE).values("periodic_task_id"), enabled=True
        )
        .select_related("crontab")
        .first()
    )
    return next_slot(task.crontab.schedule, at=at) if task and task.crontab else None
