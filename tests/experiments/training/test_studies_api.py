"""`/v1/experiments`: studies by API."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from experiments.models import Study, Trial
from experiments.services.study_rows import KEPT
from mlops.artifacts.storage import storage
from mlops.audit.models import AuditEvent
from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Principal, system
from tests.experiments.training.studying import (
    SMALL,
    ask_for_study,
    believe_own_artifacts,
    make_ready_split,
    make_split,
    make_study,
    run_study,
)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _quick_artifacts(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    believe_own_artifacts(monkeypatch)


PATH = "/v1/experiments"
Api = Callable[..., APIClient]


@pytest.fixture
def split_id(scope: Principal) -> str:
    return str(make_ready_split().pk)


def body(split_id: str, **changes: Any) -> dict[str, Any]:
    given = {"name": "Churn search", "split_id": split_id, "algorithm": "lightgbm", "n_trials": 3, "search_space": SMALL}
    return {name: value for name, value in (given | changes).items() if value is not None}


def test_a_study_is_created_run_and_read(api: Api, split_id: str) -> None:
    client = api("data_scientist")

    created = client.post(PATH, body(split_id, metric="mae", task="regression"), format="json")
    pending = created.json()
    run_study(Study.objects.get(pk=pending["id"]))
    found = client.get(f"{PATH}/{pending['id']}").json()

    assert (created.status_code, created.headers["Location"]) == (202, f"{PATH}/{pending['id']}")
    assert (pending["status"], pending["model_name"], pending["version"]) == ("pending", "churn-search", None)
    assert pending["progress"] == {"finished": 0, "total": 3, "best_value": None, "eta_s": None}
    assert (found["status"], found["version"], found["progress"]["finished"]) == ("completed", "v1", 3)
    assert found["best_trial"]["value"] == found["progress"]["best_value"]
    assert set(found["best_trial"]["params"]) == {"learning_rate"}


def test_what_becomes_of_answers_is_asked_for_kept_and_comes_with_them(api: Api, split_id: str) -> None:
    client = api("data_scientist")
    wanted = {"low": 0, "factor": 0.001, "decimals": 3, "unit": "thousand €"}

    created = client.post(PATH, body(split_id, postprocessing=wanted, preprocessing={"min_category_rows": 50}), format="json")
    study = run_study(Study.objects.get(pk=created.json()["id"]))
    found = client.get(f"{PATH}/{study.pk}").json()
    asked = {"experiment_id": str(study.pk), "instances": [{"x1": -9, "x2": 0, "kind": "a"}, {"x1": 1, "x2": 0, "kind": "a"}]}
    answer = client.post("/v1/predict", asked, format="json").json()

    assert (created.status_code, found["postprocessing"], found["preprocessing"]) == (202, wanted, {"min_category_rows": 50})
    assert study.version is not None
    assert study.version.lineage["postprocessing"] == wanted
    assert study.version.lineage["postprocessor"] == {**wanted, "high": None}
    assert study.version.lineage["preprocessing"] == {"min_category_rows": 50}
    assert answer["unit"] == "thousand €"
    assert answer["predictions"][0] == 0
    assert 0 < answer["predictions"][1] == round(answer["predictions"][1], 3) < 0.1
    assert min(trial.metrics["rmse"] for trial in Trial.objects.filter(study=study)) > 0.5, "clipped in trials too, as the targets are not"


def test_a_threshold_is_found_and_kept(api: Api, scope: Principal) -> None:
    split = make_ready_split(task="classification")

    created = api("data_scientist").post(PATH, body(str(split.pk), postprocessing={"threshold": "f1"}, metric="f1"), format="json")
    study = run_study(Study.objects.get(pk=created.json()["id"]))

    assert study.version is not None
    assert study.version.lineage["postprocessing"] == {"threshold": "f1"}
    assert 0 < study.version.lineage["postprocessor"]["threshold"] < 1
    assert (
        "unit"
        not in api("viewer")
        .post("/v1/predict", {"experiment_id": str(study.pk), "instances": [{"x1": 1, "x2": 0, "kind": "a"}]}, format="json")
        .json()
    )


def test_a_threshold_for_more_than_two_classes_is_refused(api: Api, scope: Principal) -> None:
    split = make_ready_split(task="classification")
    split.profile = [{"name": "y", "role": "target", "distinct": 5}]
    split.save()

    refused = api("data_scientist").post(PATH, body(str(split.pk), postprocessing={"threshold": 0.3}), format="json")

    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "postprocessing.threshold")
    assert "has 5" in refused.json()["errors"][0]["message"]


def test_what_is_for_two_classes_alone_is_refused_for_more(api: Api, scope: Principal) -> None:
    split = make_ready_split(task="classification")
    split.profile = [{"name": "y", "role": "target", "distinct": 3}]
    split.save()
    space = {"depth": {"type": "int", "low": 2, "high": 3}, "subsample": 0.5}

    refused = api("data_scientist").post(PATH, body(str(split.pk), algorithm="catboost", search_space=space), format="json")
    space["bootstrap_type"] = "MVS"
    created = api("data_scientist").post(PATH, body(str(split.pk), algorithm="catboost", search_space=space), format="json")

    assert (refused.status_code, refused.json()["errors"][0]["field"], created.status_code) == (400, "search_space.subsample", 202)


@pytest.mark.parametrize(
    ("asked", "trials"),
    [
        ({"search_space": {"num_leaves": 8}, "n_trials": None}, 1),
        ({"search_space": {"num_leaves": {"type": "categorical", "choices": [8]}}, "n_trials": 1}, 1),
        ({"sampler": "grid", "search_space": {"num_leaves": {"type": "int", "low": 2, "high": 2002}}, "n_trials": 50}, 50),
        ({"sampler": "grid", "search_space": {"num_leaves": {"type": "int", "low": 2, "high": 2001}}, "n_trials": None}, 2000),
    ],
)
def test_there_are_as_many_trials_as_there_is_something_to_try(api: Api, split_id: str, asked: dict[str, Any], trials: int) -> None:
    created = api("data_scientist").post(PATH, body(split_id, **asked), format="json")

    assert (created.status_code, created.json()["n_trials"]) == (202, trials)


@pytest.mark.parametrize(("kind", "searched"), [("random_forest", "max_features"), ("linear", "alpha")])
def test_a_kind_alone_is_searched_in_its_default_space(api: Api, split_id: str, kind: str, searched: str) -> None:
    created = api("data_scientist").post(PATH, body(split_id, algorithm="sklearn", search_space={"kind": kind}), format="json").json()

    assert created["search_space"]["kind"] == kind
    assert created["search_space"][searched]["low"] < created["search_space"][searched]["high"]
    assert created["n_trials"] == 3


def test_a_table_that_would_overfill_a_worker_is_refused_with_the_numbers(api: Api, split_id: str, settings: Any) -> None:
    settings.TRAINING_MEMORY_BYTES = 160 * 3 * 4 * 8 - 1

    refused = api("data_scientist").post(PATH, body(split_id), format="json")
    (error,) = refused.json()["errors"]
    settings.TRAINING_MEMORY_BYTES += 1
    created = api("data_scientist").post(PATH, body(split_id), format="json")

    assert (refused.status_code, error["field"], created.status_code) == (400, "split_id", 202)
    for number in ("160 rows", "3 features", "15,360 bytes with lightgbm", "15,359"):
        assert number in error["message"]


def test_a_test_part_that_would_overfill_a_worker_is_refused_too(api: Api, scope: Principal, settings: Any) -> None:
    split = make_ready_split()
    split.parts["test"]["rows"] = 200
    split.save()
    settings.TRAINING_MEMORY_BYTES = 160 * 3 * 4 * 8

    refused = api("data_scientist").post(PATH, body(str(split.pk)), format="json")

    assert refused.status_code == 400
    assert "200 rows of test" in refused.json()["errors"][0]["message"]


def test_trials_are_paged_filtered_and_ordered(api: Api, scope: Principal) -> None:
    study = run_study(ask_for_study(scope, n_trials=3))
    client = api("viewer")

    by_value = client.get(f"{PATH}/{study.pk}/trials?ordering=value&state=complete&page_size=2").json()
    wrong = client.get(f"{PATH}/{study.pk}/trials?ordering=params")

    values = [trial["value"] for trial in by_value["results"]]
    assert (by_value["count"], len(values), values) == (3, 2, sorted(values))
    assert by_value["results"][0]["number"] == study.best_number
    assert wrong.status_code == 400


@pytest.mark.parametrize(("ordering", "numbers"), [("value", [2, 0, 1]), ("-value", [0, 2, 1]), ("number", [0, 1, 2])])
def test_trials_without_a_value_come_last(api: Api, scope: Principal, ordering: str, numbers: list[int]) -> None:
    study = make_study()
    for number, value in enumerate((0.5, None, 0.1)):
        Trial.objects.create(study=study, number=number, state="complete" if value else "fail", value=value)

    found = api("viewer").get(f"{PATH}/{study.pk}/trials?ordering={ordering}").json()

    assert [trial["number"] for trial in found["results"]] == numbers


@pytest.mark.parametrize(
    ("change", "field", "said"),
    [
        ({"name": ""}, "name", "blank"),
        ({"name": "x" * 201}, "name", "200"),
        ({"split_id": "00000000-0000-4000-8000-000000000000"}, "split_id", "no such split"),
        ({"split_id": "seven"}, "split_id", "UUID"),
        ({"split_id": None}, "split_id", "Required"),
        ({"algorithm": "prophet"}, "algorithm", "catboost"),
        ({"task": "classification"}, "task", "regression"),
        ({"task": "ranking"}, "task", "forecast"),
        ({"metric": "roc_auc"}, "metric", "rmse"),
        ({"n_trials": 0}, "n_trials", "1"),
        ({"n_trials": 100_000}, "n_trials", "2000"),
        ({"timeout_s": 0}, "timeout_s", "1"),
        ({"sampler": "annealing"}, "sampler", "tpe"),
        ({"pruner": "secateurs"}, "pruner", "hyperband"),
        ({"seed": -1}, "seed", "0"),
        ({"workers": 99}, "workers", "16"),
        ({"search_space": {}}, "search_space", "at least one"),
        ({"search_space": {"n_jobs": 4}}, "search_space.n_jobs", "Known here"),
        ({"search_space": {"learning_rate": {"type": "float", "low": 0.1}}}, "search_space.learning_rate.high", "number from"),
        ({"search_space": {"learning_rate": 7.0}}, "search_space.learning_rate", "0.0001 to 1"),
        ({"sampler": "grid"}, "search_space.learning_rate", "step"),
        ({"search_space": {"num_leaves": 8}}, "n_trials", "Must be 1"),
        (
            {"algorithm": "catboost", "search_space": {"max_leaves": {"type": "int", "low": 8, "high": 16}}},
            "search_space.max_leaves",
            "Lossguide in every trial",
        ),
        (
            {"sampler": "grid", "n_trials": None, "search_space": {"num_leaves": {"type": "int", "low": 2, "high": 2002}}},
            "search_space",
            "2,001 points; a study has at most 2,000",
        ),
        ({"postprocessing": "round"}, "postprocessing", "object"),
        ({"postprocessing": {"threshold": 0.3}}, "postprocessing.threshold", "clip, low, high"),
        ({"postprocessing": {"decimals": -1}}, "postprocessing.decimals", "0 to 12"),
        ({"postprocessing": {"low": 2, "high": 1}}, "postprocessing.high", "above low"),
        ({"preprocessing": {"most_categories": 0}}, "preprocessing.most_categories", "1 to 1,000"),
        ({"preprocessing": {"scale": True}}, "preprocessing.scale", "min_category_rows"),
        ({"model_name": "Has Spaces"}, "model_name", "lower-case"),
        ({"model_name": "health"}, "model_name", "reserved"),
        ({"proposal_id": "00000000-0000-4000-8000-000000000000"}, "proposal_id", "no such"),
        ({"warm_start_from": "00000000-0000-4000-8000-000000000000"}, "warm_start_from", "no such study"),
        ({"dataset_id": "00000000-0000-4000-8000-000000000000"}, "dataset_id", "no such"),
        ({"colour": "red"}, "colour", "Unknown"),
    ],
)
def test_every_bad_field_is_named_with_what_is_allowed(api: Api, split_id: str, change: dict[str, Any], field: str, said: str) -> None:
    given = body(split_id) | change

    refused = api("data_scientist").post(PATH, {name: value for name, value in given.items() if value is not None}, format="json")

    (error,) = refused.json()["errors"]
    assert (refused.status_code, error["field"]) == (400, field)
    assert said in error["message"]
    assert not Study.objects.exists()


def test_a_model_of_another_task_is_no_home_for_the_version(api: Api, split_id: str, scope: Principal) -> None:
    ask_for_study(scope, model_name="churn", split_id=make_ready_split("classification").pk, metric="roc_auc")

    refused = api("data_scientist").post(PATH, body(split_id, model_name="churn"), format="json")

    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "model_name")


def test_a_split_that_is_not_ready_is_409(api: Api, scope: Principal) -> None:
    pending = make_split(status="pending", rows=None)

    refused = api("data_scientist").post(PATH, body(str(pending.pk)), format="json")

    assert (refused.status_code, refused.json()["code"]) == (409, "split_not_ready")


def test_lists_filter_and_cost_two_queries(api: Api, scope: Principal) -> None:
    split = make_split()
    for number in range(4):
        make_study(name=f"Study {number}", split=split, algorithm="catboost" if number else "lightgbm", status="completed")
    client = api("viewer")
    client.get(PATH)

    with CaptureQueriesContext(
        connection,
    ) as few:
        found = client.get(f"{PATH}?algorithm=catboost&status=completed&split_id={split.pk}&model_name=churn").json()
    for number in range(4, 12):
        make_study(name=f"Study {number}", split=split, algorithm="catboost", status="completed")
    with CaptureQueriesContext(connection) as many:
        more = client.get(f"{PATH}?algorithm=catboost&status=completed&split_id={split.pk}&model_name=churn").json()

    assert (found["count"], more["count"], len(many)) == (3, 11, len(few))
    assert client.get(f"{PATH}?algorithm=magic").status_code == 400


def test_patch_renames_under_its_etag(api: Api, scope: Principal) -> None:
    study = make_study()
    client = api("data_scientist")
    etag = client.get(f"{PATH}/{study.pk}").headers["ETag"]

    renamed = client.patch(f"{PATH}/{study.pk}", {"name": "Better name"}, format="json", headers={"If-Match": etag})
    stale = client.patch(f"{PATH}/{study.pk}", {"name": "Other"}, format="json", headers={"If-Match": etag})
    fixed = client.patch(f"{PATH}/{study.pk}", {"n_trials": 5}, format="json")

    assert (renamed.status_code, renamed.json()["name"], stale.status_code, fixed.status_code) == (200, "Better name", 412, 400)


def test_delete_refuses_a_running_study_and_hides_an_ended_one(api: Api, scope: Principal) -> None:
    running, ended = make_study(), run_study(ask_for_study(scope, n_trials=3))
    client = api("admin")

    refused = client.delete(f"{PATH}/{running.pk}")
    gone = client.delete(f"{PATH}/{ended.pk}?delete_artifacts=true")

    kept = list(Trial.objects.filter(study=ended).values_list("number", flat=True))
    ended.refresh_from_db()
    assert (refused.status_code, refused.json()["code"], gone.status_code) == (409, "study_running", 204)
    assert client.get(f"{PATH}/{ended.pk}").status_code == 404
    assert (kept, ended.version is not None) == ([ended.best_number], True)


def test_a_storage_that_fails_after_a_study_is_deleted_is_no_error_of_the_deletion(
    api: Api, scope: Principal, django_capture_on_commit_callbacks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, client, asked = make_study(status="completed", system_attrs={KEPT: ["models/left.zip"]}), api("admin"), []

    def unreachable(_: Any, path: str) -> None:
        asked.append(path)
        raise OSError("the storage does not answer")

    monkeypatch.setattr(type(storage()), "delete", unreachable)
    with django_capture_on_commit_callbacks(execute=True):
        gone = client.delete(f"{PATH}/{study.pk}?delete_artifacts=true")

    assert (gone.status_code, asked) == (204, ["models/left.zip"])
    assert client.get(f"{PATH}/{study.pk}").status_code == 404


def test_cancel_ends_a_study_that_no_worker_has_begun(api: Api, scope: Principal) -> None:
    study = ask_for_study(scope)
    client = api("data_scientist")

    refused = client.post(f"{PATH}/{study.pk}/cancel", {"force": True})
    cancelled = client.post(f"{PATH}/{study.pk}/cancel")
    again = client.post(f"{PATH}/{study.pk}/cancel")

    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "force")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert (again.status_code, again.json()) == (200, cancelled.json())
    assert AuditEvent.objects.filter(action="study.cancel_requested").count() == 1


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_a_study_that_has_ended_otherwise_is_not_cancelled(api: Api, scope: Principal, status: str) -> None:
    study = make_study(status=status)

    refused = api("data_scientist").post(f"{PATH}/{study.pk}/cancel")

    assert (refused.status_code, refused.json()["code"]) == (409, "illegal_transition")


@pytest.mark.parametrize(("role", "status"), [("viewer", 403), ("data_scientist", 202)])
def test_studies_are_run_by_data_scientists(api: Api, split_id: str, role: str, status: int) -> None:
    assert api(role).post(PATH, body(split_id), format="json").status_code == status


def test_studies_of_another_customer_are_not_there(api: Api, scope: Principal, other_customer: Customer) -> None:
    with acting(system(other_customer.pk)), transaction.atomic():
        theirs = make_study()
    client = api("admin")

    answers = [
        client.get(f"{PATH}/{theirs.pk}"),
        client.get(f"{PATH}/{theirs.pk}/trials"),
        client.post(f"{PATH}/{theirs.pk}/cancel"),
        client.delete(f"{PATH}/{theirs.pk}"),
        client.patch(f"{PATH}/{theirs.pk}", {"name": "Mine"}, format="json"),
    ]

    assert [one.status_code for one in answers] == [404] * 5
    assert client.get(PATH).json()["count"] == 0


def test_the_same_idempotency_key_makes_one_study(api: Api, split_id: str) -> None:
    client = api("data_scientist")

    first, second = (client.post(PATH, body(split_id), format="json", headers={"Idempotency-Key": "once"}) for _ in range(2))

    assert (first.status_code, second.status_code) == (202, 202)
    assert (first.json()["id"], Study.objects.count()) == (second.json()["id"], 1)
