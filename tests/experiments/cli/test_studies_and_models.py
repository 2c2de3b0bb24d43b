"""`manage.py experiments` and `manage.py models`, and the whole way from rows to a served version, by API and by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rest_framework.test import APIClient

from experiments.models import Study, Trial
from mlops.audit.models import AuditEvent
from mlops.audit.services import verify
from mlops.jobs import runner
from mlops.jobs.models import Job, JobState
from mlops.tenancy.roles import Principal
from registry.models import DecisionRecord, ModelVersion
from tests.experiments.cli.shell import shell
from tests.experiments.training.splits import cut_in_process
from tests.experiments.training.studying import SMALL, make_ready_split, make_study, run_study, table
from tests.registry.factories import make_champion, make_model, make_version

pytestmark = pytest.mark.django_db
KIM = ("--as", "kim@example.com")
ROW = {"x1": 0.5, "x2": -1.0, "kind": "a"}
NAMES = ["Search", "--algorithm", "lightgbm", "--metric", "rmse", "--n-trials", 2, "--pruner", "none", "--search-space", json.dumps(SMALL)]
Api = Callable[..., APIClient]


@pytest.fixture(autouse=True)
def kim(principal: Callable[..., Principal]) -> Principal:
    return principal("admin", "kim@example.com")


def create(*arguments: Any) -> Any:
    return shell("experiments", "create", "--name", *NAMES, "--split-id", make_ready_split().pk, *arguments, *KIM)


def test_a_study_is_created_and_run_here(scope: Principal) -> None:
    ended = create("--here")

    study = Study.objects.get()
    assert (ended.code, study.status, study.finished_trials) == (0, "completed", 2)
    assert "Best trials" in ended.out
    assert study.version is not None
    assert study.version.created_by == "kim@example.com"


def test_a_study_that_waits_is_run_by_hand(scope: Principal) -> None:
    study_id = create("--json").json["id"]

    ran = shell("experiments", "run", study_id, "--json", *KIM)
    again = shell("experiments", "run", study_id, *KIM)

    assert (ran.code, ran.json["status"], ran.json["progress"]["finished"]) == (0, "completed", 2)
    assert (again.code, "completed" in again.err) == (1, True)


def test_options_of_columns_and_answers_are_written_as_json(scope: Principal) -> None:
    made = create("--postprocessing", '{"clip": true, "unit": "€"}', "--preprocessing", '{"most_categories": 9}', "--json")
    refused = create("--postprocessing", '{"threshold": 2}')
    no_json = create("--preprocessing", "{")

    assert (made.json["postprocessing"], made.json["preprocessing"]) == ({"clip": True, "unit": "€"}, {"most_categories": 9})
    assert (refused.code, no_json.code) == (2, 2)
    assert "postprocessing.threshold" in refused.err
    assert "--preprocessing" in no_json.err


def test_the_search_space_may_stand_in_a_file(scope: Principal, tmp_path: Path) -> None:
    path = tmp_path / "space.json"
    path.write_text(json.dumps({"n_estimators": 7}))
    given = ["--algorithm", "lightgbm", "--search-space", f"@{path}", "--split-id", make_ready_split().pk]

    made = shell("experiments", "create", "--name", "From a file", *given, "--json", *KIM)

    assert (made.code, made.json["search_space"]) == (0, {"n_estimators": 7})


def test_a_study_is_cancelled_listed_and_deleted(scope: Principal) -> None:
    study_id = create("--json").json["id"]

    early = shell("experiments", "delete", study_id, "--json", *KIM)
    cancelled = shell("experiments", "cancel", study_id, *KIM)
    again = shell("experiments", "cancel", study_id, *KIM)
    listed = shell("experiments", "list", "--status", "cancelled", "--json").json
    deleted = shell("experiments", "delete", study_id, "--delete-artifacts", *KIM)

    assert (early.code, early.error["code"]) == (1, "study_running")
    assert (cancelled.code, "is cancelled" in cancelled.out) == (0, True)
    assert (again.code, again.out) == (0, cancelled.out)
    assert [row["id"] for row in listed["results"]] == [study_id]
    assert (deleted.code, shell("experiments", "read", study_id).code) == (0, 3)
    assert not Trial.objects.exists()


def test_a_study_is_renamed_and_described(scope: Principal) -> None:
    study = make_study()

    renamed = shell("experiments", "update", study.pk, "--name", "Prices", "--description", "In June.", "--json", *KIM)
    nothing = shell("experiments", "update", study.pk, "--json", *KIM)
    empty = shell("experiments", "update", study.pk, "--name", "", "--json", *KIM)
    nobody = shell("experiments", "update", study.pk, "--name", "Mine", "--json")
    missing = shell("experiments", "update", study.split_id, "--name", "Mine", "--json", *KIM)

    assert (renamed.code, renamed.json["name"], renamed.json["description"]) == (0, "Prices", "In June.")
    assert [(one.code, one.error["errors"][0]["field"]) for one in (nothing, empty)] == [(2, "--name")] * 2
    assert (nobody.code, missing.code, Study.objects.get().name) == (2, 3, "Prices")
    assert AuditEvent.objects.filter(action="study.changed").count() == 1


def test_a_study_that_fails_ends_with_an_error(scope: Principal) -> None:
    constant = table(40, seed=1).with_columns(y=pl.lit(1.0))
    split = make_ready_split(train=constant, validation=constant, test=constant)

    ended = shell("experiments", "create", "--name", *NAMES, "--split-id", split.pk, "--here", "--json", *KIM)

    assert (ended.code, ended.error["code"]) == (1, "study_failed")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("--n-trials", 0), "--n-trials"),
        (("--metric", "beauty"), "metric"),
        (("--search-space", "{"), "--search-space"),
        (("--search-space", '{"depth": 99}'), "--search-space.depth"),
        (("--search-space", "@/no/such/file"), "--search-space"),
        (("--model-name", "Has Spaces"), "--model-name"),
        (("--proposal-id", "seven"), "--proposal-id"),
        (("--workers", 99), "--workers"),
    ],
)
def test_wrong_arguments_are_named_and_nothing_begins(scope: Principal, change: tuple[Any, ...], said: str) -> None:
    ended = create(*change)

    assert (ended.code, said in ended.err) == (2, True), ended.err
    assert (Study.objects.count(), Job.objects.count()) == (0, 0)


def test_versions_are_listed_read_and_named_by_label(scope: Principal) -> None:
    model = make_model("churn", task="regression")
    champion, candidate = make_champion(model), make_version(model, metrics={"rmse": 1.5})
    study = make_study(model=model, version=candidate)

    def listed(*arguments: Any) -> list[str]:
        return [row["id"] for row in shell("models", "list", *arguments, "--json").json["results"]]

    assert listed("--stage", "production") == [str(champion.pk)]
    assert listed("--experiment-id", study.pk) == listed("--status", "candidate", "--name", "churn") == [str(candidate.pk)]
    assert shell("models", "read", "churn:v2", "--json").json["id"] == str(candidate.pk)
    assert "1.5" in shell("models", "read", candidate.pk).out


@pytest.mark.parametrize("reference", ["churn:v9", "nobody:v1", "churn", "00000000-0000-4000-8000-000000000000", ":", "a\udc80:v1"])
def test_what_names_no_version_is_not_found(scope: Principal, reference: str) -> None:
    make_version(make_model("churn"))

    assert shell("models", "read", reference).code == 3


def test_four_eyes_bind_at_the_shell_too(scope: Principal) -> None:
    version = make_version(make_model("churn", policy={"four_eyes": True}))

    ended = shell("models", "promote", "churn:v1", "--reason", "Better.", "--json", *KIM)

    version.refresh_from_db()
    assert (ended.code, ended.json["outcome"], version.status) == (0, "pending", "candidate")


def test_archiving_without_a_reason_says_so_in_the_record_as_the_api_does(scope: Principal) -> None:
    make_version(make_model("churn"))

    archived = shell("models", "archive", "churn:v1", "--json", *KIM)

    assert (archived.code, archived.json["status"]) == (0, "archived")
    assert DecisionRecord.objects.get().rationale == "No reason was given."


def test_archiving_is_decided_with_a_reason_and_deleting_by_an_administrator(scope: Principal, manager: Principal) -> None:
    make_version(make_model("churn"))

    archived = shell("models", "archive", "churn:v1", "--reason", "Worse.", *KIM)
    refused = shell("models", "delete", "churn:v1", "--as", manager.name)
    deleted = shell("models", "delete", "churn:v1", "--reason", "A mistake.", "--delete-artifacts", "--json", *KIM)

    assert (archived.code, refused.code, deleted.code) == (0, 4, 0)
    assert DecisionRecord.objects.get().rationale == "Worse."
    assert shell("models", "read", "churn:v1").code == 3
    assert AuditEvent.objects.get(action="version.deleted").reason == "A mistake."


def test_the_whole_way_by_hand(scope: Principal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, api: Api) -> None:
    cut_in_process(monkeypatch)
    (tmp_path / "rows.csv").write_text(table(120, seed=3).write_csv())
    plan = ["--name", "rows", "--target", "y", "--task", "regression"]

    split = shell("splits", "create", *plan, "--file", tmp_path / "rows.csv", "--here", "--json", *KIM).json
    study = shell("experiments", "create", "--name", *NAMES, "--split-id", split["id"], "--here", "--json", *KIM).json
    (candidate,) = shell("models", "list", "--experiment-id", study["id"], "--json").json["results"]
    promoted = shell("models", "promote", candidate["id"], "--reason", "The first.", "--json", *KIM).json

    assert (promoted["outcome"], promoted["status"]) == ("promoted", "champion")
    answered_by_stage(api(), candidate["id"], "search")
    version = ModelVersion.objects.get()
    assert (version.lineage["split"], version.lineage["study"]) == (split["id"], study["id"])
    assert verify().intact
    assert {"kim@example.com"} == set(AuditEvent.objects.exclude(actor_kind="system").values_list("actor", flat=True))


def test_the_whole_way_by_api(scope: Principal, monkeypatch: pytest.MonkeyPatch, api: Api) -> None:
    cut_in_process(monkeypatch)
    client, records = api("ml_manager"), table(120, seed=3).to_dicts()
    asked = {"name": "Search", "algorithm": "lightgbm", "metric": "rmse", "n_trials": 2, "pruner": "none", "search_space": SMALL}

    split = client.post("/v1/splits", {"name": "rows", "target": "y", "task": "regression", "records": records}).json()
    pending = client.post("/v1/experiments", {**asked, "split_id": split["id"]}).json()
    study = run_study(Study.objects.get(pk=pending["id"]))
    (candidate,) = client.get(f"/v1/models?experiment_id={study.pk}&stage=staging").json()["results"]
    early = client.post("/v1/predict", {"model_id": candidate["id"], "instances": [ROW]}).json()
    promoted = client.post(f"/v1/models/{candidate['id']}/promote", {"stage": "production"}).json()

    assert (early["stage"], promoted["stage"]) == ("staging", "production")
    assert answered_by_stage(client, candidate["id"], "search") == early["predictions"]
    refused = client.post(f"/v1/models/{candidate['id']}/archive", {"reason": "On a whim."})
    assert (refused.status_code, refused.json()["code"]) == (409, "illegal_transition")
    assert verify().intact


def answered_by_stage(client: APIClient, version_id: str, name: str) -> Any:
    """The champion predicts, and its explanation adds up to what it predicted."""
    selector = {"model_name": name, "stage": "production", "instances": [ROW]}
    predicted, explained = client.post("/v1/predict", selector).json(), client.post("/v1/importance", selector).json()

    assert predicted["model_id"] == explained["model_id"] == version_id
    assert {one["feature"] for one in explained["importances"]} == {"x1", "x2", "kind"}
    (local,) = explained["explanations"]
    assert local["base_value"] + sum(local["values"].values()) == pytest.approx(predicted["predictions"][0], rel=1e-9)
    return predicted["predictions"]


def test_work_of_a_worker_is_waited_for(scope: Principal, monkeypatch: pytest.MonkeyPatch) -> None:
    def worker(_: float) -> None:
        for job in Job.objects.filter(state=JobState.QUEUED):
            runner.run(job_id=job.pk, attempts=job.attempt)

    monkeypatch.setattr("experiments.cli.following.time.sleep", worker)

    ended = create("--wait", "--json")

    assert (ended.code, ended.json["status"]) == (0, "completed")
