"""The scheduled jobs: every model gets its turn, and what is worse is told."""

import pkgutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db.models import Model

from mlops.artifacts.storage import storage
from mlops.jobs import runner, services
from mlops.jobs.models import Job, JobState
from mlops.outbox.models import Message
from mlops.tenancy.roles import Principal
from registry.models import ForecastAccuracy, ModelVersion, RegisteredModel, ShadowPrediction, Verdict
from registry.services.accuracy import validate_new_days
from registry.services.judging_requests import request_judgement
from registry.services.model_settings import configure_model
from registry.services.promotion import promote
from registry.services.registration import register_version
from tests.experiments.chain import LAST_DAY, NOON, POOR, chain, do_each_work_once, give_data, make_chain_model, news, retrain
from tests.registry.test_drifting import TRAINED, do, shifted

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same work is done once in the whole run."""
    do_each_work_once(monkeypatch)


def champion_of(model: RegisteredModel) -> ModelVersion:
    return model.versions.get(status="champion")


def break_artifact(version: ModelVersion) -> None:
    root = storage().local_root
    assert root is not None
    path = root / version.artifact_path
    path.chmod(0o600)
    path.write_bytes(b"{}")


def test_the_daily_job_validates_every_model(scope: Principal, tmp_path: Path) -> None:
    for name in ("demand", "returns"):
        retrain(make_chain_model(tmp_path, scope, name=name), scope, as_of=TRAINED)
    make_chain_model(tmp_path, scope, name="untrained")
    make_chain_model(tmp_path, scope, name="by_hand", scheduled=False)

    job = do("run_daily_backtest", scope)

    days = {name: result["days"] for name, result in job.result["models"].items()}
    assert (job.state, days) == (JobState.SUCCEEDED, {"demand": 14, "returns": 14, "untrained": 0})


def test_the_daily_job_reads_a_models_folder_anew(scope: Principal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(settings, "DATA_ROOTS", [tmp_path])
    file = tmp_path / "feed.parquet"
    model = make_chain_model(tmp_path, scope)
    chain().write_parquet(file)
    configure_model(model=model, changes={"data_dir": str(file)}, by=scope, at=NOON)
    retrain(model, scope)
    chain(last_day=LAST_DAY + timedelta(days=1)).write_parquet(file)

    job = do("run_daily_backtest", scope)

    assert job.result["models"]["demand"]["days"] == 1


@pytest.mark.parametrize(
    ("kind", "step", "outputs"),
    [
        ("run_daily_backtest", "accuracy._measure", ForecastAccuracy),
        ("run_daily_backtest", "shadowing._predict_both", ShadowPrediction),
        ("detect_model_drift", "drifting._judge", Message),
    ],
)
def test_what_is_cancelled_while_it_measures_keeps_nothing(
    scope: Principal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, step: str, outputs: type[Model]
) -> None:
    model = make_chain_model(tmp_path, scope, frame=shifted(), policy={"backtest_days": 56})
    retrain(model, scope, as_of=TRAINED)
    retrain(model, scope, as_of=TRAINED, recipe=POOR)
    if step != "accuracy._measure":
        validate_new_days(model=model, at=NOON)
    target = f"registry.services.{step}"
    real = pkgutil.resolve_name(target)

    def measure_and_be_cancelled(*args: Any, **options: Any) -> Any:
        found = real(*args, **options)
        services.cancel(job=Job.objects.get(kind=kind), at=NOON, by=scope)
        return found

    monkeypatch.setattr(target, measure_and_be_cancelled)
    before = outputs._default_manager.count()

    job = do(kind, scope)

    assert job.state == JobState.CANCELLED
    news_of_the_end = int(outputs is Message)  # that the job was cancelled is told
    assert outputs._default_manager.count() == before + news_of_the_end


@pytest.mark.parametrize("kind", ["run_daily_backtest", "run_weekly_backtest"])
def test_one_models_broken_artifact_does_not_keep_the_others_from_their_turn(scope: Principal, tmp_path: Path, kind: str) -> None:
    broken, sound = (make_chain_model(tmp_path, scope, name=name) for name in ("a_broken", "b_sound"))
    for model in (broken, sound):
        retrain(model, scope, as_of=TRAINED)
    break_artifact(champion_of(broken))

    job = do(kind, scope)

    assert (job.state, job.attempt) == (JobState.FAILED, 1)
    assert job.last_error.startswith("a_broken: ")
    assert "was registered" in job.last_error
    assert "b_sound" not in job.last_error
    measured = champion_of(sound).accuracy if kind == "run_daily_backtest" else champion_of(sound).backtest_runs.filter(purpose="weekly")
    assert measured.exists()


def test_a_weekly_backtest_that_is_worse_is_told(scope: Principal, tmp_path: Path) -> None:
    model = make_chain_model(tmp_path, scope, frame=shifted())
    retrain(model, scope, as_of=TRAINED)

    job = do("run_weekly_backtest", scope)

    [told] = news("registry.backtest_degraded")
    assert (told["version"], job.state) == ("v2", JobState.SUCCEEDED)
    assert f"over the 28 days up to {LAST_DAY}" in told["summary"]
    assert champion_of(model).backtest_runs.filter(purpose="weekly").count() == 1


def test_a_weekly_backtest_like_the_first_is_not_told(scope: Principal, tmp_path: Path) -> None:
    retrain(make_chain_model(tmp_path, scope), scope)

    do("run_weekly_backtest", scope)

    assert news("registry.backtest_degraded") == []


def test_a_repeated_attempt_backtests_nobody_twice(scope: Principal, tmp_path: Path) -> None:
    model = make_chain_model(tmp_path, scope)
    retrain(model, scope)
    job = do("run_weekly_backtest", scope)

    Job.objects.filter(pk=job.pk).update(state=JobState.QUEUED)
    runner.run(job_id=job.pk, attempts=1)

    job.refresh_from_db()
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)
    assert champion_of(model).backtest_runs.filter(purpose="weekly").count() == 1


def judge(version: ModelVersion, by: Principal) -> Job:
    asked = request_judgement(version_id=version.pk, by=by, at=NOON)
    assert isinstance(asked, Job)
    runner.run(job_id=asked.pk, attempts=0)
    asked.refresh_from_db()
    return asked


def test_judging_measures_both_on_the_newest_data(scope: Principal, tmp_path: Path) -> None:
    model = make_chain_model(tmp_path, scope)
    retrain(model, scope)
    poor = retrain(model, scope, recipe=POOR).produced
    give_data(model, tmp_path, scope, chain(last_day=LAST_DAY + timedelta(days=3)))

    job = judge(poor, scope)

    verdict = Verdict.objects.get(pk=job.result["verdict_id"])
    assert (verdict.version, verdict.against, verdict.passed) == (poor, champion_of(model), False)
    assert verdict.run.window_end == verdict.against_run.window_end == LAST_DAY + timedelta(days=3)
    assert verdict.run.dataset_version == verdict.against_run.dataset_version == model.dataset.versions.get(number=2)


def test_judging_again_takes_what_is_stored(scope: Principal, tmp_path: Path) -> None:
    model = make_chain_model(tmp_path, scope)
    retrain(model, scope)
    poor = retrain(model, scope, recipe=POOR).produced

    judge(poor, scope)

    assert (poor.backtest_runs.count(), champion_of(model).backtest_runs.count(), poor.verdicts.count()) == (1, 1, 2)


def test_a_version_without_data_is_not_judged_and_the_reason_is_told(scope: Principal, tmp_path: Path) -> None:
    model = make_chain_model(tmp_path, scope)
    retrain(model, scope)
    poor = retrain(model, scope, recipe=POOR).produced
    RegisteredModel.objects.filter(pk=model.pk).update(dataset=None)

    job = judge(poor, scope)

    assert (job.state, job.attempt) == (JobState.FAILED, 1)
    assert "demand has no data yet" in job.last_error


def test_a_version_crowned_meanwhile_is_not_judged(scope: Principal, tmp_path: Path) -> None:
    model = make_chain_model(tmp_path, scope)
    retrain(model, scope)
    poor = retrain(model, scope, recipe=POOR).produced
    asked = request_judgement(version_id=poor.pk, by=scope, at=NOON)
    promote(version_id=poor.pk, by=scope, at=NOON, override=True, reason="Now.")

    runner.run(job_id=asked.pk, attempts=0)

    asked.refresh_from_db()
    assert (asked.state, asked.attempt) == (JobState.FAILED, 1)
    assert "is the champion" in asked.last_error


def test_a_version_known_by_its_metadata_is_judged_at_once(scope: Principal, tmp_path: Path) -> None:
    model = make_chain_model(tmp_path, scope)
    retrain(model, scope)
    elsewhere = register_version(model=model, by=scope, at=NOON, metrics={"mae": 0.1})

    verdict = request_judgement(version_id=elsewhere.pk, by=scope, at=NOON)

    assert isinstance(verdict, Verdict)
    assert (verdict.passed, any(gate["passed"] for gate in verdict.gates if gate["name"] != "segments")) == (False, False)
    assert not services.Job.objects.filter(kind="judge_version").exists()
