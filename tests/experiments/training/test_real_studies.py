"""Studies on real data as people run them: a file is split, LightGBM searched with 20 trials, the best registered, and its file asked.

Costs about half a minute of one core. `benchmarks.tabular` measures all boosters, and by more figures (docs/evidence.md).
"""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from experiments.models import Split, Study
from experiments.services.predicting import Selector, predict
from experiments.services.splitting import plan_of, split_file
from experiments.services.studies import create_study
from experiments.states import SplitStatus, StudyStatus
from mlops.jobs import runner
from mlops.tenancy.roles import Principal
from tests.conftest import NOON
from tests.engine.frames.samples import shared_data
from tests.experiments.training.studying import run_study

pytestmark = pytest.mark.django_db
TRIALS = 20
ROWS_A_QUESTION = 1_000
BIKE_FEATURES = ["season", "yr", "mnth", "holiday", "weekday", "workingday", "weathersit", "temp", "atemp", "hum", "windspeed"]
"""Without `casual` and `registered`, whose sum is the target."""


def searched(path: Path, by: Principal, *, metric: str, **plan: Any) -> Study:
    """A study of the file: default space, sampler and pruner."""
    split = split_file(
        name=path.stem, plan=plan_of({"seed": 0, "strategy": "random"} | plan), path=path, file_name=path.name, by=by, at=NOON
    )
    assert split.job_id is not None
    runner.run(job_id=split.job_id, attempts=0)
    split.refresh_from_db()
    assert split.status == SplitStatus.READY, split.error
    asked = create_study(
        name=path.stem, by=by, at=NOON, split_id=split.pk, algorithm="lightgbm", metric=metric, n_trials=TRIALS, seed=0, pruner="median"
    )
    study = run_study(asked)
    assert (study.status, study.finished_trials) == (StudyStatus.COMPLETED, TRIALS), study.error
    return study


def answers(study: Study, rows: pl.DataFrame, by: Principal) -> Iterator[dict[str, Any]]:
    """What the study's version says of the rows, asked as `/v1/predict` asks it."""
    for few in rows.iter_slices(ROWS_A_QUESTION):
        yield predict(selector=Selector(experiment_id=study.pk), instances=few.to_dicts(), by=by).answer


def test_twenty_trials_on_the_census_reach_an_area_of_0925_on_the_official_test_file(scope: Principal) -> None:
    folder = shared_data()
    test = pl.read_csv(folder / "adult_test.csv.gz")
    people = test.drop("income")

    study = searched(
        folder / "adult_train.csv.gz",
        scope,
        metric="roc_auc",
        target="income",
        task="classification",
        fractions={"train": 0.79, "validation": 0.2, "test": 0.01},
    )

    rich = [one[">50K"] for answer in answers(study, people, scope) for one in answer["probabilities"]]
    assert len(rich) == test.height == 16_281
    assert roc_auc_score(test["income"].to_numpy() == ">50K", rich) >= 0.925


def test_twenty_trials_on_bike_rentals_beat_the_week_before_on_the_last_days(scope: Principal) -> None:
    path = shared_data() / "bike_sharing_daily.csv"
    days = pl.read_csv(path, try_parse_dates=True).sort("dteday")
    before = days.select(pl.col("dteday") + timedelta(days=7), pl.col("cnt").alias("before"))

    study = searched(
        path,
        scope,
        metric="rmse",
        target="cnt",
        task="regression",
        strategy="time",
        time_column="dteday",
        fractions={"train": 0.7, "validation": 0.15, "test": 0.15},
        features=BIKE_FEATURES,
    )

    last = days.tail(Split.objects.get(pk=study.split_id).parts["test"]["rows"]).join(before, on="dteday", maintain_order="left")
    wanted = last["cnt"].to_numpy()
    found = np.concatenate([answer["predictions"] for answer in answers(study, last.select(BIKE_FEATURES), scope)])
    assert last.height == pytest.approx(0.15 * days.height, abs=1)
    assert np.abs(found - wanted).mean() < 0.8 * np.abs(last["before"].to_numpy() - wanted).mean()
