"""The main job on real sales: in June 2015 one of ten stores sells twice as much as before, and is found."""

from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from experiments import jobs as work  # noqa: F401 - importing makes the kinds of job known
from mlops.tenancy.roles import Principal
from registry.models import ForecastAccuracy, RegisteredModel
from registry.services import drifting
from registry.services.accuracy import validate_new_days
from registry.services.datasets import import_path
from registry.services.model_settings import register_model
from tests.engine.frames.samples import shared_data
from tests.experiments.chain import NOON, do_each_work_once, news, retrain

pytestmark = pytest.mark.django_db

LIGHT = {"kind": "lightgbm", "rounds": 60, "num_leaves": 31, "learning_rate": 0.12, "history_days": 600, "calibration_days": 56}
TRAINED = date(2015, 4, 26)


@pytest.fixture
def model(scope: Principal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RegisteredModel:
    """Two and a half years of daily sales of 28 items in ten stores, of which a champion has seen all up to the end of April 2015."""
    do_each_work_once(monkeypatch)
    file = tmp_path / "retail_daily_sales.parquet"
    period = pl.col("date").is_between(date(2013, 1, 1), date(2015, 6, 21))
    pl.read_parquet(shared_data() / "retail_daily_sales.parquet").filter(period).write_parquet(file)
    model = register_model(name="walmart", recipe=LIGHT, by=scope, at=NOON)
    import_path(name="walmart.sales", path=file, model=model, trusted=True, by=scope, at=NOON)
    model.refresh_from_db()
    run = retrain(model, scope, as_of=TRAINED)
    assert (run.produced.status, run.metadata["passed"]) == ("champion", True)
    return model


def test_the_store_that_drifts_is_named_and_the_others_are_not(model: RegisteredModel, scope: Principal) -> None:
    before = look(model, through=date(2015, 5, 24))
    after = look(model, through=date(2015, 6, 14))

    [told] = news("registry.model_drifted")
    [found] = told["segments"]
    assert (before["drifted"], after["drifted"]) == (False, True)
    assert (found["column"], found["value"]) == ("store_id", "CA_2")
    assert found["mae_change_pct"] > 40
    assert (told["version"], told["as_of"]) == ("v2", "2015-06-14")
    assert ForecastAccuracy.objects.filter(segment_column="overall").count() == 49


def look(model: RegisteredModel, *, through: date) -> dict[str, Any]:
    """What the daily jobs find on that day."""
    validate_new_days(model=model, at=NOON, through=through)
    return drifting.detect(model=model, at=NOON)
