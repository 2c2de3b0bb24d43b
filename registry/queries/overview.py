"""What the first page shows: a card per model, what runs, what is wrong. A fixed number of queries, whatever the number of models."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from django.db.models import Case, OuterRef, Q, Subquery, When

from mlops.jobs.models import OPEN, Job, JobState
from mlops.jobs.queries import jobs
from registry.models import BacktestResult, ForecastAccuracy, ModelVersion, RegisteredModel, RetrainingRun, Verdict
from registry.models.accuracy import OVERALL
from registry.queries.health import baseline_of, with_first_run
from registry.queries.schedules import next_retraining
from registry.rules.trailing import Condition, Day, Trailing
from registry.states import RetrainingStatus, VersionStatus

SHOWN_DAYS = 60
RECENT_FAILURES = timedelta(hours=24)
DRIFT_JOB = "detect_model_drift"


@dataclass(frozen=True)
class ModelCard:
    """One model at a glance."""

    model: RegisteredModel
    champion: ModelVersion | None
    challengers: list[ModelVersion]
    verdict: Verdict | None
    condition: Condition
    """The champion's."""
    retraining: RetrainingRun | None
    retraining_verdict: Verdict | None
    next_retrain: datetime | None
    drift: dict[str, Any] = field(default_factory=dict)
    """What the last check found of this champion; empty where there was none."""

    @property
    def challenger(self) -> ModelVersion | None:
        """The newest one."""
        return self.challengers[0] if self.challengers else None

    @property
    def errors(self) -> Trailing:
        """The champion's."""
        return self.condition.errors

    @property
    def points(self) -> list[tuple[date, float]]:
        """What the sparkline draws."""
        return [(one.day, one.mae) for one in self.errors.days]

    @property
    def promoted_on(self) -> date | None:
        """The day the champion took its place."""
        return self.champion.promoted_at.date() if self.champion and self.champion.promoted_at else None

    @property
    def unknown(self) -> str:
        """Why nobody can tell how the champion does, in words: what the API calls a warning, though nothing was seen to be wrong."""
        if self.champion is None or self.condition.state == "healthy" or self.condition.change_pct is not None:
            return ""
        return "was never measured here" if self.errors.mae_7d is None else "has no MAE on record to compare its last week with"

    @property
    def problems(self) -> list[str]:
        """What is wrong, in words; empty when nothing is. A model without a champion never had one: that is no fault of it."""
        found = []
        change = self.condition.change_pct
        if self.drift.get("drifted"):
            found.append("has drifted")
        elif change is not None and self.condition.state != "healthy":
            found.append(f"was {change:.0f} % worse in its last week than when it was registered")
        if self.retraining and self.retraining.status == RetrainingStatus.FAILED:
            found.append("failed its last retraining")
        return found


@dataclass(frozen=True)
class Overview:
    """The whole first page."""

    cards: list[ModelCard]
    running: list[Job]
    failed: list[Job]

    @property
    def wrong(self) -> list[str]:
        """Everything that is wrong, one clause for each model and each failed job."""
        found = [f"{card.model} {' and '.join(card.problems)}" for card in self.cards if card.problems]
        return found + [f"the job “{job.label}” failed" for job in self.failed]

    @property
    def unknown(self) -> list[str]:
        """Every champion of which nobody can tell how it does, a clause each."""
        return [f"{card.model} {card.unknown}" for card in self.cards if card.unknown]


def running_jobs() -> list[Job]:
    """Open jobs, those at work first."""
    return sorted(
        jobs().filter(state__in=OPEN).order_by("created_at")[:20], key=lambda job: (job.state != JobState.RUNNING, job.created_at)
    )


def overview(*, at: datetime) -> Overview:
    """Read it all in eight queries."""
    newest = RetrainingRun.objects.filter(model=OuterRef("pk")).order_by("-started_at").values("pk")[:1]
    models = list(RegisteredModel.objects.annotate(last_retraining_id=Subquery(newest)).order_by("name")[:200])
    retrainings = _retrainings(models)
    standing = _standing(models)
    champions = [one for versions in standing.values() for one in versions if one.status == VersionStatus.CHAMPION]
    errors = _errors(champions)
    verdicts = _verdicts([*(one for versions in standing.values() for one in versions), *(run.produced_id for run in retrainings.values())])
    known_jobs = _jobs(at)
    due = next_retraining(at=at)
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
                condition=Condition(errors[champion.pk], baseline_of(champion)) if champion else Condition(Trailing(None, ()), None),
                retraining=run,
                retraining_verdict=next(iter(verdicts.get(run.produced_id, [])), None) if run and run.produced_id else None,
                next_retrain=due if model.retrained_on_schedule else None,
                drift=_of_champion(drift.get(model.name, {}), champion),
            )
        )
    open_jobs = [job for job in known_jobs if job.state in OPEN]
    failed = [job for job in known_jobs if job.state == JobState.FAILED]
    return Overview(cards, open_jobs, failed)


def _standing(models: Sequence[RegisteredModel]) -> dict[Any, list[ModelVersion]]:
    versions = ModelVersion.objects.filter(model__in=models, status__in=[VersionStatus.CHAMPION, VersionStatus.CHALLENGER])
    plain = with_first_run(versions).defer("hyperparameters", "signature", "reference_statistics", "lineage").order_by("-number")
    grouped: dict[Any, list[ModelVersion]] = defaultdict(list)
    for one in plain:
        grouped[one.model_id].append(one)
    return grouped


def _errors(champions: Sequence[ModelVersion]) -> dict[Any, Trailing]:
    """Of the daily validation, or of the backtest for those that were never validated."""
    validated = _days(ForecastAccuracy.objects.filter(segment_column=OVERALL), champions)
    without = [one for one in champions if one.pk not in validated]
    backtested = _days(BacktestResult.objects.all(), without) if without else {}
    found = dict.fromkeys((one.pk for one in champions), Trailing(None, ()))
    found |= {version_id: Trailing("backtest", tuple(days)) for version_id, days in backtested.items()}
    return found | {version_id: Trailing("validation", tuple(days)) for version_id, days in validated.items()}


def _days(rows: Any, versions: Sequence[ModelVersion]) -> dict[Any, list[Day]]:
    found: dict[Any, list[Day]] = defaultdict(list)
    columns = ("version_ref_id", "forecast_date", "n", "sum_abs_error", "sum_actual")
    wanted = rows.filter(version_ref__in=versions, n__gt=0).order_by("-forecast_date").values_list(*columns)
    for version_id, *values in wanted[: 3 * SHOWN_DAYS * max(len(versions), 1)]:
        if len(found[version_id]) < SHOWN_DAYS:
            found[version_id].append(Day(*values))
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
    check_first = Case(When(state=JobState.SUCCEEDED, then=0), default=1)  # however much has failed since
    return list(wanted.order_by(check_first, "-created_at", "id")[:50])


def _of_champion(report: dict[str, Any], champion: ModelVersion | None) -> dict[str, Any]:
    """A check of a former champion says nothing of the present one. Where none could be made, the report names no version."""
    return report if champion and report.get("version", champion.version) == champion.version else {}


def _drift(known: Iterable[Job]) -> dict[str, dict[str, Any]]:
    check = next((job for job in known if job.kind == DRIFT_JOB and job.state == JobState.SUCCEEDED), None)
    reports = check.result.get("models", {}) if check else {}
    return {name: report for name, report in reports.items() if isinstance(report, dict)}
