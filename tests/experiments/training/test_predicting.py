"""`/v1/predict` and `/v1/importance`: whoever is named answers, from memory or from a child; what cannot be answered says why."""

import math
from collections.abc import Callable
from functools import cache, lru_cache
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any
from uuid import uuid4

import pytest
from rest_framework.test import APIClient

from engine.formats.asking import ask_safely
from engine.tabular import asking, explaining
from engine.tabular.artifact import dump
from engine.tabular.asking import MAX_EXPLAINED, MAX_ROWS, Question
from engine.tabular.columns import Task
from engine.tabular.explaining import with_importance
from engine.tabular.problems import TooMuchToExplain
from engine.tabular.training import train
from experiments.models import Study
from experiments.services import predicting
from experiments.services.model_store import ModelStore
from experiments.services.predicting import Selector, predict
from experiments.states import StudyStatus
from mlops import places
from mlops.artifacts.storage import storage
from mlops.tenancy.models import Customer
from mlops.tenancy.roles import Principal
from registry.models import ModelVersion
from registry.services.artifacts import ArtifactFacts
from registry.services.promotion import promote
from registry.services.registration import PreparedArtifact, register_version
from tests.conftest import NOON
from tests.experiments.training.studying import make_study, table
from tests.registry.factories import make_model, make_version

pytestmark = pytest.mark.django_db
Api = Callable[..., APIClient]
ROW = {"x1": 0.5, "x2": -1.0, "kind": "a"}


@lru_cache(maxsize=4)
def document(task: Task) -> tuple[bytes, dict[str, Any]]:
    """A trained model as its artifact, and its signature. Training is the same every time, so once is enough."""
    parts = [table(rows, seed=seed, task=task) for seed, rows in enumerate((120, 40))]
    metric = "rmse" if task == "regression" else "log_loss"
    made = train(
        train=parts[0],
        validation=parts[1],
        target="y",
        features=["x1", "x2", "kind"],
        task=task,
        algorithm="lightgbm",
        params={"n_estimators": 12, "min_child_samples": 5, "learning_rate": 0.3},
        metric=metric,
    )
    return dump(with_importance(made.model, parts[0])), made.model.signature


def trained(by: Principal, *, task: Task = "regression") -> Study:
    """A study that is done, and the version that it made."""
    content, signature = document(task)
    study = make_study(task=task, status=StudyStatus.COMPLETED)
    path = f"models/{study.customer_id}/{study.model.name}/{study.pk}/model.json"
    artifact = PreparedArtifact(uuid4(), storage().put_bytes(path, content), ArtifactFacts("tabular", ".json", "lightgbm", signature))
    study.version = register_version(model=study.model, by=by, at=NOON, artifact=artifact)
    study.save()
    return study


def version_of(study: Study) -> ModelVersion:
    assert study.version is not None, study.error
    return study.version


def test_a_version_predicts_and_says_who_it_is(api: Api, manager: Principal, scope: Principal) -> None:
    study = trained(manager)
    version = version_of(study)

    answered = api("viewer").post("/v1/predict", {"model_id": str(version.pk), "instances": [ROW, {**ROW, "x1": 2.0}]})

    body = answered.json()
    assert answered.status_code == 200, body
    assert (body["model_id"], body["model_name"], body["version"]) == (str(version.pk), version.model_name, version.version)
    assert (body["stage"], body["artifact_sha256"], body["model_version"]) == ("staging", version.artifact_sha256, version.version)
    assert body["predictions"][1] > body["predictions"][0] + 0.5, "x1 weighs 3 in the data"
    assert "probabilities" not in body


def test_a_study_a_stage_and_a_label_name_the_same_version(api: Api, manager: Principal, scope: Principal) -> None:
    study = trained(manager)
    version = version_of(study)
    client = api()
    asked = {"instances": [ROW]}

    absent = client.post("/v1/predict", {"model_name": version.model_name, **asked})
    promote(version_id=version.pk, by=manager, at=NOON, reason="the first")
    answers = [
        client.post("/v1/predict", {**selector, **asked}).json()
        for selector in (
            {"experiment_id": str(study.pk)},
            {"model_name": version.model_name, "stage": "production"},
            {"model_name": version.model_name},
            {"model_name": version.model_name, "version": version.version},
        )
    ]

    assert absent.status_code == 404
    assert {answer["model_id"] for answer in answers} == {str(version.pk)}
    assert len({answer["predictions"][0] for answer in answers}) == 1
    assert {answer["stage"] for answer in answers} == {"production"}


