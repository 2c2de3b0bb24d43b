"""The arena for models of tables: studies made both sides, and both answer the same rows."""

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from mlops.jobs import runner
from mlops.jobs.models import Job
from mlops.tenancy.roles import Principal
from registry.models import ModelVersion, RegisteredModel, Verdict
from registry.services import promotion
from registry.services.judging import deliberate
from registry.services.registration import register_version
from tests.conftest import NOON
from tests.experiments.training.studying import ROWS, ask_for_study, believe_own_artifacts, make_ready_split, run_study, table

pytestmark = pytest.mark.django_db
Api = Callable[..., APIClient]
WEAK = {"n_estimators": 1, "min_child_samples": 5, "learning_rate": 0.05}
STRONG = {"n_estimators": 80, "min_child_samples": 5, "learning_rate": 0.1}


@pytest.fixture(autouse=True)
def _quick_artifacts(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    believe_own_artifacts(monkeypatch)


def rows(task: str = "regression", **changes: Any) -> dict[str, pl.DataFrame]:
    """Parts with a test part that is large enough to tell groups in."""
    test = table(600, seed=9, task=task).with_columns(**changes)
    return {**{name: table(ROWS[name], seed=place, task=task) for place, name in enumerate(("train", "validation"))}, "test": test}


def learnt(by: Principal, space: dict[str, Any], *, task: str = "regression", **values: Any) -> ModelVersion:
    """The version that a study of one trial makes under the model `churn`."""
    given: dict[str, Any] = {"name": "Churn", "model_name": "churn", "n_trials": 1, "search_space": space} | values
    if "split_id" not in given:
        given["split_id"] = make_ready_split(task, **rows(task)).pk
    given["metric"] = "rmse" if task == "regression" else "log_loss"
    version = run_study(ask_for_study(by, **given)).version
    assert version is not None
    return version


def crowned(version: ModelVersion, by: Principal) -> ModelVersion:
    return promotion.promote(version_id=version.pk, by=by, at=NOON, reason="First.").version


def gates_of(verdict: Verdict) -> dict[str, bool]:
    return {gate["name"]: gate["passed"] for gate in verdict.gates}


@pytest.mark.parametrize(
    ("task", "gates"),
    [
        ("regression", {"improvement", "rmse", "segments", "significance"}),
        ("classification", {"improvement", "roc_auc", "f1", "accuracy", "segments", "significance"}),
    ],
)
def test_a_better_model_passes_all_gates_on_the_rows_of_the_test_part(api: Api, scope: Principal, task: str, gates: set[str]) -> None:
    split = make_ready_split(task, **rows(task))
    crowned(learnt(scope, WEAK, task=task, split_id=split.pk), scope)
    better = learnt(scope, STRONG, task=task, split_id=split.pk)

    asked = api("data_scientist").post(f"/api/v1/models/churn/versions/{better.version}/judge")
    runner.run(job_id=Job.objects.get(kind="judge_version").pk, attempts=0)

    verdict = Verdict.objects.get()
    shown = api("viewer").get(f"/api/v1/models/churn/versions/{better.version}").json()["verdict"]
    assert asked.status_code == 202
    assert gates_of(verdict) == dict.fromkeys(gates, True)
    assert (shown["passed"], shown["against"]) == (True, "v1")
    key = "mae" if task == "regression" else "log_loss"
    improvement = next(gate for gate in verdict.gates if gate["name"] == "improvement")
    assert improvement["candidate"] == pytest.approx(better.metrics[f"test_{key}"])


def test_a_worse_model_fails_and_may_only_be_promoted_past_its_gates(scope: Principal) -> None:
    split = make_ready_split(**rows())
    crowned(learnt(scope, STRONG, split_id=split.pk), scope)
    RegisteredModel.objects.filter(name="churn").update(policy={"enforce_gates": True})
    worse = learnt(scope, WEAK, split_id=split.pk)

    found = deliberate(worse).judgement

    assert not found.passed
    assert {gate.name for gate in found.gates if not gate.passed} == {"improvement", "rmse", "segments"}
    assert "worse in 3 of 3 segments: a (" in found.summary.lower()
    with pytest.raises(promotion.GatesFailed):
        promotion.promote(version_id=worse.pk, by=scope, at=NOON)


def test_both_answer_the_rows_of_the_candidates_split(scope: Principal) -> None:
    first = learnt(scope, STRONG)
    crowned(first, scope)
    other = make_ready_split(**rows(y=pl.col("y") + 1000.0))
    second = learnt(scope, STRONG, split_id=other.pk)

    found = {gate.name: gate for gate in deliberate(second).judgement.gates}

    assert found["improvement"].champion == pytest.approx(second.metrics["test_mae"], rel=0.01)
    assert found["improvement"].champion > 100 * first.metrics["test_mae"]


@pytest.mark.parametrize("side", ["candidate", "champion"])
def test_what_cannot_answer_the_rows_fails_the_gates_closed(scope: Principal, side: str) -> None:
    known = learnt(scope, STRONG)
    foreign = register_version(model=known.model, by=scope, at=NOON, metrics={"mae": 0.001})
    champion, candidate = (known, foreign) if side == "candidate" else (foreign, known)
    crowned(champion, scope)

    found = deliberate(candidate).judgement

    assert not any(gate.passed for gate in found.gates)
    assert "cannot be compared" in found.summary


def test_rows_that_a_champion_does_not_understand_are_no_evidence(scope: Principal) -> None:
    split = make_ready_split("classification", **rows("classification"))
    crowned(learnt(scope, STRONG, task="classification", split_id=split.pk), scope)
    renamed = {
        name: frame.with_columns(y=pl.col("y").replace({"yes": "ja", "no": "nein"})) for name, frame in rows("classification").items()
    }
    other = make_ready_split("classification", **renamed)

    found = deliberate(learnt(scope, STRONG, task="classification", split_id=other.pk)).judgement

    assert not found.passed
    assert "cannot be compared" in found.summary


def test_the_page_shows_a_models_test_metrics_and_offers_what_makes_sense(site: Callable[..., Client], scope: Principal) -> None:
    split = make_ready_split(**rows())
    crowned(learnt(scope, WEAK, split_id=split.pk), scope)
    better = learnt(scope, STRONG, split_id=split.pk)
    client = site("ml_manager", "kim@example.com")
    address = reverse("admin:registry_model_page", args=[better.model_id])
    before = client.get(address).text

    runner.run(job_id=ask_to_judge(client, better).pk, attempts=0)
    after = client.get(address).text

    assert "R²" in before
    assert f"test part of {better.version}" in before
    assert reverse("admin:experiments_retrain", args=[better.model_id]) not in before
    assert "4 of 4 passed" in after
    assert "better than v1 by MAE; all 4 gates passed." in after


def ask_to_judge(client: Client, version: ModelVersion) -> Job:
    url = reverse("admin:registry_decide", args=[version.pk, "judge"])
    revision = RegisteredModel.objects.values_list("revision", flat=True).get(pk=version.model_id)
    assert client.post(url, {"revision": revision, "reason": "Is it better?"}).status_code == 302
    return Job.objects.get(kind="judge_version")
