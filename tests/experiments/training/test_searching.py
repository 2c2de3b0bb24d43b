"""Studies run to their end: what is found, kept, told and registered."""

from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from django.utils import timezone

from experiments.jobs_training import cancel_study as follow_cancelled_job
from experiments.jobs_training import fail_study as follow_failed_job
from experiments.models import Study, Trial
from experiments.screens.study_words import sentence
from experiments.services import deciding, proposing, searching, study_conclusion, study_rows
from experiments.services.studies import cancel_study
from experiments.states import StudyStatus, TrialState
from mlops.artifacts.storage import storage
from mlops.errors import InvalidField
from mlops.jobs import services as jobs
from mlops.jobs.events import JobCancelled, JobFailed
from mlops.jobs.models import Job, JobState
from mlops.tenancy.roles import Principal
from registry.models import ModelVersion
from tests.conftest import NOON
from tests.experiments.chain import news
from tests.experiments.training.studying import ask_for_study, believe_own_artifacts, make_ready_split, run_study, table, trials_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _quick_artifacts(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    believe_own_artifacts(monkeypatch)


MIXED = {"n_estimators": 5, "objective": {"type": "categorical", "choices": ["regression", "poisson"]}}
"""Poisson refuses the negative targets of the table."""


def states_of(study: Study) -> list[str]:
    return [trial.state for trial in trials_of(study)]


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
    assert storage().read(version.artifact_path, sha256=version.artifact_sha256)


def test_a_version_knows_where_it_comes_from(scope: Principal) -> None:
    study = run_study(ask_for_study(scope))

    version = study.version
    assert version is not None
    split = study.split
    assert split is not None
    assert (version.lineage["study_id"], version.lineage["split_id"]) == (str(study.pk), str(split.pk))
    assert version.lineage["parts"] == {name: part["sha256"] for name, part in split.parts.items()}
    assert (version.lineage["trial"], version.lineage["code"][:7]) == (study.best_number, "engine-")
    assert [feature["name"] for feature in version.signature["features"]] == ["x1", "x2", "kind"]
    assert set(version.reference_statistics["features"]) == {"x1", "x2", "kind"}
    assert version.metrics["tier"] in ("gold", "silver", "bronze")
    (told,) = news("experiments.study_completed")
    assert (told["study_id"], told["version"], told["best_value"]) == (str(study.pk), "v1", study.best_value)


@pytest.mark.parametrize("sampler", ["tpe", "cmaes"])
def test_a_seed_gives_the_same_trials_twice(scope: Principal, sampler: str) -> None:
    split = make_ready_split()
    first, second = (
        run_study(ask_for_study(scope, name=name, split_id=split.pk, seed=5, sampler=sampler, n_trials=5, pruner="median"))
        for name in ("One", "Two")
    )

    assert [(one.params, one.value, one.state) for one in trials_of(first)] == [
        (one.params, one.value, one.state) for one in trials_of(second)
    ]
    assert first.version is not None
    assert second.version is not None
    assert first.version.artifact_sha256 == second.version.artifact_sha256


def test_a_grid_tries_every_point_once(scope: Principal) -> None:
    space = {"n_estimators": 4, "num_leaves": {"type": "int", "low": 4, "high": 8, "step": 2}, "extra_trees": MIXED["objective"]}
    space["extra_trees"] = {"type": "categorical", "choices": [True, False]}

    study = run_study(ask_for_study(scope, sampler="grid", search_space=space, n_trials=100))

    tried = sorted((trial.params["num_leaves"], trial.params["extra_trees"]) for trial in trials_of(study))
    assert study.n_trials == 6
    assert tried == [(leaves, extra) for leaves in (4, 6, 8) for extra in (False, True)]


def test_a_trial_that_fails_is_a_row_and_the_search_goes_on(scope: Principal) -> None:
    study = run_study(ask_for_study(scope, sampler="grid", search_space=MIXED, n_trials=2))

    failed = next(trial for trial in trials_of(study) if trial.state == TrialState.FAIL)
    assert (study.status, sorted(states_of(study)), study.finished_trials) == ("completed", ["complete", "fail"], 2)
    assert failed.params == {"objective": "poisson"}
    assert failed.error.startswith("TrainingError: objective")


def test_a_study_fails_when_its_first_trials_fail_alike(scope: Principal) -> None:
    constant = table(60, seed=1).with_columns(pl.lit(1.0).alias("y"))
    study = run_study(ask_for_study(scope, split_id=make_ready_split(train=constant).pk, n_trials=50))

    job = Job.objects.get(pk=study.job_id)
    assert (study.status, states_of(study), study.version) == ("failed", ["fail"] * 3, None)
    assert "TrainingError" in study.error
    assert (job.state, job.attempt) == (JobState.FAILED, 1)
    (told,) = news("experiments.study_failed")
    assert told["study_id"] == str(study.pk)


def test_a_study_without_a_complete_trial_fails(scope: Principal) -> None:
    study = run_study(
        ask_for_study(scope, search_space={"objective": "poisson", "num_leaves": {"type": "int", "low": 4, "high": 8}}, n_trials=2)
    )

    assert (study.status, states_of(study)) == ("failed", ["fail", "fail"])
    assert "No trial was completed" in study.error


def test_bad_trials_are_pruned_at_their_reports(scope: Principal) -> None:
    rates = {"type": "categorical", "choices": [0.3, 0.31, 0.32, 0.33, 0.34, 0.001, 0.0011]}
    space = {"n_estimators": 20, "early_stopping_rounds": 0, "learning_rate": rates, "min_child_samples": 5}

    study = run_study(ask_for_study(scope, sampler="random", pruner="median", seed=3, search_space=space, n_trials=16))

    pruned = [trial for trial in trials_of(study) if trial.state == TrialState.PRUNED]
    assert {trial.params["learning_rate"] for trial in pruned} & {0.001, 0.0011}
    assert all(len(trial.intermediate_values) < 20 and trial.value is not None for trial in pruned)
    assert study.best_number not in [trial.number for trial in pruned]


def test_hyperband_prunes_too(scope: Principal) -> None:
    space = {"n_estimators": 27, "early_stopping_rounds": 0, "min_child_samples": 5} | {
        "learning_rate": {"type": "float", "low": 0.001, "high": 0.5, "log": True}
    }

    study = run_study(ask_for_study(scope, sampler="random", pruner="hyperband", search_space=space, n_trials=12))

    assert "pruned" in states_of(study)


@pytest.mark.parametrize(
    ("algorithm", "space"),
    [
        ("catboost", {"iterations": 5, "depth": {"type": "int", "low": 2, "high": 3}}),
        ("xgboost", {"n_estimators": 5, "max_depth": {"type": "int", "low": 2, "high": 3}}),
        ("sklearn", {"kind": "linear", "C": {"type": "float", "low": 0.1, "high": 1.0}}),
    ],
)
def test_every_library_searches_classes(scope: Principal, algorithm: str, space: dict[str, Any]) -> None:
    split = make_ready_split("classification")

    study = run_study(ask_for_study(scope, split_id=split.pk, algorithm=algorithm, metric="roc_auc", search_space=space, n_trials=2))

    assert study.version is not None
    assert (study.status, study.direction, study.version.algorithm) == ("completed", "maximize", algorithm)
    assert study.best_value == max(trial.value for trial in trials_of(study))
    assert 0.5 < study.version.metrics["test_roc_auc"] <= 1


def test_a_warm_start_tries_the_best_of_an_earlier_study_first(scope: Principal) -> None:
    split = make_ready_split()
    earlier = run_study(ask_for_study(scope, name="Earlier", split_id=split.pk, n_trials=4))

    warm = run_study(ask_for_study(scope, name="Warm", split_id=split.pk, n_trials=3, warm_start_from=earlier.pk, seed=9))

    ranked = sorted(trials_of(earlier), key=lambda trial: trial.value)
    assert [trial.params for trial in trials_of(warm)] == [trial.params for trial in ranked[:3]]
    assert (warm.best_value, warm.finished_trials) == (earlier.best_value, 3)
    assert warm.warm_start_id == earlier.pk


STEPPED = {"n_estimators": 4, "learning_rate": {"type": "float", "low": 0.1, "high": 0.7, "step": 0.1}}
LEAVES = {"num_leaves": {"type": "int", "low": 4, "high": 8, "step": 2}}


@pytest.mark.parametrize(("asked", "expected"), [(None, 21), (4, 9), (18, 21)])
def test_a_grid_with_a_warm_start_tries_every_point_once(scope: Principal, asked: int | None, expected: int) -> None:
    """Trials that wait from the start take none of its budget, and what they try is not tried again."""
    split = make_ready_split()
    space = STEPPED | LEAVES
    earlier = run_study(ask_for_study(scope, name="Earlier", split_id=split.pk, search_space=space, n_trials=6, sampler="random"))
    best = sorted(trials_of(earlier), key=lambda trial: trial.value)[:5]

    warm = ask_for_study(
        scope, name="Warm", split_id=split.pk, sampler="grid", search_space=space, n_trials=asked, warm_start_from=earlier.pk
    )
    warm = run_study(warm)

    tried = [(round(trial.params["learning_rate"], 6), trial.params["num_leaves"]) for trial in trials_of(warm)]
    taken = {(round(trial.params["learning_rate"], 6), trial.params["num_leaves"]) for trial in best}
    assert len(set(tried)) == len(tried)
    assert (len(tried), warm.n_trials) == (expected - (5 - len(taken)) * (asked == 4),) * 2
    assert set(tried[: len(taken)]) == taken


def test_a_warm_start_leaves_out_what_the_new_space_could_not_have(scope: Principal) -> None:
    split = make_ready_split()
    earlier = run_study(ask_for_study(scope, name="Earlier", split_id=split.pk, n_trials=3))
    narrow = {"n_estimators": 5, "learning_rate": {"type": "float", "low": 0.9, "high": 1.0}}

    warm = ask_for_study(scope, name="Warm", split_id=split.pk, search_space=narrow, warm_start_from=earlier.pk)

    assert (warm.last_trial_number, len(warm.user_attrs["notes"])) == (0, 3)
    assert "outside this space" in warm.user_attrs["notes"][0]


def test_the_time_out_ends_the_search_with_what_there_is(scope: Principal, monkeypatch: pytest.MonkeyPatch) -> None:
    study = ask_for_study(scope, n_trials=500, timeout_s=30)
    finished = []
    real = study_rows.advance

    def long_ago(study: Study, to: StudyStatus, **values: Any) -> None:
        real(study, to, **values)
        finished.append(to)
        if to == StudyStatus.RUNNING:
            Study.objects.filter(pk=study.pk).update(started_at=timezone.now() - timedelta(seconds=29.3))

    monkeypatch.setattr(study_rows, "advance", long_ago)
    study = run_study(study)

    whole = states_of(study).count("complete")
    (note,) = study.user_attrs["notes"]
    assert study.status == "completed"
    assert 0 < whole <= study.finished_trials < 500
    assert note.startswith(f"Ended by its time-out after {whole} of 500 trials")
    assert f"Its time-out ended the search after {whole} of 500 trials." in sentence(study, at=timezone.now())


RATES = {"type": "float", "low": 0.1, "high": 0.3}
BOOSTINGS: list[tuple[str, dict[str, Any]]] = [
    ("lightgbm", {"n_estimators": 40, "learning_rate": RATES}),
    ("catboost", {"iterations": 40, "learning_rate": RATES}),
    ("xgboost", {"n_estimators": 40, "learning_rate": RATES}),
    ("sklearn", {"kind": "hist_gradient_boosting", "max_iter": 40, "learning_rate": RATES}),
    ("sklearn", {"kind": "random_forest", "n_estimators": 40, "max_features": RATES}),
]


def end_the_time(monkeypatch: pytest.MonkeyPatch, *, trial: int, reports: int) -> None:
    """The study's time is up once the trial has reported so often."""
    counted = {"reports": 0, "trial": -1}
    real = searching._report

    def counting(run: Any, running: Any, step: int, value: float, **options: Any) -> None:
        counted["reports"] = counted["reports"] + 1 if running.number == counted["trial"] else 1
        counted["trial"] = running.number
        real(run, running, step, value, **options)

    monkeypatch.setattr(searching, "_report", counting)
    monkeypatch.setattr(searching, "_time_is_over", lambda _run: counted["trial"] >= trial and counted["reports"] >= reports)


@pytest.mark.parametrize(("algorithm", "space"), BOOSTINGS)
def test_the_time_out_ends_the_trial_that_runs_at_its_next_report(
    scope: Principal, monkeypatch: pytest.MonkeyPatch, algorithm: str, space: dict[str, Any]
) -> None:
    study = ask_for_study(scope, algorithm=algorithm, search_space=space, n_trials=4, timeout_s=3600)
    end_the_time(monkeypatch, trial=2, reports=3)

    study = run_study(study)

    *whole, last = trials_of(study)
    assert [trial.state for trial in whole] == ["complete", "complete"]
    assert (last.number, last.state, last.value, last.error) == (2, "fail", None, "The study's time was up.")
    assert len(last.intermediate_values) == 3
    assert (study.status, study.version is not None) == ("completed", True)
    assert study.user_attrs["notes"] == ["Ended by its time-out after 2 of 4 trials; the one that ran was stopped."]
    assert "Its time-out ended the search after 2 of 4 trials." in sentence(study, at=timezone.now())


def test_a_trial_stopped_by_the_clock_that_was_the_last_is_told_all_the_same(scope: Principal, monkeypatch: pytest.MonkeyPatch) -> None:
    study = ask_for_study(scope, n_trials=2, timeout_s=3600)
    end_the_time(monkeypatch, trial=1, reports=1)

    study = run_study(study)

    assert (study.status, states_of(study)) == ("completed", ["complete", "fail"])
    assert study.user_attrs["notes"] == ["Ended by its time-out after 1 of 2 trials; the one that ran was stopped."]


def test_a_time_out_within_the_first_trial_fails_the_study(scope: Principal, monkeypatch: pytest.MonkeyPatch) -> None:
    study = ask_for_study(scope, timeout_s=3600)
    end_the_time(monkeypatch, trial=0, reports=1)

    study = run_study(study)

    assert (study.status, states_of(study), study.error) == ("failed", ["fail"], "No trial was completed in time.")


def test_an_algorithm_without_iterations_ends_its_trial_after_the_time_out(scope: Principal, monkeypatch: pytest.MonkeyPatch) -> None:
    study = ask_for_study(scope, algorithm="sklearn", search_space={"kind": "linear"}, n_trials=3, timeout_s=3600)
    looked: list[bool] = []
    monkeypatch.setattr(searching, "_time_is_over", lambda _run: looked.append(True) or len(looked) > 1)

    study = run_study(study)

    assert (study.status, states_of(study), trials_of(study)[0].intermediate_values) == ("completed", ["complete"], {})
    assert study.user_attrs["notes"] == ["Ended by its time-out after 1 of 3 trials."]


def test_a_study_that_ran_all_its_trials_was_ended_by_no_time_out(scope: Principal) -> None:
    study = run_study(ask_for_study(scope, n_trials=2, timeout_s=3600))

    assert (study.status, study.user_attrs.get("notes", [])) == ("completed", [])
    assert "time-out" not in sentence(study, at=timezone.now())


def test_a_time_out_before_the_first_trial_fails_the_study(scope: Principal) -> None:
    study = ask_for_study(scope, timeout_s=5)
    Study.objects.filter(pk=study.pk).update(status=StudyStatus.RUNNING, started_at=timezone.now() - timedelta(minutes=1))

    study = run_study(study)

    assert (study.status, study.error) == ("failed", "The time was over before the first trial.")


def test_an_orphaned_trial_is_begun_anew_and_nothing_finished_is_run_twice(scope: Principal) -> None:
    split = make_ready_split()
    whole = run_study(ask_for_study(scope, name="Whole", split_id=split.pk, n_trials=4))
    study = ask_for_study(scope, name="Killed", split_id=split.pk, n_trials=4)
    _leave_as_killed(study, whole, finished=2)

    study = run_study(study)

    assert [(one.number, one.params, one.value) for one in trials_of(study)] == [
        (one.number, one.params, one.value) for one in trials_of(whole)
    ]
    assert (study.status, study.finished_trials, study.best_value) == ("completed", 4, whole.best_value)
    assert trials_of(study)[0].attempt == 1
    assert trials_of(study)[2].attempt == 2


def test_a_trial_whose_worker_died_twice_has_failed(scope: Principal) -> None:
    split = make_ready_split()
    whole = run_study(ask_for_study(scope, name="Whole", split_id=split.pk, n_trials=3))
    study = ask_for_study(scope, name="Killed", split_id=split.pk, n_trials=3)
    _leave_as_killed(study, whole, finished=1)
    Trial.objects.filter(study=study, number=1).update(system_attrs={"restarts": 1})

    study = run_study(study)

    assert (study.status, states_of(study), study.finished_trials) == ("completed", ["complete", "fail", "complete"], 3)
    assert "again" in trials_of(study)[1].error


def _leave_as_killed(study: Study, whole: Study, *, finished: int) -> None:
    """As a worker of the first attempt leaves it that dies in the trial after `finished`."""
    Job.objects.filter(pk=study.job_id).update(attempt=1)
    for trial in trials_of(whole)[:finished]:
        values = {"params": trial.params, "distributions": trial.distributions, "intermediate_values": trial.intermediate_values}
        Trial.objects.create(
            study=study, number=trial.number, state=trial.state, value=trial.value, job_id=study.job_id, attempt=1,
            system_attrs=trial.system_attrs, finished_at=NOON, started_at=NOON, **values,
        )  # fmt: skip
    best = min(trials_of(whole)[:finished], key=lambda trial: trial.value)
    Trial.objects.create(study=study, number=finished, state=TrialState.RUNNING, job_id=study.job_id, attempt=1, started_at=NOON)
    Study.objects.filter(pk=study.pk).update(
        status=StudyStatus.RUNNING, started_at=timezone.now(), last_trial_number=finished + 1, finished_trials=finished,
        best_value=best.value, best_number=best.number,
    )  # fmt: skip


def test_a_study_that_gets_on_may_lose_its_worker_more_often_than_it_may_fail(scope: Principal) -> None:
    study = ask_for_study(scope, n_trials=2)
    Job.objects.filter(pk=study.job_id).update(attempt=2)

    run_study(study)

    job = Job.objects.get(pk=study.job_id)
    assert (job.attempt, job.max_attempts) == (3, 5)


def test_the_last_of_several_workers_concludes_alone(scope: Principal) -> None:
    study = ask_for_study(scope, n_trials=4, workers=3)
    first, *others = study_rows.open_jobs(study)

    study = run_study(study)

    results = [Job.objects.get(pk=job.pk).result for job in (first, *others)]
    assert [("version" in result) for result in results] == [False, False, True]
    assert (study.status, study.finished_trials, ModelVersion.objects.count()) == ("completed", 4, 1)


def test_a_study_under_an_approved_proposal_sets_it_in_progress(scope: Principal, principal: Any) -> None:
    proposal = proposing.propose(
        experiment_name="Tune", hypothesis="Better", experiment_type="hyperparameter", by=principal("data_scientist"), at=NOON
    )
    with pytest.raises(InvalidField) as early:
        ask_for_study(scope, proposal_id=proposal.pk)
    deciding.approve(experiment_id=proposal.pk, by=scope, at=NOON)

    study = run_study(ask_for_study(scope, proposal_id=proposal.pk))

    proposal.refresh_from_db()
    assert study.version is not None
    assert early.value.field == "proposal_id"
    assert proposal.status == "in_progress"
    assert study.version.lineage["experiment"] == str(proposal.pk)


def test_a_cancelled_study_that_no_worker_holds_ends_at_once(scope: Principal) -> None:
    study = ask_for_study(scope, workers=2)

    cancelled = cancel_study(study_id=study.pk, by=scope, at=NOON)

    assert cancelled.status == "cancelled"
    assert not study_rows.open_jobs(study)
    assert run_study(study).status == "cancelled"


def test_a_cancelled_study_of_a_dead_worker_ends_with_its_job(scope: Principal) -> None:
    study = ask_for_study(scope)
    Study.objects.filter(pk=study.pk).update(status=StudyStatus.RUNNING, last_trial_number=1)
    Job.objects.filter(pk=study.job_id).update(state=JobState.RUNNING, attempt=1, lease_expires_at=NOON)
    Trial.objects.create(study=study, number=0, state=TrialState.RUNNING, job_id=study.job_id, attempt=1, started_at=NOON)

    waiting = cancel_study(study_id=study.pk, by=scope, at=NOON).status
    jobs.take_up_abandoned()
    follow_cancelled_job(JobCancelled(job_id=str(study.job_id), kind=study_rows.SEARCH_JOB, label=""))

    study.refresh_from_db()
    assert (waiting, study.status, states_of(study)) == ("running", "cancelled", ["fail"])


def test_a_study_whose_job_is_cancelled_at_its_conclusion_makes_no_version(scope: Principal, monkeypatch: pytest.MonkeyPatch) -> None:
    study = ask_for_study(scope)
    real = study_conclusion.try_out

    def cancelled_meanwhile(*given: Any) -> Any:
        jobs.cancel(job=Job.objects.get(pk=study.job_id), at=NOON, by=scope)
        return real(*given)

    monkeypatch.setattr(study_conclusion, "try_out", cancelled_meanwhile)
    study = run_study(study)

    assert (study.status, Job.objects.get(pk=study.job_id).state, ModelVersion.objects.count()) == ("cancelled", JobState.CANCELLED, 0)


def test_a_study_that_is_cancelled_while_it_fails_is_cancelled(scope: Principal, monkeypatch: pytest.MonkeyPatch) -> None:
    study = ask_for_study(scope)

    def fails_too_late(*_: Any) -> Any:
        cancel_study(study_id=study.pk, by=scope, at=NOON)
        raise jobs.JobRefused("No trial was completed.")

    monkeypatch.setattr(searching, "conclude", fails_too_late)
    study = run_study(study)

    assert (study.status, study.error, Job.objects.get(pk=study.job_id).state) == ("cancelled", "", JobState.CANCELLED)


def test_a_study_fails_with_the_last_of_its_jobs(scope: Principal) -> None:
    study = ask_for_study(scope, workers=2)
    Study.objects.filter(pk=study.pk).update(status=StudyStatus.RUNNING)
    first, second = study_rows.open_jobs(study)

    statuses = []
    for job in (first, second):
        Job.objects.filter(pk=job.pk).update(state=JobState.FAILED)
        follow_failed_job(JobFailed(job_id=str(job.pk), kind=study_rows.SEARCH_JOB, label="", error="The worker died.", attempts=3))
        study.refresh_from_db()
        statuses.append(study.status)

    assert statuses == ["running", "failed"]
    assert study.error == "The worker died."


@pytest.mark.parametrize("workers", [1, 2])
def test_what_dead_workers_have_found_is_not_lost(scope: Principal, workers: int) -> None:
    split = make_ready_split()
    whole = run_study(ask_for_study(scope, name="Whole", split_id=split.pk, n_trials=5))
    study = ask_for_study(scope, name="Killed", split_id=split.pk, n_trials=5, workers=workers)
    _leave_as_killed(study, whole, finished=2)

    for job in study_rows.open_jobs(study):
        _die_for_good(job)
    study = run_study(study)

    assert study.version is not None
    assert (study.status, states_of(study), study.finished_trials) == ("completed", ["complete", "complete", "fail"], 3)
    assert study.version.lineage["trial"] == min(trials_of(whole)[:2], key=lambda trial: trial.value).number
    assert study.user_attrs["notes"] == ["Its workers died before all trials were run: The worker died."]


def test_a_conclusion_that_kills_its_worker_too_fails_the_study(scope: Principal) -> None:
    split = make_ready_split()
    whole = run_study(ask_for_study(scope, name="Whole", split_id=split.pk))
    study = ask_for_study(scope, name="Killed", split_id=split.pk)
    _leave_as_killed(study, whole, finished=2)

    for _ in range(2):
        (job,) = study_rows.open_jobs(study)
        _die_for_good(job)

    study.refresh_from_db()
    assert (study.status, study.error, study_rows.open_jobs(study)) == ("failed", "The worker died.", [])


def _die_for_good(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(state=JobState.FAILED)
    for _ in range(2):  # news may come twice
        follow_failed_job(JobFailed(job_id=str(job.pk), kind=study_rows.SEARCH_JOB, label="", error="The worker died.", attempts=3))


def test_parts_that_were_changed_are_not_learnt_from(scope: Principal) -> None:
    split = make_ready_split()
    study = ask_for_study(scope, split_id=split.pk)
    split.parts["train"]["sha256"] = "0" * 64
    split.save()

    study = run_study(study)

    assert (study.status, states_of(study)) == ("failed", [])
    assert "digest" in study.error


def test_a_test_part_with_a_class_of_its_own_is_told_and_does_not_fail_the_study(scope: Principal) -> None:
    odd = table(40, seed=9, task="classification").with_columns(pl.lit("maybe").alias("y"))
    split = make_ready_split("classification", test=odd)

    study = run_study(ask_for_study(scope, split_id=split.pk, metric="roc_auc", n_trials=2))

    assert study.version is not None
    assert study.version.metrics["tier"] == "unrated"
    assert "test part could not be measured" in study.user_attrs["notes"][0]
