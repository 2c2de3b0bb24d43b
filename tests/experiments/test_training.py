"""What a retraining makes: versions, evidence, a verdict and what follows from it; and what is left when it cannot."""

import hashlib
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from engine.formats.reference import Reference, describe_column
from experiments.services import retraining, training
from experiments.services.code_revision import code_revision
from mlops.artifacts.storage import storage
from mlops.audit.services import verify
from mlops.jobs.models import JobState
from mlops.jobs.services import cancel, fenced
from mlops.lifecycle.models import Move
from mlops.outbox.models import Message
from mlops.outbox.services import handle
from mlops.tenancy.models import Customer
from mlops.tenancy.roles import Principal, Role, system
from mlops.tenancy.services import create_api_key
from registry.models import DecisionRecord, ModelVersion, RegisteredModel, RetrainingRun, Verdict
from registry.services.artifacts import ArtifactFacts
from registry.services.dataset_panels import panel_of
from registry.services.four_eyes import OwnProposal
from registry.services.model_settings import configure_model
from registry.services.promotion import approve, promote
from registry.services.registration import PreparedArtifact, register_version
from registry.states import Trigger
from tests.experiments.chain import LAST_DAY, NOON, POOR, attempt, chain, give_data, job_of, make_chain_model, news, retrain

pytestmark = pytest.mark.django_db


def versions(model: RegisteredModel) -> list[ModelVersion]:
    return list(model.versions.order_by("number"))


def corrupt(version: ModelVersion) -> None:
    """Change one byte of the stored artifact behind everybody's back."""
    root = storage().local_root
    assert root is not None
    path = root / version.artifact_path
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)


def tell_about(topic: str) -> None:
    """Let the subscribers hear it."""
    for message in Message.objects.filter(topic=topic, handled_at=None):
        handle(message_id=message.pk, attempts=message.attempts, at=NOON)


def test_first_retraining_crowns_the_baseline_and_then_who_beats_it(model: RegisteredModel, scope: Principal) -> None:
    run = retrain(model, scope)

    baseline, trained = versions(model)
    assert (baseline.version, baseline.algorithm, baseline.status) == ("v1", "seasonal_naive", "deprecated")
    assert (trained.version, trained.algorithm, trained.status) == ("v2", "lightgbm", "champion")
    assert (run.status, run.version_produced, run.metadata["passed"]) == ("completed", "v2", True)
    assert (job_of(run).state, job_of(run).result) == (JobState.SUCCEEDED, run.metadata)


def test_a_retraining_leaves_its_whole_evidence(model: RegisteredModel, scope: Principal) -> None:
    run = retrain(model, scope)

    baseline, trained = versions(model)
    verdict = Verdict.objects.get(version=trained)
    decision = DecisionRecord.objects.get(version=trained)
    steps = [(move.object_label, move.source, move.target) for move in Move.objects.filter(stream_id=model.pk).order_by("sequence")]
    assert (verdict.against, verdict.passed, verdict.trigger, len(verdict.gates)) == (baseline, True, "manual", 13)
    assert (verdict.run.version, verdict.against_run.version) == (trained, baseline)
    assert (decision.kind, decision.automatic, decision.verdict, decision.former_champion) == ("promotion", True, verdict, baseline)
    assert decision.rests_on["retraining"] == str(run.pk)
    assert decision.rests_on["dataset_version"] == str(trained.dataset_version_id)
    assert steps == [
        ("demand v1", "candidate", "champion"),
        ("demand v1", "champion", "deprecated"),
        ("demand v2", "candidate", "champion"),
    ]
    assert verify().intact


def test_a_version_keeps_the_statistics_of_its_training_data(model: RegisteredModel, scope: Principal) -> None:
    retrain(model, scope)

    _, trained = versions(model)
    panel = panel_of(trained.dataset_version).frame
    kept = Reference.from_json(trained.reference_statistics)
    assert kept.target == describe_column(panel["target"])
    assert kept.features["price"] == describe_column(panel["price"])


def test_a_version_leads_back_to_its_data_and_its_artifact(model: RegisteredModel, scope: Principal) -> None:
    run = retrain(model, scope)

    baseline, trained = versions(model)
    content = storage().read(trained.artifact_path, sha256=trained.artifact_sha256)
    assert trained.dataset_version == model.dataset.versions.get()
    assert (trained.parent, trained.lineage["retraining"]) == (baseline, str(run.pk))
    assert baseline.lineage["code"] == trained.lineage["code"] == code_revision()
    assert trained.trained_through == LAST_DAY
    assert hashlib.sha256(content).hexdigest() == trained.artifact_sha256
    assert trained.created_by == scope.name


@pytest.mark.parametrize("label", ["v1", "v2"])
def test_the_days_of_a_backtest_add_up_to_its_metrics(model: RegisteredModel, scope: Principal, label: str) -> None:
    retrain(model, scope)

    version = model.versions.get(version=label)
    run = version.backtest_runs.get()
    days = list(version.backtest_results.order_by("forecast_date"))
    assert [day.forecast_date for day in days] == [LAST_DAY - timedelta(days=27 - offset) for offset in range(28)]
    assert sum(day.sum_abs_error for day in days) / sum(day.n for day in days) == pytest.approx(run.metrics["mae"])
    for column in ("overall", *model.dataset.versions.get().mapping["segments"]):
        parts = run.segments.filter(segment_column=column)
        assert sum(part.sum_abs_error for part in parts) == pytest.approx(sum(day.sum_abs_error for day in days))


