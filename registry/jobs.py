"""Long work of the registry, one function per kind of job. Each step checks whether to go on; outputs are written inside the fence."""

from typing import Any

from django.db import transaction
from django.utils import timezone

from mlops.jobs.runner import Attempt, job
from mlops.jobs.services import JobRefused
from mlops.outbox.services import publish
from registry.events import BacktestDegraded
from registry.models import BacktestRun, ModelVersion, RegisteredModel
from registry.rules.policy import Policy, parse
from registry.services import accuracy, drifting, judging
from registry.services.artifacts import NoArtifact
from registry.services.backtesting import Evaluation, evaluate_version, store_run
from registry.services.panels import NoData, model_panel, newest_data

DEGRADED_PCT = 15.0


@job("judge_version")
def judge_version(attempt: Attempt) -> dict[str, Any]:
    """Backtest the version and the champion on the same window and data, then pronounce the verdict. It advises; nobody is moved."""
    with transaction.atomic():
        version = ModelVersion.objects.select_related("model").filter(pk=attempt.payload["version_id"]).first()
    if version is None:
        raise JobRefused("The version is gone.")
    backtest_for_judgement(attempt, version)
    with attempt.fenced():
        verdict = judging.pronounce(version=version, trigger="manual", at=timezone.now())
    return {"verdict_id": str(verdict.pk), "passed": verdict.passed, "said": verdict.summary}


def backtest_for_judgement(attempt: Attempt, version: ModelVersion, *, ready: Evaluation | None = None) -> None:
    """Give the version, and the champion unless it has one, a stored backtest on the model's newest data.

    `ready` is the version's own evaluation if the caller has it. Raises JobRefused where there is no data, or the version cannot predict.
    """
    try:
        data = ready.data if ready else newest_data(version.model)
        panel = model_panel(version.model, data)
    except NoData as refusal:
        raise JobRefused(str(refusal)) from None
    policy = parse(version.model.policy)
    sides = [(version, ready)]
    with transaction.atomic():
        champion = judging.champion_of(version.model)
    if champion is not None and champion.has_artifact and not _has_run(champion, panel.last_day, data.pk, policy):
        sides.append((champion, None))
    for number, (side, evaluation) in enumerate(sides):
        step = _stretch(attempt, number, len(sides), f"backtesting {side.version}")
        try:
            found = evaluation or evaluate_version(version=side, panel=panel, data=data, policy=policy, progress=step)
        except NoArtifact as refusal:
            raise JobRefused(str(refusal)) from None
        store_run(
            version=side,
            evaluation=found,
            purpose=BacktestRun.Purpose.JUDGE,
            at=timezone.now(),
            job_id=attempt.job_id,
            inside=attempt.fenced(),
        )


def _has_run(champion: ModelVersion, last_day: Any, data_id: Any, policy: Policy) -> bool:
    wanted = {"dataset_version": data_id, "window_end": last_day, "horizon": policy.horizon, "options__window_days": policy.backtest_days}
    with transaction.atomic():
        return champion.backtest_runs.filter(**wanted).exists()


def _stretch(attempt: Attempt, number: int, parts: int, text: str) -> Any:
    """A progress callback for one of several equal parts."""

    def tell(fraction: float, detail: str) -> None:
        attempt.progress((number + fraction) / parts, f"{text}: {detail}")

    return tell


@job("run_daily_backtest")
def run_daily_backtest(attempt: Attempt) -> dict[str, Any]:
    """Validate every scheduled model's champion on the days whose truth is new."""
    return _for_each_model(attempt, lambda model: accuracy.validate_new_days(model=model, at=timezone.now()))


@job("detect_model_drift")
def detect_model_drift(attempt: Attempt) -> dict[str, Any]:
    """Check every scheduled model's champion for drift."""
    return _for_each_model(attempt, lambda model: drifting.detect(model=model, at=timezone.now()))


@job("run_weekly_backtest")
def run_weekly_backtest(attempt: Attempt) -> dict[str, Any]:
    """Backtest every scheduled model's champion over the policy's window, and tell if it lost what it won by."""
    return _for_each_model(attempt, lambda model: _weekly_backtest(attempt, model))


def _weekly_backtest(attempt: Attempt, model: RegisteredModel) -> dict[str, Any]:
    with transaction.atomic():
        champion = judging.champion_of(model)
        first = champion.backtest_runs.order_by("created_at", "pk").first() if champion else None
    if champion is None or not champion.has_artifact:
        return {"said": "There is no champion that predicts here."}
    data = newest_data(model)
    panel = model_panel(model, data)
    found = evaluate_version(version=champion, panel=panel, data=data, policy=parse(model.policy), progress=attempt.progress)
    now = timezone.now()
    with attempt.fenced():
        run = store_run(version=champion, evaluation=found, purpose=BacktestRun.Purpose.WEEKLY, at=now, job_id=attempt.job_id)
        then, today = (first.metrics.get("mae") if first else None), run.metrics.get("mae")
        worse = 100 * (today / then - 1) if then and today is not None else 0.0
        if worse > DEGRADED_PCT:
            said = f"{champion.version} has a 90-day MAE of {today:.3f}, {worse:.0f} % above the {then:.3f} it was first judged with."
            publish(BacktestDegraded(model.name, str(champion.pk), champion.version, said), at=now)
    return {"version": champion.version, "metrics": run.metrics, "run_id": str(run.pk)}


def _for_each_model(attempt: Attempt, work: Any) -> dict[str, Any]:
    """Do the work for each scheduled forecast model; one model's refusal does not keep the others from theirs."""
    with transaction.atomic():
        models = list(RegisteredModel.objects.filter(scheduled=True, task=RegisteredModel.Task.FORECAST).order_by("name"))
    results: dict[str, Any] = {}
    for number, model in enumerate(models):
        attempt.progress(number / len(models), model.name)
        try:
            results[model.name] = work(model)
        except NoData as refusal:
            results[model.name] = {"said": str(refusal)}
    return {"models": results}
