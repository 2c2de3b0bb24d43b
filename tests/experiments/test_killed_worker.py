"""A worker process killed by SIGKILL in the middle of a retraining: what is there afterwards, and that the next attempt completes it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.db import connection, transaction

from experiments.services.retraining import request_retrain
from mlops.artifacts.storage import storage
from mlops.audit.services import verify
from mlops.jobs import runner, services
from mlops.jobs.models import Job, JobState
from mlops.tenancy.roles import Principal
from registry.models import ModelVersion, RetrainingRun
from registry.states import Trigger
from tests.experiments.chain import NOON, make_chain_model

pytestmark = pytest.mark.django_db(transaction=True)

WORKER = """
import sys, time
from datetime import timedelta
from uuid import UUID
import django
django.setup()
from experiments import jobs as work
from experiments.services import training
from mlops.jobs import runner, services
services.LEASE, services.HEARTBEAT = timedelta(seconds=1.5), timedelta(seconds=0.3)

def stop_here(*_):
    print("here", flush=True)
    time.sleep(120)

where, job_id = sys.argv[1:]
if where == "training":
    share = training._share
    training._share = lambda *given: lambda fraction, text: stop_here() if text.startswith("training on") else share(*given)(fraction, text)
elif where == "registered":
    training._conclude = stop_here
elif where == "committed":
    retrain = runner._work["retrain"]
    runner._work["retrain"] = lambda attempt: (retrain(attempt), stop_here())
runner.run(job_id=UUID(job_id), attempts=0)
"""


@pytest.fixture
def retraining(scope: Principal, tmp_path: Path) -> RetrainingRun:
    """A retraining that was asked for; its job waits."""
    with transaction.atomic():
        model = make_chain_model(tmp_path, scope)
        return request_retrain(model=model, trigger=Trigger.MANUAL, by=scope, at=NOON)


def kill_worker(run: RetrainingRun, *, where: str) -> None:
    """Let another process do the job and kill it when it has come there."""
    environment = {**os.environ, "DATABASE_URL": _url_of_test_database(), "VAR_DIR": str(settings.VAR_DIR)}
    environment |= {"DJANGO_SETTINGS_MODULE": "mlops.settings_test", "LOG_LEVEL": "ERROR"}
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, where, str(run.job_id)], cwd=settings.BASE_DIR, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "here\n"
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.communicate(timeout=20)


def _url_of_test_database() -> str:
    name = connection.settings_dict["NAME"]
    if connection.vendor == "sqlite":
        return f"sqlite:///{name}"
    return urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}").geturl()


def take_up() -> int:
    """Wait for the lease to run out and take the job up, as the relay does."""
    deadline = time.monotonic() + 15
    while not (taken := services.take_up_abandoned()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return taken


@transaction.atomic
def standing() -> list[tuple[str, str]]:
    return [(version.version, version.status) for version in ModelVersion.objects.order_by("number")]


@pytest.mark.parametrize("where", ["training", "registered"])
def test_a_killed_attempt_leaves_no_version_and_the_next_one_completes(retraining: RetrainingRun, where: str) -> None:
    kill_worker(retraining, where=where)
    left = standing()
    abandoned = take_up()
    waiting = Job.objects.get(pk=retraining.job_id)

    runner.run(job_id=waiting.pk, attempts=waiting.attempt)

    with transaction.atomic():
        retraining.refresh_from_db()
        kept = {version.artifact_path for version in ModelVersion.objects.all()}
        chain = verify()
    assert (left, abandoned) == ([("v1", "champion")], 1)
    assert (waiting.state, waiting.attempt) == (JobState.QUEUED, 1)
    assert "stopped answering" in waiting.last_error
    assert standing() == [("v1", "deprecated"), ("v2", "champion")]
    assert (retraining.status, retraining.version_produced, chain.intact) == ("completed", "v2", True)
    assert set(storage().list(f"models/{retraining.customer_id}/demand")) == kept


def test_a_worker_killed_after_the_commit_has_ended_the_job(retraining: RetrainingRun) -> None:
    kill_worker(retraining, where="committed")

    job = Job.objects.get(pk=retraining.job_id)
    runner.run(job_id=job.pk, attempts=job.attempt)

    with transaction.atomic():
        retraining.refresh_from_db()
    assert (job.state, job.lease_expires_at, services.take_up_abandoned()) == (JobState.SUCCEEDED, None, 0)
    assert (retraining.status, job.result["version"]) == ("completed", "v2")
    assert standing() == [("v1", "deprecated"), ("v2", "champion")]
