"""Studies of the demand recipe: a trial is a rolling-origin backtest that tells its score after each origin."""

from pathlib import Path
from typing import Any

import pytest

from experiments.models import Study, Trial
from experiments.services import searching, trial_storage
from experiments.services.study_objectives import ForecastObjective, objective_of
from experiments.states import TrialState
from mlops.errors import InvalidField
from mlops.tenancy.roles import Principal
from registry.models import BacktestRun
from tests.conftest import NOON
from tests.experiments.chain import make_chain_model
from tests.experiments.training.studying import ask_for_study, believe_own_artifacts, run_study, trials_of

pytestmark = pytest.mark.django_db

TREES = {"rounds": 5, "num_leaves": 8, "min_data_in_leaf": 20, "calibration_days": 0}
WEEKLY = {"backtest_retrain_days": 7}
"""Each of the four origins has a fit of its own."""
GOOD_AND_HOPELESS = {"type": "categorical", "choices": [0.3, 0.31, 0.32, 0.33, 0.34, 0.0001, 0.00011]}


@pytest.fixture(autouse=True)
def _quick_artifacts(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    believe_own_artifacts(monkeypatch)


@pytest.fixture
def report_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small fits take less than the time for which reports gather."""
    monkeypatch.setattr(trial_storage, "EVERY_S", 0.0)


def ask(by: Principal, folder: Path, *, policy: dict[str, Any] | None = None, **values: Any) -> Study:
    make_chain_model(folder, by, name="sales", policy=policy)
    asked: dict[str, Any] = {"task": "forecast", "split_id": None, "metric": "mae", "model_name": "sales", "n_trials": 2}
    asked["search_space"] = TREES | {"learning_rate": {"type": "float", "low": 0.2, "high": 0.5}}
    return ask_for_study(by, **(asked | values))


def steps_of(trial: Trial) -> list[int]:
    return sorted(map(int, trial.intermediate_values))


def test_a_forecast_study_tunes_the_recipe_and_registers_a_forecaster(scope: Principal, tmp_path: Path) -> None:
    space = {"rounds": 5, "num_leaves": {"type": "int", "low": 4, "high": 12}, "learning_rate": 0.3, "min_data_in_leaf": 20}

    study = run_study(ask(scope, tmp_path, search_space=space))

    version = study.version
    assert version is not None
    run = BacktestRun.objects.get(version=version)
    assert (study.status, study.dataset_id, version.artifact_format) == ("completed", study.model.dataset_id, "forecaster")
    assert version.lineage["recipe"]["num_leaves"] == trials_of(study)[study.best_number or 0].params["num_leaves"]
    assert run.metrics["mae"] == version.metrics["mae"] > 0
    assert {trial.user_attrs["window_days"] for trial in trials_of(study)} == {28}


def test_a_forecast_takes_lightgbm_alone(scope: Principal) -> None:
    with pytest.raises(InvalidField) as refused:
        ask_for_study(scope, task="forecast", split_id=None, algorithm="catboost", metric="mae")

    assert refused.value.field == "algorithm"


@pytest.mark.parametrize("policy", [{}, WEEKLY])
def test_a_trial_tells_its_score_after_each_origin_and_its_value_is_the_whole_backtests(
    scope: Principal, tmp_path: Path, policy: dict[str, Any]
) -> None:
    study = run_study(ask(scope, tmp_path, policy=policy, n_trials=1))

    objective = objective_of(study)
    assert isinstance(objective, ForecastObjective)
    (trial,) = trials_of(study)
    alone = objective(trial.params | TREES, lambda _step, _value, *, last=False: None)
    assert trial.value == alone.value
    assert trial.metrics == alone.metrics
    assert steps_of(trial) == [1, 2, 3, 4]
    assert trial.intermediate_values["4"] == pytest.approx(trial.value)
    assert trial.intermediate_values["1"] != trial.value


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_bad_recipes_are_pruned_between_origins(scope: Principal, tmp_path: Path, pruner: str) -> None:
    space = TREES | {"learning_rate": GOOD_AND_HOPELESS}

    study = run_study(ask(scope, tmp_path, policy=WEEKLY, search_space=space, sampler="random", pruner=pruner, seed=3, n_trials=14))

    pruned = [trial for trial in trials_of(study) if trial.state == TrialState.PRUNED]
    assert {trial.params["learning_rate"] for trial in pruned} & {0.0001, 0.00011}
    for trial in pruned:
        assert steps_of(trial) in ([1], [1, 2], [1, 2, 3])
        assert trial.value == trial.intermediate_values[str(len(trial.intermediate_values))]
    assert (study.status, study.finished_trials) == ("completed", 14)
    assert study.best_number not in [trial.number for trial in pruned]


def test_a_trial_with_all_its_models_fitted_is_not_pruned(scope: Principal, tmp_path: Path) -> None:
    space = TREES | {"learning_rate": GOOD_AND_HOPELESS}

    study = run_study(ask(scope, tmp_path, search_space=space, sampler="random", pruner="median", seed=3, n_trials=14))

    assert {trial.state for trial in trials_of(study)} == {TrialState.COMPLETE}
    assert {tuple(steps_of(trial)) for trial in trials_of(study)} == {(1, 2, 3, 4)}


@pytest.mark.usefixtures("report_at_once")
def test_a_forecast_study_is_cancelled_between_the_origins_of_a_trial(
    scope: Principal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = ask(scope, tmp_path, policy=WEEKLY)
    real = ForecastObjective._tell

    def cancel_at_the_second(self: ForecastObjective, so_far: Any, report: Any) -> None:
        if so_far.origins == 2:
            Study.objects.filter(pk=study.pk).update(cancel_requested_at=NOON)
        real(self, so_far, report)

    monkeypatch.setattr(ForecastObjective, "_tell", cancel_at_the_second)
    study = run_study(study)

    (trial,) = trials_of(study)
    assert (study.status, trial.state, trial.error) == ("cancelled", "fail", "The study was cancelled.")
    assert steps_of(trial) == [1, 2]


def test_the_time_out_ends_a_forecasts_trial_between_its_origins(scope: Principal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = ask(scope, tmp_path, policy=WEEKLY, timeout_s=3600)
    told: list[int] = []
    real = ForecastObjective._tell

    def tell(self: ForecastObjective, so_far: Any, report: Any) -> None:
        told.append(so_far.origins)
        real(self, so_far, report)

    monkeypatch.setattr(ForecastObjective, "_tell", tell)
    monkeypatch.setattr(searching, "_time_is_over", lambda _run: len(told) >= 6)  # in the second trial, after its second origin
    study = run_study(study)

    first, second = trials_of(study)
    assert (study.status, study.best_number, first.state) == ("completed", 0, "complete")
    assert (second.state, second.value, second.error) == ("fail", None, "The study's time was up.")
    assert steps_of(second) == [1, 2]


def test_a_fit_that_is_a_forecasts_only_one_outlasts_the_time_out(
    scope: Principal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = ask(scope, tmp_path, timeout_s=3600)
    begun: list[bool] = []
    monkeypatch.setattr(searching, "_time_is_over", lambda _run: begun.append(True) or len(begun) > 1)

    study = run_study(study)

    assert [(trial.state, steps_of(trial)) for trial in trials_of(study)] == [("complete", [1, 2, 3, 4])]
    assert study.status == "completed"
