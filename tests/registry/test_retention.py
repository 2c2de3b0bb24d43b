"""`retention_days` lets raw rows go, and keeps evidence."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest

from mlops.tenancy.roles import Principal
from mlops.upkeep import apply_retention
from registry.models import DecisionRecord, ForecastAccuracy, ModelVersion, ShadowPrediction
from registry.models.backtest import ErrorColumns
from registry.services.model_settings import register_model
from registry.services.registration import register_version
from tests.conftest import NOON

pytestmark = pytest.mark.django_db
TODAY = NOON.date()


@pytest.fixture(autouse=True)
def temporary(settings: Any, tmp_path: Any) -> None:
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)


@pytest.fixture
def pair(scope: Principal) -> tuple[ModelVersion, ModelVersion]:
    """Two versions of a model that keeps thirty days."""
    model = register_model(name="shop", by=scope, at=NOON, retention_days=30)
    return register_version(model=model, by=scope, at=NOON), register_version(model=model, by=scope, at=NOON)


def make_pair(versions: tuple[ModelVersion, ModelVersion], day: date) -> ShadowPrediction:
    values = {"series_key": "{}", "origin": day, "prediction": 1.0, "champion_prediction": 2.0, "created_at": NOON}
    return ShadowPrediction.objects.create(version=versions[1], champion=versions[0], day=day, **values)


def make_accuracy(version: ModelVersion, day: date, column: str) -> ForecastAccuracy:
    named = {"model_name": "shop", "model_version": version.version, "forecast_date": day, "segment_column": column, "created_at": NOON}
    numbers = {field.name: 1 for field in ErrorColumns._meta.fields}
    return ForecastAccuracy.objects.create(version_ref=version, **named, **numbers)


@pytest.mark.parametrize("make", [make_pair, lambda versions, day: make_accuracy(versions[0], day, "store")])
def test_raw_rows_older_than_the_models_retention_go(pair: tuple[ModelVersion, ModelVersion], make: Callable[..., Any]) -> None:
    make_accuracy(pair[0], TODAY, "overall")
    rows = [make(pair, TODAY - timedelta(days=age)) for age in (29, 30, 31)]

    counted, removed = apply_retention(at=NOON, dry_run=True), apply_retention(at=NOON)

    assert sum(counted.values()) == sum(removed.values()) == 1
    assert [type(row).objects.filter(pk=row.pk).exists() for row in rows] == [True, True, False]


@pytest.mark.parametrize("make", [make_pair, lambda versions, day: make_accuracy(versions[0], day, "store")])
def test_days_count_back_from_the_newest_day_of_the_data(pair: tuple[ModelVersion, ModelVersion], make: Callable[..., Any]) -> None:
    newest = date(2016, 3, 5)
    make_accuracy(pair[0], newest, "overall")
    rows = [make(pair, newest - timedelta(days=age)) for age in (0, 30, 31)]

    removed = apply_retention(at=NOON)

    assert sum(removed.values()) == 1
    assert [type(row).objects.filter(pk=row.pk).exists() for row in rows] == [True, True, False]


def test_of_a_model_that_measured_nothing_everything_stays(pair: tuple[ModelVersion, ModelVersion]) -> None:
    make_pair(pair, TODAY - timedelta(days=900))

    assert apply_retention(at=NOON)["shadow predictions"] == 0


def test_days_overall_stay(pair: tuple[ModelVersion, ModelVersion]) -> None:
    for age in (0, 900):
        make_accuracy(pair[0], TODAY - timedelta(days=age), "overall")

    assert apply_retention(at=NOON)["accuracy by segment"] == 0


def test_what_a_decision_rests_on_stays(pair: tuple[ModelVersion, ModelVersion]) -> None:
    make_accuracy(pair[0], TODAY, "overall")
    cited, other = (make_accuracy(pair[0], TODAY - timedelta(days=age), "store") for age in (100, 101))
    common = {"kind": "promotion", "policy_revision": 1, "proposer": "kim", "audit_number": 1, "decided_at": NOON}
    DecisionRecord.objects.create(model=pair[0].model, version=pair[0], rests_on={"shadow": {"ids": [str(cited.pk)]}}, **common)

    assert apply_retention(at=NOON)["accuracy by segment"] == 1
    assert [ForecastAccuracy.objects.filter(pk=row.pk).exists() for row in (cited, other)] == [True, False]