def test_probabilities_name_their_labels_and_add_up_to_one(api: Api, manager: Principal, scope: Principal) -> None:
    study = trained(manager, task="classification")

    body = api().post("/v1/predict", {"experiment_id": str(study.pk), "instances": [{**ROW, "x1": 3.0}]}).json()

    assert body["predictions"] == ["yes"]
    assert set(body["probabilities"][0]) == {"yes", "no"}
    assert math.isclose(sum(body["probabilities"][0].values()), 1.0, abs_tol=1e-9)


def test_order_of_fields_never_matters_and_what_is_no_feature_is_told(api: Api, manager: Principal, scope: Principal) -> None:
    study = trained(manager)
    client = api()
    turned = dict(reversed(list(ROW.items())))

    plain = client.post("/v1/predict", {"experiment_id": str(study.pk), "instances": [ROW]}).json()
    other = client.post("/v1/predict", {"experiment_id": str(study.pk), "instances": [{**turned, "shoe": 44}]}).json()

    assert other["predictions"] == plain["predictions"]
    assert "shoe" in other["notes"][0]
    assert plain["notes"] == []


@pytest.mark.parametrize(
    ("instance", "field"),
    [
        ({"x1": 1.0, "x2": 1.0}, "instances[0].kind"),
        ({**ROW, "x1": "much"}, "instances[0].x1"),
        ({**ROW, "kind": [1]}, "instances[0].kind"),
        ({**ROW, "x2": {}}, "instances[0].x2"),
        ({**ROW, "x1": True}, "instances[0].x1"),
    ],
)
def test_instances_that_cannot_be_read_are_named_by_row_and_feature(
    api: Api, manager: Principal, scope: Principal, instance: dict[str, Any], field: str
) -> None:
    study = trained(manager)

    answered = api().post("/v1/predict", {"experiment_id": str(study.pk), "instances": [instance]})

    assert answered.status_code == 400
    assert [error["field"] for error in answered.json()["errors"]] == [field]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "invalid"),
        ({"model_id": str(uuid4()), "model_name": "churn"}, 400, "invalid"),
        ({"model_id": str(uuid4()), "stage": "production"}, 400, "invalid"),
        ({"model_name": "churn", "stage": "testing"}, 400, "invalid"),
        ({"model_name": "churn", "stage": "staging", "version": "v1"}, 400, "invalid"),
        ({"model_id": "1"}, 400, "invalid"),
        ({"model_id": str(uuid4())}, 404, "not_found"),
        ({"experiment_id": str(uuid4())}, 404, "not_found"),
        ({"model_name": "nobody"}, 404, "not_found"),
    ],
)
def test_what_names_no_version_is_refused(api: Api, scope: Principal, body: dict[str, Any], status: int, code: str) -> None:
    answered = api().post("/v1/predict", {**body, "instances": [ROW]})

    assert (answered.status_code, answered.json()["code"]) == (status, code)


@pytest.mark.parametrize("instances", [[], "x", [1], None, [ROW] * (MAX_ROWS + 1)], ids=["none", "text", "numbers", "null", "too many"])
def test_lists_that_are_none_or_too_long_are_refused(api: Api, scope: Principal, instances: object) -> None:
    assert api().post("/v1/predict", {"model_name": "churn", "instances": instances}).status_code == 400


def test_a_version_without_rows_to_answer_says_so(api: Api, scope: Principal) -> None:
    model = make_model("churn")
    bare = make_version(model)

    answered = api().post("/v1/predict", {"model_id": str(bare.pk), "instances": [ROW]})

    assert (answered.status_code, answered.json()["code"]) == (409, "no_artifact")


def test_several_candidates_of_a_stage_are_ambiguous(api: Api, scope: Principal) -> None:
    model = make_model("churn")
    make_version(model), make_version(model)

    answered = api().post("/v1/predict", {"model_name": "churn", "stage": "staging", "instances": [ROW]})

    assert (answered.status_code, answered.json()["code"]) == (409, "ambiguous_version")


