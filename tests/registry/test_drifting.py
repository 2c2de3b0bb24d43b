"""Model drift: a store that changes is named, one that does not is left alone."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mlops.jobs import runner, services
from mlops.jobs.models import Job, JobState
from mlops.tenancy.roles import Principal
from mlops.upkeep import apply_retention
from registry import jobs as work  # noqa: F401 - importing makes the kinds of job known
from registry.models import BacktestSegment, ModelVersion, RegisteredModel
from registry.services import drifting
from registry.services.accuracy import validate_new_days
from tests.experiments.chain import LAST_DAY, NOON, chain, do_each_work_once, make_chain_model, news, retrain

pytestmark = pytest.mark.django_db

TRAINED = LAST_DAY - timedelta(days=14)
POLICY = {"backtest_days": 56}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same work is done once in the whole run."""
    do_each_work_once(monkeypatch)


def shifted(store: str = "S1", times: int = 6) -> pl.DataFrame:
    """The chain, one of whose stores sells several times as much since the end of training."""
    moved = (pl.col("store") == store) & (pl.col("date") > TRAINED)
    return chain().with_columns(units_sold=pl.when(moved).then(pl.col("units_sold") * times).otherwise("units_sold"))


def watched(folder: Path, by: Principal, frame: pl.DataFrame | None = None, **options: Any) -> RegisteredModel:
    """A model whose champion was trained before the last two weeks."""
    model = make_chain_model(folder, by, frame=frame, policy=POLICY, **options)
    retrain(model, by, as_of=TRAINED)
    return model


def do(kind: str, by: Principal) -> Job:
    """Do one scheduled job here."""
    job = services.request(kind=kind, payload={}, label=kind, by=by, at=NOON)
    runner.run(job_id=job.pk, attempts=0)
    job.refresh_from_db()
    return job


def test_a_store_that_changed_is_named_in_the_news(scope: Principal, tmp_path: Path) -> None:
    model = watched(tmp_path, scope, shifted())
    validate_new_days(model=model, at=NOON)

    found = drifting.detect(model=model, at=NOON)

    [told] = news("registry.model_drifted")
    named = {(segment["column"], segment["value"]) for segment in told["segments"]}
    assert found["drifted"]
    assert ("store", "S1") in named
    assert ("store", "S2") not in named
    assert (told["version"], told["as_of"], "S1" in told["summary"]) == ("v2", LAST_DAY.isoformat(), True)


def test_a_store_is_still_named_when_retention_has_run_long_after_the_data_end(scope: Principal, tmp_path: Path, settings: Any) -> None:
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)
    model = watched(tmp_path, scope, shifted())
    validate_new_days(model=model, at=NOON)
    apply_retention(at=NOON + timedelta(days=3650))

    found = drifting.detect(model=model, at=NOON)

    assert ("store", "S1") in {(segment["column"], segment["value"]) for segment in found["segments"] if segment["drifted"]}


def test_a_check_that_runs_again_tells_nothing_twice_until_another_day_is_known(scope: Principal, tmp_path: Path) -> None:
    model = watched(tmp_path, scope, shifted())
    validate_new_days(model=model, at=NOON, through=LAST_DAY - timedelta(days=1))
    drifting.detect(model=model, at=NOON)

    again = drifting.detect(model=model, at=NOON + timedelta(hours=1))
    days = [told["as_of"] for told in news("registry.model_drifted")]
    validate_new_days(model=model, at=NOON)
    drifting.detect(model=model, at=NOON + timedelta(days=1))

    assert (again["drifted"], days) == (True, [(LAST_DAY - timedelta(days=1)).isoformat()])
    assert sorted(told["as_of"] for told in news("registry.model_drifted")) == [*days, LAST_DAY.isoformat()]


def test_without_a_change_nobody_is_told(scope: Principal, tmp_path: Path) -> None:
    model = watched(tmp_path, scope)
    validate_new_days(model=model, at=NOON)

    found = drifting.detect(model=model, at=NOON)

    assert found["drifted"] is False
    assert news("registry.model_drifted") == []


def test_a_later_backtest_does_not_become_the_reference(scope: Principal, tmp_path: Path) -> None:
    model = watched(tmp_path, scope, shifted())
    validate_new_days(model=model, at=NOON)
    assert do("run_weekly_backtest", scope).state == JobState.SUCCEEDED

    found = drifting.detect(model=model, at=NOON)

    assert (found["drifted"], found["reference"][1]) == (True, TRAINED.isoformat())


def test_a_day_that_has_no_forecast_is_none_of_the_seven(scope: Principal, tmp_path: Path) -> None:
    """On the last day only a store is known that opened on it."""
    opened = chain().filter((pl.col("store") == "S1") & (pl.col("date") == LAST_DAY)).with_columns(store=pl.lit("S9"))
    frame = pl.concat([shifted().filter(pl.col("date") < LAST_DAY), opened])
    columns = {"date": "date", "target": "units_sold", "keys": ["store", "item"], "attributes": ["department"], "segments": ["store"]}
    model = watched(tmp_path, scope, frame, mapping={"shape": "long", "missing_days": "unknown", **columns})
    validate_new_days(model=model, at=NOON)

    found = drifting.detect(model=model, at=NOON)

    assert (found["drifted"], found["as_of"]) == (True, str(LAST_DAY - timedelta(days=1)))


def test_data_without_segments_is_watched_as_a_whole(scope: Principal, tmp_path: Path) -> None:
    flat = {"shape": "long", "date": "date", "target": "units_sold", "keys": ["store", "item"], "attributes": [], "segments": []}
    model = watched(tmp_path, scope, shifted(times=20), mapping=flat)
    validate_new_days(model=model, at=NOON)

    found = drifting.detect(model=model, at=NOON)

    assert {segment["column"] for segment in found["segments"]} == {"overall"}
    assert [segment["value"] for segment in news("registry.model_drifted")[0]["segments"]] == [""]


@pytest.mark.parametrize("days", [0, 6])
def test_too_few_validated_days_say_nothing_yet(scope: Principal, tmp_path: Path, days: int) -> None:
    model = watched(tmp_path, scope, shifted())
    validate_new_days(model=model, at=NOON, through=TRAINED + timedelta(days=days))

    assert drifting.detect(model=model, at=NOON)["drifted"] is None


def test_the_whole_of_a_backtest_stands_beside_its_segments(scope: Principal, tmp_path: Path) -> None:
    model = watched(tmp_path, scope)

    run = ModelVersion.objects.get(model=model, status="champion").backtest_runs.get()
    whole = BacktestSegment.objects.filter(run=run, segment_column="overall")
    assert whole.count() == run.results.count() == 55  # the shops are shut on 25 December
    assert sum(row.sum_abs_error for row in whole) / sum(row.n for row in whole) == pytest.approx(run.metrics["mae"])
