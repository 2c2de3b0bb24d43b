"""A chosen trial becomes a candidate beside the best one: once, by whoever may run studies, with its study and number in the lineage."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from experiments.models import Study, Trial
from experiments.services import predicting, refitting, studies
from experiments.services.model_store import ModelStore
from experiments.services.predicting import Selector, predict
from experiments.services.splitting import SplitInUse, delete_split
from experiments.services.study_rows import KEPT, StudyRunning
from experiments.services.trial_registration import REGISTER_JOB, register_trial
from mlops.artifacts.storage import storage
from mlops.audit.models import AuditEvent
from mlops.jobs import runner
from mlops.jobs import services as jobs
from mlops.jobs.models import Job, JobState
from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Principal, system
from registry.models import ModelVersion, RegisteredModel
from registry.services.judging import deliberate
from registry.services.promotion import promote
from registry.services.registration import register_version
from tests.conftest import NOON
from tests.experiments.cli.shell import shell
from tests.experiments.training.studying import ask_for_study, believe_own_artifacts, make_study, run_study, trials_of
from tests.mlops.helpers import in_threads

pytestmark = pytest.mark.django_db
PATH = "/v1/experiments"
Api = Callable[..., APIClient]


@pytest.fixture(autouse=True)
def _quick_artifacts(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    believe_own_artifacts(monkeypatch)


@pytest.fixture
def study(scope: Principal) -> Study:
    """A study that has completed, with a version of its best trial."""
    return run_study(ask_for_study(scope, n_trials=3))


def other_than_best(study: Study) -> Trial:
    return next(trial for trial in trials_of(study) if trial.number != study.best_number)


def run(job_id: Any) -> Job:
    job = Job.objects.get(pk=job_id)
    runner.run(job_id=job.pk, attempts=job.attempt)
    job.refresh_from_db()
    return job


def address(study: Study, number: int) -> str:
    return f"{PATH}/{study.pk}/trials/{number}/register"


def test_a_chosen_trial_becomes_a_candidate_with_its_own_numbers(api: Api, study: Study) -> None:
    client, trial = api("data_scientist"), other_than_best(study)

    asked = client.post(address(study, trial.number))
    again = client.post(address(study, trial.number)).json()
    job = run(asked.json()["job_id"])
    found = client.post(address(study, trial.number))
    version = ModelVersion.objects.get(pk=job.result["version_id"])

    assert (asked.status_code, asked.json()["trial"], asked.json()["version_id"]) == (202, trial.number, None)
    assert (asked.headers["Location"], again) == (f"/api/v1/jobs/{job.pk}", asked.json())
    assert (job.state, found.status_code, found.headers["Location"]) == (JobState.SUCCEEDED, 200, f"/v1/models/{version.pk}")
    assert (found.json()["version_id"], found.json()["version"], found.json()["job_id"]) == (str(version.pk), "v2", None)
    assert (version.status, version.lineage["study"], version.lineage["trial"]) == ("candidate", str(study.pk), trial.number)
    assert version.hyperparameters["learning_rate"] == trial.params["learning_rate"]
    assert version.metrics["rmse"] == pytest.approx(trial.value), "the same fit gives the same model"
    assert "test_rmse" in version.metrics
    assert Study.objects.get(pk=study.pk).version_id == study.version_id != version.pk


@pytest.fixture
def registered(scope: Principal, study: Study) -> ModelVersion:
    """The version that somebody asked for, of another trial than the best."""
    job = run(register_trial(study_id=study.pk, number=other_than_best(study).number, by=scope, at=NOON).job_id)
    return ModelVersion.objects.get(pk=job.result["version_id"])


def test_it_is_listed_with_its_study_beside_the_best(api: Api, study: Study, registered: ModelVersion) -> None:
    both, client = {str(study.version_id), str(registered.pk)}, api("viewer")

    listed = client.get(f"/v1/models?experiment_id={study.pk}").json()["results"]
    at_the_shell = shell("models", "list", "--experiment-id", study.pk, "--json").json["results"]

    assert {row["id"] for row in listed} == {row["id"] for row in at_the_shell} == both
    assert {row["experiment_id"] for row in listed} == {str(study.pk)}
    assert client.get(f"/v1/models/{registered.pk}").json()["experiment_id"] == str(study.pk)


def test_it_answers_in_this_process(scope: Principal, registered: ModelVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = ModelStore(lambda: 1 << 30)
    monkeypatch.setattr(predicting, "MODELS", kept)

    predict(selector=Selector(model_id=registered.pk), instances=[{"x1": 0.5, "x2": -1.0, "kind": "a"}], by=scope)

    assert len(kept) == 1


@pytest.mark.parametrize("side", ["candidate", "champion"])
def test_the_arena_measures_it_on_the_rows_of_its_split(scope: Principal, study: Study, registered: ModelVersion, side: str) -> None:
    assert study.version is not None
    champion, candidate = (study.version, registered) if side == "candidate" else (registered, study.version)
    promote(version_id=champion.pk, by=scope, at=NOON, reason="First.")

    improvement = deliberate(candidate).judgement.gates[0]

    measured = [candidate.metrics["test_mae"], champion.metrics["test_mae"]]
    assert [improvement.candidate, improvement.champion] == pytest.approx(measured)


def test_one_that_only_says_it_came_from_a_study_is_not_believed(api: Api, scope: Principal, study: Study) -> None:
    model = RegisteredModel.objects.get(pk=study.model_id)
    lineage = {"study_id": str(study.pk), "trial": 1}

    claimed = register_version(model=model, by=scope, at=NOON, metrics={"rmse": 0.1}, lineage=lineage)

    assert api("viewer").get(f"/v1/models/{claimed.pk}").json()["experiment_id"] is None


def test_the_best_trial_has_its_version_already(api: Api, study: Study) -> None:
    assert study.best_number is not None

    found = api("data_scientist").post(address(study, study.best_number))
    listed = api("viewer").get(f"{PATH}/{study.pk}/trials").json()["results"]

    assert (found.status_code, found.json()["version_id"]) == (200, str(study.version_id))
    assert [one["version"] for one in listed] == ["v1" if one["number"] == study.best_number else None for one in listed]
    assert not Job.objects.filter(kind=REGISTER_JOB).exists()


def test_a_trial_whose_version_was_deleted_can_be_registered_again(scope: Principal, study: Study) -> None:
    trial = other_than_best(study)
    run(register_trial(study_id=study.pk, number=trial.number, by=scope, at=NOON).job_id)
    ModelVersion.objects.filter(version="v2").update(deleted_at=NOON)

    again = register_trial(study_id=study.pk, number=trial.number, by=scope, at=NOON)
    run(again.job_id)

    assert register_trial(study_id=study.pk, number=trial.number, by=scope, at=NOON).version == ModelVersion.objects.get(version="v3")


def test_trials_of_a_cancelled_study_can_be_registered(scope: Principal, study: Study) -> None:
    ended = make_study(split=study.split, status="cancelled", metric="rmse", search_space=study.search_space)
    Trial.objects.create(study=ended, number=0, state="complete", value=1.0, params={"learning_rate": 0.2})

    job = run(register_trial(study_id=ended.pk, number=0, by=scope, at=NOON).job_id)

    assert (job.state, ModelVersion.objects.get(pk=job.result["version_id"]).lineage["study"]) == ("succeeded", str(ended.pk))


@pytest.mark.parametrize(
    ("study_status", "trial", "status", "code"),
    [
        ("running", {"state": "complete", "value": 1.0}, 409, "study_running"),
        ("completed", {"state": "pruned", "value": 1.0}, 409, "trial_not_complete"),
        ("completed", {"state": "fail"}, 409, "trial_not_complete"),
        ("completed", {"number": 1, "state": "complete", "value": 1.0}, 404, "not_found"),
    ],
)
def test_what_cannot_be_registered_says_why(
    api: Api, scope: Principal, study_status: str, trial: dict[str, Any], status: int, code: str
) -> None:
    ended = make_study(status=study_status)
    Trial.objects.create(study=ended, **{"number": 0} | trial)

    refused = api("data_scientist").post(address(ended, 0))
    odd = api("data_scientist").post(address(ended, 0), {"number": 3})

    assert (refused.status_code, refused.json()["code"]) == (status, code)
    assert (odd.status_code, odd.json()["errors"][0]["field"]) == (400, "number")


def test_it_needs_the_role_that_runs_studies_and_the_own_customer(
    api: Api, study: Study, scope: Principal, other_customer: Customer
) -> None:
    number = other_than_best(study).number
    with acting(system(other_customer.pk)), transaction.atomic():
        theirs = make_study(status="completed")
        Trial.objects.create(study=theirs, number=0, state="complete", value=1.0)

    assert api("viewer").post(address(study, number)).status_code == 403
    assert api("admin").post(address(theirs, 0)).status_code == 404
    assert not Job.objects.filter(kind=REGISTER_JOB).exists()


def test_whoever_asked_counts_as_the_trainer_and_stands_in_the_trail(api: Api, study: Study) -> None:
    client = api("data_scientist", email="kim@example.com")

    run(client.post(address(study, other_than_best(study).number)).json()["job_id"])

    event = AuditEvent.objects.get(action="study.registration_requested")
    assert (event.after["trial"], event.object_id) == (other_than_best(study).number, str(study.pk))
    assert ModelVersion.objects.get(version="v2").created_by == AuditEvent.objects.get(action="study.registration_requested").actor


def test_a_killed_attempt_leaves_no_file_behind(scope: Principal, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = other_than_best(study)
    asked = register_trial(study_id=study.pk, number=trial.number, by=scope, at=NOON)
    real = refitting.register_version

    def die(**_: Any) -> ModelVersion:
        raise OSError("killed")

    monkeypatch.setattr(refitting, "register_version", die)
    run(asked.job_id)
    (left,) = Trial.objects.get(pk=trial.pk).system_attrs[KEPT]
    monkeypatch.setattr(refitting, "register_version", real)
    Job.objects.filter(pk=asked.job_id).update(state=JobState.QUEUED)
    job = run(asked.job_id)

    (kept,) = Trial.objects.get(pk=trial.pk).system_attrs[KEPT]
    files = storage().list(f"models/{study.customer_id}")
    assert (job.state, left in files, kept in files) == ("succeeded", False, True)


def test_what_a_version_came_from_stays(scope: Principal, principal: Callable[..., Principal], study: Study) -> None:
    admin, trial = principal("admin"), other_than_best(study)
    asked = register_trial(study_id=study.pk, number=trial.number, by=scope, at=NOON)

    with pytest.raises(StudyRunning):
        studies.delete_study(study_id=study.pk, by=admin, at=NOON)
    run(asked.job_id)
    studies.delete_study(study_id=study.pk, by=admin, at=NOON, delete_artifacts=True)
    Study.objects.filter(pk=study.pk).update(version=None)

    assert {one.number for one in trials_of(study)} == {trial.number, study.best_number}
    with pytest.raises(SplitInUse):
        delete_split(split_id=study.split_id, by=admin, at=NOON, delete_artifacts=True)  # type: ignore[arg-type]  # it has one


def test_a_job_that_is_cancelled_makes_nothing_and_can_be_asked_for_again(scope: Principal, study: Study) -> None:
    number = other_than_best(study).number
    first = register_trial(study_id=study.pk, number=number, by=scope, at=NOON)
    jobs.cancel(job=Job.objects.get(pk=first.job_id), at=NOON, by=scope)

    second = register_trial(study_id=study.pk, number=number, by=scope, at=NOON)

    assert second.job_id not in (None, first.job_id)
    assert ModelVersion.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_who_ask_at_once_get_one_job_and_one_version(scope: Principal) -> None:
    with transaction.atomic():
        ended = make_study(status="completed")
        Trial.objects.create(study=ended, number=0, state="complete", value=1.0)
    found: list[Any] = []

    def ask(_: int) -> None:
        with acting(scope):
            found.append(register_trial(study_id=ended.pk, number=0, by=scope, at=NOON).job_id)

    raised = in_threads(4, ask)

    with transaction.atomic():
        assert (raised, len(found), len(set(found))) == ([], 4, 1)
        assert Job.objects.filter(kind=REGISTER_JOB).count() == 1
        assert AuditEvent.objects.filter(action="study.registration_requested").count() == 1
    assert connection.in_atomic_block is False


def test_the_command_makes_the_version_here(principal: Callable[..., Principal], study: Study) -> None:
    kim = ("--as", principal("data_scientist", "kim@example.com").name)
    number = other_than_best(study).number

    asked = shell("experiments", "register", study.pk, "--trial", number, "--json", *kim)
    made = shell("experiments", "register", study.pk, "--trial", number, "--here", *kim)
    missing = shell("experiments", "register", study.pk, "--trial", 77, "--json", *kim)
    wrong = shell("experiments", "register", study.pk, "--trial", -1, *kim)

    assert (asked.code, asked.json["version"], asked.json["trial"]) == (0, None, number)
    assert (made.code, made.out.strip()) == (0, f"{study.name} #{number} is v2 of churn-search.")
    assert (missing.code, missing.error["code"], wrong.code) == (3, "not_found", 2)
    assert ModelVersion.objects.get(version="v2").created_by == "kim@example.com"


def test_the_page_of_a_study_leads_to_it(site: Callable[..., Client], study: Study) -> None:
    client, number = site("data_scientist"), other_than_best(study).number
    here = reverse("admin:experiments_study", args=[study.pk])
    ask = reverse("admin:experiments_trial_register", args=[study.pk, number])

    before, question = client.get(here).text, client.get(ask).text
    asked = client.post(ask)
    meanwhile = client.get(here).text
    run(Job.objects.get(kind=REGISTER_JOB).pk)
    after, again = client.get(here).text, client.get(ask, follow=True).text

    assert "v2 was made of trial" in again
    assert (ask in before, "becomes a candidate of churn-search" in question) == (True, True)
    assert (asked.status_code, asked.headers["Location"], "being made" in meanwhile) == (302, here, True)
    assert ("?version=v2" in after, ask in after) == (True, False)
    assert client.get(reverse("admin:experiments_trial_register", args=[study.pk, 10**12])).status_code == 404


def test_a_viewer_is_shown_no_button(site: Callable[..., Client], study: Study) -> None:
    client = site("viewer")
    ask = reverse("admin:experiments_trial_register", args=[study.pk, other_than_best(study).number])

    assert ask not in client.get(reverse("admin:experiments_study", args=[study.pk])).text
    assert (client.get(ask).status_code, client.post(ask).status_code) == (403, 403)