@pytest.mark.parametrize("trigger", list(Trigger))
def test_only_scheduled_and_manual_winners_crown_themselves(model: RegisteredModel, scope: Principal, trigger: Trigger) -> None:
    run = retrain(model, scope, trigger=trigger)

    alone = trigger in (Trigger.SCHEDULED, Trigger.MANUAL)
    asked = [message["version"] for message in news("registry.promotion_pending")]
    assert run.metadata["passed"]
    assert run.produced.status == ("champion" if alone else "challenger")
    assert asked == ([] if alone else ["v2"])
    assert model.versions.filter(status="champion").count() == 1


@pytest.mark.parametrize("policy", [{"four_eyes": True}, {"auto_promote": False}])
def test_a_policy_can_keep_winners_from_crowning_themselves(model: RegisteredModel, scope: Principal, policy: dict[str, Any]) -> None:
    configure_model(model=model, changes={"policy": {**model.policy, **policy}}, by=scope, at=NOON)

    run = retrain(model, scope)

    assert (run.metadata["passed"], run.produced.status) == (True, "challenger")
    assert [message["version"] for message in news("registry.promotion_pending")] == ["v2"]


def test_whoever_asked_by_a_key_counts_as_the_trainer_with_the_person_it_named(
    model: RegisteredModel, scope: Principal, customer: Customer, principal: Callable[..., Principal]
) -> None:
    ada = principal("admin", "ada@shop.example")
    key, _ = create_api_key(customer=customer, role=Role.ML_MANAGER, name="robot", user=None, at=NOON, by=ada)
    robot = Principal("key", "key:robot", Role.ML_MANAGER, customer.pk, on_behalf_of="max@shop.example", key_id=key.pk)
    configure_model(model=model, changes={"policy": {"four_eyes": True}}, by=scope, at=NOON)

    version = retrain(model, robot).produced
    asked = promote(version_id=version.pk, by=scope, at=NOON).request

    assert version.created_by == "max@shop.example"
    for bound in (robot, ada, principal("ml_manager", "max@shop.example")):
        with pytest.raises(OwnProposal, match="trained"):
            approve(request_id=asked.pk, by=bound, at=NOON)
    assert approve(request_id=asked.pk, by=principal("ml_manager", "lee@shop.example"), at=NOON).kind == "promoted"


def test_a_worse_recipe_becomes_challenger_and_nobody_is_asked(model: RegisteredModel, scope: Principal) -> None:
    run = retrain(model, scope, recipe=POOR)

    assert (run.metadata["passed"], run.produced.status) == (False, "challenger")
    assert "Improvement" in run.metadata["verdict"]
    assert news("registry.promotion_pending") == []


def test_a_second_retraining_takes_the_champions_stored_backtest(model: RegisteredModel, scope: Principal) -> None:
    retrain(model, scope)

    retrain(model, scope, recipe=POOR)

    champion, poor = versions(model)[1:]
    assert champion.backtest_runs.count() == 1
    assert Verdict.objects.get(version=poor).against_run == champion.backtest_runs.get()


def test_a_retraining_as_of_a_day_sees_nothing_later(model: RegisteredModel, scope: Principal) -> None:
    day = LAST_DAY - timedelta(days=10)

    retrain(model, scope, as_of=day)

    assert {version.trained_through for version in versions(model)} == {day}
    assert {version.backtest_runs.get().window_end for version in versions(model)} == {day}


def test_a_champion_known_by_its_metadata_alone_stays_until_a_person_decides(model: RegisteredModel, scope: Principal) -> None:
    elsewhere = register_version(model=model, by=scope, at=NOON, metrics={"mae": 99.0})
    promote(version_id=elsewhere.pk, by=scope, at=NOON)

    run = retrain(model, scope)

    assert run.produced.status == "challenger"
    assert "of the champion is missing" in run.metadata["verdict"]
    assert [version.algorithm for version in versions(model)] == ["", "lightgbm"]


def test_a_champion_of_a_foreign_format_does_not_end_the_retraining(model: RegisteredModel, scope: Principal) -> None:
    stored = storage().put_bytes(f"models/foreign/{model.pk}/model.txt", b"tree\n")
    prepared = PreparedArtifact(model.pk, stored, ArtifactFacts("lightgbm", ".txt", "lightgbm", {}))
    foreign = register_version(model=model, by=scope, at=NOON, artifact=prepared)
    promote(version_id=foreign.pk, by=scope, at=NOON)

    run = retrain(model, scope)

    assert (run.status, run.produced.status) == ("completed", "challenger")


