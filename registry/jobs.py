"""Long work of the registry, one function per kind of job. Each step checks whether to go on; outputs are written inside the fence.

A folder that is read anew on the way is no output: its files are what they are, whoever asked.
"""

from collections.abc import Callable
from datetime import date
from typing import Any
from uuid import UUID

import structlog
from django.db import DatabaseError
from django.utils import timezone

from mlops.database.reading import reading
from mlops.jobs.runner import Attempt, job
from mlops.jobs.services import Cancelled, JobRefused, LeaseLost
from mlops.outbox.events import subscribe
from mlops.outbox.services import publish
from mlops.tenancy.roles import system
from registry.events import ActualsRecorded, BacktestDegraded
from registry.models import BacktestRun, ModelVersion, RegisteredModel
from registry.rules.policy import parse
from registry.rules.trailing import DEGRADED_PCT
from registry.services import accuracy, drifting, judging, shadowing
from registry.services.artifacts import NoArtifact
from registry.services.backtesting import Progress, evaluate_version, run_on, store_run
from registry.services.lookups import champion_of, reference_run
from registry.services.panels import NoData, model_panel, newest_data, refresh_data
from registry.services.refusals import refusing

log = structlog.get_logger(__name__)

Work = Callable[[RegisteredModel, Progress], dict[str, Any]]


@job("judge_version")
def judge_version(attempt: Attempt) -> dict[str, Any]:
    """Measure the version and the champion on the same ground, then pronounce the verdict. It advises; nobody is moved."""
    with reading():
        version = ModelVersion.objects.select_related("model").filter(pk=attempt.payload["version_id"]).first()
    if version is None:
        raise JobRefused("The version is gone.")
    with refusing():
        judging.check_judgeable(version)
        if version.model.task == RegisteredModel.Task.FORECAST:
            _backtest_both(attempt, version)
        found = judging.deliberate(version)
        with attempt.fenced():
            verdict = judging.keep(found, trigger="manual", at=timezone.now())
            result = {"verdict_id": str(verdict.pk), "passed": verdict.passed, "said": verdict.summary}
            attempt.finish(result)
    return result


def _backtest_both(attempt: Attempt, version: ModelVersion) -> None:
    """Give the version and the champion a stored backtest on the model's newest data, unless they have it."""
    policy = parse(version.model.policy)
    data = newest_data(version.model)
    panel = model_panel(version.model, data)
    with reading():
        champion = champion_of(version.model)
        wanted = [version, *([champion] if champion is not None and champion.has_artifact else [])]
        sides = [side for side in wanted if run_on(side, panel=panel, data=data, policy=policy) is None]
    for number, side in enumerate(sides):
        tell = _stretch(attempt, number, len(sides), f"backtesting {side.version}: ")
        try:
            found = evaluate_version(version=side, panel=panel, data=data, policy=policy, progress=tell)
        except NoArtifact:
            if side is version:
                raise
            continue  # a champion of a foreign format does not predict here; the gates that need its numbers fail closed
        now = timezone.now()
        purpose = BacktestRun.Purpose.JUDGE
        store_run(version=side, evaluation=found, purpose=purpose, at=now, job_id=attempt.job_id, fence=attempt.fenced)


def _stretch(attempt: Attempt, number: int, parts: int, prefix: str) -> Progress:
    """A progress callback for one of several equal parts."""

    def tell(fraction: float, detail: str) -> None:
        attempt.progress((number + fraction) / parts, f"{prefix}{detail}")

    return tell


@job("run_daily_backtest")
def run_daily_backtest(attempt: Attempt) -> dict[str, Any]:
    """Read the models' folders anew and validate every scheduled model's champion on the days whose truth is new; let those that
    compete predict beside it."""

    def validate(model: RegisteredModel, tell: Progress) -> dict[str, Any]:
        refresh_data(model, by=system(attempt.customer_id), at=timezone.now())
        validated = accuracy.validate_new_days(model=model, at=timezone.now(), progress=tell, fence=attempt.fenced)
        return {**validated, "shadow": shadowing.shadow_new_days(model=model, at=timezone.now(), fence=attempt.fenced)}

    return _for_each_model(attempt, validate)


