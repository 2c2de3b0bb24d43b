"""Real worker processes: two that share a study, one that is killed in the middle of a trial, one that is told to stop."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import optuna
import pytest
from django.conf import settings
from django.db import connection, transaction

from experiments.models import Study, Trial
from experiments.services.studies import cancel_study
from experiments.services.study_rows import open_jobs
from experiments.services.trial_rows import BudgetSpent, Owner
from experiments.services.trial_storage import TrialStorage
from mlops.audit.services import verify
from mlops.database.reading import reading
from mlops.jobs import runner, services
from mlops.jobs.models import Job, JobState
from mlops.lifecycle.mechanism import IllegalMove
from mlops.lifecycle.models import Move
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Principal
from registry.models import ModelVersion
from tests.conftest import NOON
from tests.experiments.training.studying import ask_for_study, make_ready_split, make_study, run_study
from tests.registry.test_races import at_once

pytestmark = pytest.mark.django_db(transaction=True)

WORKER = """
import sys, time
from datetime import timedelta
from uuid import UUID
import django
django.setup()
from experiments import jobs_training
from experiments.services.study_objectives import TabularObjective
from mlops.jobs import runner, services
services.LEASE, services.HEARTBEAT = timedelta(seconds=1.5), timedelta(seconds=0.3)
where, job_id = sys.argv[1:]
begun, real = 0, TabularObjective.__call__

def held(self, params, report):
    global begun
    begun += 1
    if where == "together" and begun == 1 or where == "hang" and begun == 3:
        print("here", flush=True)
        sys.stdin.readline()
    if where == "slow":
        print("here", flush=True)
        def slowly(step, value):
            time.sleep(0.2)
            report(step, value)
        return real(self, params, slowly)
    return real(self, params, report)

TabularObjective.__call__ = held
runner.run(job_id=UUID(job_id), attempts=0)
"""
SPACE = {"n_estimators": 40, "early_stopping_rounds": 0, "learning_rate": {"type": "float", "low": 0.05, "high": 0.5}}


@contextmanager
def worker(job: Job, where: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that does the job, held where it is told to be."""
    environment = {**os.environ, "DATABASE_URL": _url_of_test_database(), "VAR_DIR": str(settings.VAR_DIR)}
    environment |= {"DJANGO_SETTINGS_MODULE": "mlops.settings_test", "LOG_LEVEL": "ERROR"}
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", WORKER, where, str(job.pk)]
    process = subprocess.Popen(command, cwd=settings.BASE_DIR, env=environment, stdin=pipe, stdout=pipe, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=20)


def _url_of_test_database() -> str:
    name = connection.settings_dict["NAME"]
    if connection.vendor == "sqlite":
        return f"sqlite:///{name}"
    return urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}").geturl()


def arrived(process: subprocess.Popen[str]) -> bool:
    """Wait until the process has come where it is held."""
    assert process.stdout is not None
    return process.stdout.readline() == "here\n"


def go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    print(file=process.stdin, flush=True)


@transaction.atomic
def asked(by: Principal, **values: Any) -> Study:
    return ask_for_study(by, search_space=SPACE, **values)


@transaction.atomic
def trials_of(study: Study) -> list[Trial]:
    return list(Trial.objects.filter(study=study).order_by("number"))


def test_two_workers_share_a_study_and_one_concludes(scope: Principal) -> None:
    study = asked(scope, n_trials=8, workers=2)
    first, second = open_jobs(study)

    with worker(first, "together") as one, worker(second, "together") as other:
        assert arrived(one)
        assert arrived(other)
        go_on(one)
        go_on(other)
        codes = (one.wait(60), other.wait(60))

    trials = trials_of(study)
    with reading():
        study.refresh_from_db()
        versions = ModelVersion.objects.count()
    assert codes == (0, 0)
    assert [(trial.number, trial.state) for trial in trials] == [(number, "complete") for number in range(8)]
    assert {trial.job_id for trial in trials} == {first.pk, second.pk}
    assert len({trial.params["learning_rate"] for trial in trials}) == 8
    assert (study.status, study.finished_trials, versions) == ("completed", 8, 1)
    assert study.best_value == min(trial.value for trial in trials)