def test_a_corrupted_champion_ends_the_retraining_and_stays(model: RegisteredModel, scope: Principal, tmp_path: Path) -> None:
    retrain(model, scope)
    champion = versions(model)[1]
    corrupt(champion)
    give_data(model, tmp_path, scope, chain(last_day=LAST_DAY + timedelta(days=1)))

    run = retrain(model, scope)
    tell_about("jobs.failed")

    run.refresh_from_db()
    job = job_of(run)
    assert (job.state, job.attempt) == (JobState.FAILED, 1)
    assert f"{champion.artifact_sha256} was registered" in job.last_error
    assert (run.status, run.metadata["error"]) == ("failed", job.last_error)
    assert [message["error"] for message in news("registry.retrain_failed")] == [job.last_error]
    assert [version.status for version in versions(model)] == ["deprecated", "champion"]


def test_too_few_days_end_the_retraining_with_a_reason(scope: Principal, tmp_path: Path) -> None:
    model = make_chain_model(tmp_path, scope, frame=chain().filter(pl.col("date") > LAST_DAY - timedelta(days=40)))

    job = job_of(retrain(model, scope, as_of=LAST_DAY - timedelta(days=12)))

    assert (job.state, job.attempt) == (JobState.FAILED, 1)
    told = "The data or the recipe does not allow it: the data has 28 days, and a backtest over 28 leaves none to learn from"
    assert job.last_error.startswith(told)
    assert versions(model) == []


def test_a_day_before_the_data_ends_the_retraining_with_a_reason(model: RegisteredModel, scope: Principal) -> None:
    job = job_of(retrain(model, scope, as_of=date(2001, 1, 1)))

    assert (job.state, job.attempt) == (JobState.FAILED, 1)
    assert "no known value up to 2001-01-01" in job.last_error


def test_an_attempt_that_fails_while_registering_leaves_nothing(
    model: RegisteredModel, scope: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_: Any, **__: Any) -> None:
        raise RuntimeError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(training, "_conclude", break_down)
        run = retrain(model, scope)
    left = (job_of(run).state, [version.version for version in versions(model)], run.status, model.versions.get().status)
    attempt(run)

    kept = storage().list(f"models/{model.customer_id}/{model.name}")
    assert left == (JobState.QUEUED, ["v1"], "running", "champion")
    assert (run.status, [version.version for version in versions(model)]) == ("completed", ["v1", "v2"])
    assert sorted(kept) == sorted(version.artifact_path for version in versions(model))


def test_a_failed_retraining_leaves_no_file(model: RegisteredModel, scope: Principal, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(*_: Any, **__: Any) -> None:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(training, "_conclude", break_down)

    run = retrain(model, scope)
    attempt(run)
    attempt(run)
    tell_about("jobs.failed")

    run.refresh_from_db()
    assert run.status == "failed"
    assert "the disk is full" in run.metadata["error"]
    assert storage().list(f"models/{model.customer_id}/{model.name}") == [model.versions.get().artifact_path]


def test_an_attempt_that_was_given_up_writes_nothing(model: RegisteredModel, scope: Principal, monkeypatch: pytest.MonkeyPatch) -> None:
    run = retraining.request_retrain(model=model, trigger=Trigger.MANUAL, by=scope, at=NOON)
    real = training._measure_champion

    def taken_up_meanwhile(*given: Any) -> Any:
        job = job_of(run)
        job.attempt += 1
        job.save()
        return real(*given)

    monkeypatch.setattr(training, "_measure_champion", taken_up_meanwhile)
    attempt(run)

    assert [version.version for version in versions(model)] == ["v1"]
    with fenced(job_id=run.job_id, attempt=2):
        assert RetrainingRun.objects.get(pk=run.pk).status == "running"


def test_a_retraining_that_is_cancelled_while_it_judges_crowns_nobody(
    model: RegisteredModel, scope: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = retraining.request_retrain(model=model, trigger=Trigger.MANUAL, by=scope, at=NOON)
    real = training._prepare

    def cancelled_behind_it(attempt: Any, run: RetrainingRun, forecaster: Any) -> Any:
        prepared = real(attempt, run, forecaster)
        if forecaster.kind == "lightgbm":
            cancel(job=job_of(run), at=NOON, by=scope)
        return prepared

    monkeypatch.setattr(training, "_prepare", cancelled_behind_it)
    attempt(run)

    assert [(version.version, version.status) for version in versions(model)] == [("v1", "champion")]
    assert (job_of(run).state, job_of(run).result, news("jobs.cancelled")[0]["job_id"]) == (JobState.CANCELLED, {}, str(run.job_id))


def test_the_model_can_be_fed_by_another_data_set_once(model: RegisteredModel, scope: Principal, tmp_path: Path) -> None:
    other = make_chain_model(tmp_path, scope, name="other", frame=chain(days=280))

    run = retrain(model, scope, dataset=other.dataset)

    model.refresh_from_db()
    assert run.produced.dataset_version.dataset == other.dataset
    assert model.dataset.name == "demand.sales"


def test_a_drift_retraining_of_a_model_without_a_champion_still_asks(model: RegisteredModel, scope: Principal) -> None:
    retrain(model, system(model.customer_id), trigger=Trigger.DRIFT_DETECTED)

    assert [(version.version, version.status) for version in versions(model)] == [("v1", "champion"), ("v2", "challenger")]