@subscribe(ActualsRecorded, "registry.shadow_actuals")
def join_actuals(news: ActualsRecorded) -> None:
    """Truth that came by API is put beside what was predicted in shadow."""
    days = [date.fromisoformat(day) for day in news.days]
    shadowing.join_actuals(model_id=UUID(news.model_id), days=days, at=timezone.now())


@job("detect_model_drift")
def detect_model_drift(attempt: Attempt) -> dict[str, Any]:
    """Check every scheduled model's champion for drift."""
    return _for_each_model(attempt, lambda model, _: drifting.detect(model=model, at=timezone.now(), fence=attempt.fenced))


@job("run_weekly_backtest")
def run_weekly_backtest(attempt: Attempt) -> dict[str, Any]:
    """Backtest every scheduled model's champion over the policy's window, and tell if it lost what it won by."""
    return _for_each_model(attempt, lambda model, tell: _weekly_backtest(attempt, model, tell))


def _weekly_backtest(attempt: Attempt, model: RegisteredModel, tell: Progress) -> dict[str, Any]:
    with reading():
        champion = champion_of(model)
        first = reference_run(champion) if champion else None
        done = champion.backtest_runs.filter(job_id=attempt.job_id).first() if champion else None
    if champion is None or not champion.has_artifact:
        return {"said": "There is no champion that predicts here."}
    if done is not None:  # by an attempt that died later
        return {"version": champion.version, "metrics": done.metrics, "run_id": str(done.pk)}
    data = newest_data(model)
    found = evaluate_version(version=champion, panel=model_panel(model, data), data=data, policy=parse(model.policy), progress=tell)
    now = timezone.now()
    with attempt.fenced():
        run = store_run(version=champion, evaluation=found, purpose=BacktestRun.Purpose.WEEKLY, at=now, job_id=attempt.job_id)
        then, today = (first.metrics.get("mae") if first else None), run.metrics.get("mae")
        worse = 100 * (today / then - 1) if then and today is not None else 0.0
        if worse > DEGRADED_PCT:
            said = (
                f"{champion.version} has an MAE of {today:.3f} over the {found.window_days} days up to {run.window_end}, "
                f"{worse:.0f} % above the {then:.3f} it was first judged with."
            )
            publish(BacktestDegraded(model.name, str(champion.pk), champion.version, said), at=now)
    return {"version": champion.version, "metrics": run.metrics, "run_id": str(run.pk)}


def _for_each_model(attempt: Attempt, work: Work) -> dict[str, Any]:
    """Do the work for each scheduled forecast model; one model's failure does not keep the others from theirs.

    Raises JobRefused at the end, naming the models it could not be done for.
    """
    with reading():
        models = list(RegisteredModel.objects.filter(scheduled=True, task=RegisteredModel.Task.FORECAST).order_by("name"))
    results: dict[str, Any] = {}
    failed: list[str] = []
    for number, model in enumerate(models):
        attempt.progress(number / len(models), model.name)
        try:
            with refusing():
                results[model.name] = work(model, _stretch(attempt, number, len(models), f"{model.name}: "))
        except (LeaseLost, Cancelled, DatabaseError):
            raise
        except JobRefused as refusal:
            if isinstance(refusal.__cause__, NoData | NoArtifact):
                results[model.name] = {"said": str(refusal)}
            else:
                failed.append(f"{model.name}: {refusal}")
        except Exception as failure:
            # The boundary between models: whatever is wrong with one is told at the end.
            log.exception("job.model_failed", model=model.name)
            failed.append(f"{model.name}: {type(failure).__name__}: {failure}")
    if failed:
        raise JobRefused("; ".join(failed))
    return {"models": results}