def test_another_tenants_versions_and_studies_are_unknown(api: Api, manager: Principal, scope: Principal, other_customer: Customer) -> None:
    study = trained(manager)
    stranger = api(of=other_customer)

    for selector in ({"experiment_id": str(study.pk)}, {"model_id": str(version_of(study).pk)}, {"model_name": study.model.name}):
        assert stranger.post("/v1/predict", {**selector, "instances": [ROW]}).status_code == 404


def test_a_damaged_artifact_answers_nothing(api: Api, manager: Principal, scope: Principal, monkeypatch: pytest.MonkeyPatch) -> None:
    version = version_of(trained(manager))
    monkeypatch.setattr(predicting, "MODELS", ModelStore(lambda: 0))
    root = storage().local_root
    assert root is not None
    path = root / version.artifact_path
    path.write_bytes(path.read_bytes().replace(b"tree", b"tref", 1))

    answered = api().post("/v1/predict", {"model_id": str(version.pk), "instances": [ROW]})

    assert (answered.status_code, answered.json()["code"]) == (409, "artifact_digest_mismatch")


def test_a_model_that_somebody_uploaded_answers_from_a_child_and_alike(
    manager: Principal, scope: Principal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ModelStore(lambda: 1 << 30)
    monkeypatch.setattr(predicting, "MODELS", store)
    version = version_of(trained(manager))
    copy = tmp_path / "model.json"
    copy.write_bytes(storage().read(version.artifact_path, sha256=version.artifact_sha256))
    uploaded = register_version(model=version.model, by=manager, at=NOON, artifact=copy, algorithm="lightgbm")

    here = predict(selector=Selector(model_id=version.pk), instances=[ROW], by=manager)
    held = len(store)
    there = predict(selector=Selector(model_id=uploaded.pk), instances=[ROW], by=manager)

    assert there.answer == here.answer
    assert (held, len(store)) == (1, 1)


def test_the_call_takes_no_idempotency_key(api: Api, scope: Principal) -> None:
    answered = api().post("/v1/predict", {"model_name": "churn", "instances": [ROW]}, headers={"Idempotency-Key": "once"})

    assert answered.status_code == 400
    assert "Idempotency-Key" in answered.json()["detail"]


def test_importance_is_told_largest_first_and_adds_up_to_one(api: Api, manager: Principal, scope: Principal) -> None:
    study = trained(manager)

    body = api("viewer").post("/v1/importance", {"experiment_id": str(study.pk)}).json()

    shares = [one["importance"] for one in body["importances"]]
    assert body["importances"][0]["feature"] == "x1"
    assert shares == sorted(shares, reverse=True)
    assert math.isclose(sum(shares), 1.0, abs_tol=1e-9)
    assert body["method"] == "shap_native"
    assert "explanations" not in body


def test_local_explanations_add_up_to_the_prediction(api: Api, manager: Principal, scope: Principal) -> None:
    study = trained(manager)
    client = api()
    asked = {"experiment_id": str(study.pk), "instances": [ROW, {**ROW, "kind": None}]}

    why = client.post("/v1/importance", asked).json()
    what = client.post("/v1/predict", asked).json()

    for one, prediction in zip(why["explanations"], what["predictions"], strict=True):
        assert math.isclose(one["base_value"] + sum(one["values"].values()), prediction, rel_tol=1e-6)
        assert set(one["values"]) == set(ROW)


def test_explanations_of_too_many_numbers_are_refused(manager: Principal, scope: Principal) -> None:
    wide = {f"x{index}": 1.0 for index in range(MAX_EXPLAINED // 10)}

    with pytest.raises(predicting.InvalidField, match="at most 10 objects"):
        predicting.explain(selector=Selector(model_name="churn"), instances=[wide] * 11, by=manager)


def test_a_model_explains_fewer_rows_the_larger_its_trees(
    api: Api, manager: Principal, scope: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = version_of(trained(manager))
    client, steps = api("viewer"), predicting.load_tabular(version).fitted.steps

    def ask(rows: int) -> Any:
        return client.post("/v1/importance", {"model_id": str(version.pk), "instances": [ROW] * rows})

    monkeypatch.setattr(explaining, "explained_at_once", lambda model: 2 * steps // model.fitted.steps)
    refused = ask(3)

    assert [ask(rows).status_code for rows in (0, 1, 2)] == [200, 200, 200]
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "instances")
    assert "explains at most 2 objects at a time" in refused.json()["errors"][0]["message"]

    monkeypatch.setattr(explaining, "explained_at_once", lambda _: 0)
    assert "too large to explain" in ask(1).json()["errors"][0]["message"]
    assert ask(0).status_code == 200


def test_the_child_refuses_too_many_rows_to_explain_as_well(manager: Principal) -> None:
    forest = train(
        train=table(200, seed=0, task="regression"),
        validation=table(40, seed=1, task="regression"),
        target="y",
        features=["x1", "x2", "kind"],
        task="regression",
        algorithm="sklearn",
        params={"kind": "random_forest", "n_estimators": 1000, "min_samples_leaf": 1},
        metric="rmse",
    ).model
    most = explaining.explained_at_once(forest)

    with pytest.raises(TooMuchToExplain) as refused:
        ask_safely(dump(forest), Question([ROW] * (most + 1), explain=True))

    assert refused.value.most == most


def test_what_takes_more_than_a_moment_takes_a_place_and_leaves_the_rest_alone(
    manager: Principal, scope: Principal, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = version_of(trained(manager))
    monkeypatch.setattr(places, "_free", cache(lambda: BoundedSemaphore(1)))
    client, asked = api("viewer"), {"model_id": str(version.pk)}

    def statuses() -> list[int]:
        explained = [client.post("/v1/importance", asked | {"instances": rows}).status_code for rows in ([], [ROW])]
        return [client.post("/v1/predict", asked | {"instances": [ROW] * rows}).status_code for rows in (1, 9)] + explained

    monkeypatch.setattr(asking, "MAX_WALKS", 8 * 12)  # of a model of twelve trees
    free = statuses()
    with places.place():
        taken = statuses()

    assert (free, taken) == ([200, 200, 200, 200], [200, 503, 200, 503])


def test_the_store_keeps_what_was_used_last_within_its_bound(manager: Principal, scope: Principal) -> None:
    version = version_of(trained(manager))
    model = predicting.load_tabular(version)
    loads: list[str] = []
    store = ModelStore(lambda: 2 * 3 * model.size_bytes)

    def loading(name: str) -> Callable[[], Any]:
        def load() -> Any:
            loads.append(name)
            return model

        return load

    for name in ("a", "b", "a", "c", "a", "b"):
        store.get(name, loading(name))

    assert loads == ["a", "b", "c", "b"], "b was used longest ago when c came"
    assert store.held_bytes <= 2 * 3 * model.size_bytes


def test_a_model_that_two_have_loaded_counts_once(manager: Principal, scope: Principal) -> None:
    model = predicting.load_tabular(version_of(trained(manager)))
    store = ModelStore(lambda: 1 << 30)

    def load_while_another_does() -> Any:
        store.get("b", lambda: model)
        store._loading.pop("a")  # as the first one does when it is done
        return store.get("a", lambda: model)

    store.get("a", load_while_another_does)

    assert (len(store), store.held_bytes) == (2, 2 * 3 * model.size_bytes)


def test_a_model_that_does_not_load_leaves_nothing_behind() -> None:
    store = ModelStore(lambda: 1 << 30)

    def missing() -> Any:
        raise FileNotFoundError

    with pytest.raises(FileNotFoundError):
        store.get("a", missing)

    assert store._loading == {}


def test_models_that_are_slow_to_answer_take_a_share_of_the_threads_and_no_more(
    manager: Principal, scope: Principal, api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = version_of(trained(manager))
    copy = tmp_path / "model.json"
    copy.write_bytes(storage().read(version.artifact_path, sha256=version.artifact_sha256))
    foreign = register_version(model=version.model, by=manager, at=NOON, artifact=copy, algorithm="lightgbm")
    monkeypatch.setattr(places, "_free", cache(lambda: BoundedSemaphore(1)))
    client = api()

    def ask_meanwhile(*_: Any) -> Any:
        again = client.post("/v1/predict", {"model_id": str(foreign.pk), "instances": [ROW]})
        here = client.post("/v1/predict", {"model_id": str(version.pk), "instances": [ROW]})
        assert (again.status_code, again.json()["code"], "Retry-After" in again.headers) == (503, "busy", True)
        assert here.status_code == 200
        return {"predictions": [1.0], "probabilities": None, "notes": []}

    monkeypatch.setattr(predicting, "ask_safely", ask_meanwhile)
    asked = [client.post("/v1/predict", {"model_id": str(foreign.pk), "instances": [ROW]}).status_code for _ in range(2)]

    assert asked == [200, 200]
