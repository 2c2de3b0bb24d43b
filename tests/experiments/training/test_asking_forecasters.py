"""`/v1/predict` and `/v1/importance` of forecasters: they answer no rows, say where to look instead, and tell what they go by."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from rest_framework.test import APIClient

from engine.forecasting.artifact import dump
from engine.forecasting.features import FeatureSet
from engine.forecasting.naive import SeasonalNaiveForecaster
from engine.forecasting.protocol import Forecaster
from engine.forecasting.recipe import LightGBMRecipe
from experiments.models import Study
from experiments.states import StudyStatus
from mlops.artifacts.storage import storage
from mlops.tenancy.roles import Principal
from registry.services.artifacts import ArtifactFacts
from registry.services.registration import PreparedArtifact, register_version
from tests.conftest import NOON
from tests.engine.panels import FIRST, make_panel, weekly_demand
from tests.experiments.training.studying import make_study
from tests.registry.factories import make_model

pytestmark = pytest.mark.django_db
Api = Callable[..., APIClient]
LAST = FIRST + timedelta(days=120)
RECIPE = replace(
    LightGBMRecipe(rounds=5, num_leaves=4, min_data_in_leaf=10, history_days=None, calibration_days=0),
    features=FeatureSet(kind="plain", horizon=7, lags=(7, 14), windows=(7,), warmup=21),
    objective="regression",
    typical=None,
)


def forecasting(by: Principal, forecaster: Forecaster, content: bytes = b"") -> Study:
    """A forecast study that is done, and its version."""
    study = make_study(task="forecast", status=StudyStatus.COMPLETED, split=None, model=make_model("sales"))
    stored = storage().put_bytes(f"models/{study.customer_id}/sales/{study.pk}/model.json", content or dump(forecaster))
    artifact = PreparedArtifact(uuid4(), stored, ArtifactFacts("forecaster", ".json", forecaster.kind, {}))
    study.version = register_version(model=study.model, by=by, at=NOON, artifact=artifact, metrics={"mae": 1.0})
    study.save()
    return study


@pytest.fixture
def study(scope: Principal) -> Study:
    return forecasting(scope, RECIPE.fit(make_panel(weekly_demand(days=130)), through=LAST))


def test_the_features_of_a_forecast_studys_version_are_told(api: Api, study: Study) -> None:
    answered = api("viewer").post("/v1/importance", {"experiment_id": str(study.pk)})

    body = answered.json()
    shares = [one["importance"] for one in body["importances"]]
    assert (answered.status_code, body["method"], body["version"]) == (200, "native", "v1")
    assert {"lag_7", "lag_14"} <= {one["feature"] for one in body["importances"]}
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1.0)
    assert ("explanations" in body, "gain" in body["notes"][0]) == (False, True)


@pytest.mark.parametrize("call", ["predict", "importance"])
def test_rows_are_refused_and_the_way_on_is_named(api: Api, study: Study, call: str) -> None:
    client = api("viewer")

    refused = client.post(f"/v1/{call}", {"experiment_id": str(study.pk), "instances": [{"store": 1}]})

    detail = refused.json()["detail"]
    assert (refused.status_code, refused.json()["code"]) == (409, "not_predictable")
    assert "sales v1 forecasts whole series" in detail
    assert "without instances" in detail
    assert client.post("/v1/importance", {"experiment_id": str(study.pk)}).status_code == 200


def test_the_address_that_predict_names_is_there(api: Api, study: Study) -> None:
    client = api("viewer")
    detail: str = client.post("/v1/predict", {"experiment_id": str(study.pk), "instances": [{}]}).json()["detail"]

    (address,) = [word.rstrip(".") for word in detail.split() if word.startswith("/api/")]

    assert client.get(address).json()["version"] == "v1"


def test_a_seasonal_naive_goes_by_no_features(api: Api, scope: Principal) -> None:
    naive = forecasting(scope, SeasonalNaiveForecaster(LAST))

    body = api("viewer").post("/v1/importance", {"model_id": str(naive.version_id)}).json()

    assert (body["importances"], body["notes"]) == ([], ["It repeats the last known value of the season before and goes by no features."])


def test_a_file_that_is_no_forecaster_is_said_to_be_unusable(api: Api, scope: Principal) -> None:
    broken: Any = forecasting(scope, SeasonalNaiveForecaster(LAST), b'{"format": "tiltyard-forecaster/1", "kind": "crystal_ball"}')

    refused = api("viewer").post("/v1/importance", {"experiment_id": str(broken.pk)})

    assert (refused.status_code, refused.json()["code"]) == (409, "model_unusable")
    assert "crystal_ball" in refused.json()["detail"]