def test_a_worker_killed_in_a_trial_loses_that_trial_alone(scope: Principal) -> None:
    with transaction.atomic():
        split = make_ready_split()
    undisturbed = asked(scope, name="Undisturbed", split_id=split.pk, n_trials=5)
    with reading():
        run_study(undisturbed)
    study = asked(scope, name="Killed", split_id=split.pk, n_trials=5)
    (job,) = open_jobs(study)

    with worker(job, "hang") as process:
        assert arrived(process)
        process.send_signal(signal.SIGKILL)
        process.wait(20)
    left = [trial.state for trial in trials_of(study)]
    _take_up()
    _attempt(job)

    with reading():
        study.refresh_from_db()
    assert left == ["complete", "complete", "running"]
    assert [trial.attempt for trial in trials_of(study)] == [1, 1, 2, 2, 2]
    assert [(one.params, one.value) for one in trials_of(study)] == [(one.params, one.value) for one in trials_of(undisturbed)]
    assert (study.status, study.finished_trials) == ("completed", 5)


def test_a_running_study_is_cancelled_within_its_trial(scope: Principal) -> None:
    study = asked(scope, n_trials=100)
    (job,) = open_jobs(study)

    with worker(job, "slow") as process:
        assert arrived(process)
        with reading():
            waiting = cancel_study(study_id=study.pk, by=scope, at=NOON).status
        process.wait(60)

    (trial,) = trials_of(study)
    job.refresh_from_db()
    with reading():
        study.refresh_from_db()
    assert (waiting, study.status, job.state) == ("running", "cancelled", JobState.CANCELLED)
    assert (trial.state, trial.error, study.finished_trials) == ("fail", "The study was cancelled.", 1)
    assert len(trial.intermediate_values) < 20  # of 40


def test_trials_claimed_at_once_have_no_gap(scope: Principal) -> None:
    with transaction.atomic():
        study = make_study(n_trials=30)

    def claim() -> list[int]:
        with acting(scope):
            storage = TrialStorage(study, owner=Owner(study.pk, 1), chained=True)
            claimed = []
            try:
                while True:
                    claimed.append(storage.create_new_trial(0))
                    storage.set_trial_state_values(claimed[-1], optuna.trial.TrialState.COMPLETE, [float(-claimed[-1])])
            except BudgetSpent:
                storage.settle()
            return claimed

    found = at_once(*[claim] * 4)

    with reading():
        study.refresh_from_db()
    assert sorted(number for claimed in found for number in claimed) == list(range(30))
    assert (study.last_trial_number, study.finished_trials, study.best_number, study.best_value) == (30, 30, 29, -29.0)


def test_cancellations_and_the_last_trials_at_once_end_a_study_once(scope: Principal) -> None:
    for _ in range(3):
        study = asked(scope, n_trials=2)
        (job,) = open_jobs(study)

        def work(job: Job = job) -> str:
            runner.run(job_id=job.pk, attempts=0)
            return "ran"

        def cancel(study: Study = study) -> str:
            try:
                with acting(scope):
                    return cancel_study(study_id=study.pk, by=scope, at=NOON).status
            except IllegalMove:
                return "late"

        at_once(work, cancel, cancel)

        with reading():
            study.refresh_from_db()
            ends = list(Move.objects.filter(stream_id=study.pk).exclude(target="running").values_list("target", flat=True))
            versions = ModelVersion.objects.filter(lineage__study=str(study.pk)).count()
        assert (ends, versions) in ((["cancelled"], 0), (["completed"], 1))
        assert study.status == ends[0]
    assert verify().intact


def _take_up() -> None:
    """Wait for the lease to run out and take the job up, as the relay does."""
    deadline = time.monotonic() + 15
    while not services.take_up_abandoned() and time.monotonic() < deadline:
        time.sleep(0.1)


def _attempt(job: Job) -> None:
    job.refresh_from_db()
    runner.run(job_id=job.pk, attempts=job.attempt)
