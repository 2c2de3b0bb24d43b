"""Studies run to their end: what is found, kept, told and registered."""

from typing import Any

import pytest

from experiments.models import Study, Trial
from experiments.services import study_rows
from experiments.states import StudyStatus, TrialState
from mlops.jobs.models import Job
from mlops.tenancy.roles import Principal
from tests.experiments.chain import news
from tests.experiments.training.studying import ask_for_study, make_ready_split, run_study, table, trials_of

pytestmark = pytest.mark.django_db


def test_a_study_registers_the_model_of_its_best_trial_as_a_candidate(scope: Principal) -> None:
    study = run_study(ask_for_study(scope, name="Churn search", n_trials=3))

    best = min(trials_of(study), key=lambda trial: trial.value)
    version = study.version
    assert version is not None
    assert (study.status, study.finished_trials, study.best_number) == ("completed", 3, best.number)
    assert (version.status, version.model_name, version.artifact_format) == ("candidate", "churn-search", "tabular")
    assert version.hyperparameters == best.params | {"n_estimators": 12, "min_child_samples": 5}
    assert version.metrics["rmse"] == best.value == study.best_value
    assert version.metrics["test_rmse"] > 0
