"""Jobs in workers of their own processes: what becomes of them when one is killed, hangs, or is not there."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone

from mlops.audit.models import AuditEvent
from mlops.jobs import services
from mlops.jobs.models import Job, JobState
from mlops.outbox import relay
from mlops.telemetry import health
from mlops.tenancy.context import customer as scoped
from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import system
from tests.mlops.helpers import topics

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def worker(queues: str = "jobs,events", **given: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Celery worker on the test's database and broker, in a process group of its own."""
    name = str(connection.settings_dict["NAME"])
    url = os.environ["DATABASE_URL"]
    database = f"sqlite:///{name}" if url.startswith("sqlite") else f"{url.rsplit('/', 1)[0]}/{name}"
    environment = {**os.environ, "DATABASE_URL": database, "DJANGO_SETTINGS_MODULE": "mlops.settings_test", "LOG_LEVEL": "WARNING", **given}
    command = [sys.executable, "-m", "celery", "-A", "tests.mlops.worker_app", "worker", "-c", "1", "-Q", queues, "-l", "WARNING"]
    options = ["--without-gossip", "--without-mingle", "-n", f"test-{time.monotonic_ns()}@here"]
    process = subprocess.Popen([*command, *options], env=environment, cwd=Path(__file__).parents[2], start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)


def request_job(customer: Customer, kind: str, folder: Path) -> Job:
    with acting(system(customer.pk)), transaction.atomic():
        payload, who = {"folder": str(folder)}, system(customer.pk)
        return services.request(kind=kind, payload=payload, label="x", by=who, at=timezone.now())


COUNTED = 'job_attempts_total{{kind="test.{kind}",outcome="{outcome}"}}'


def scraped() -> set[str]:
    """The lines of /metrics, as the web tells them, which shares nothing with the workers but the database."""
    return set(Client().get("/metrics", headers={"Authorization": "Bearer test-metrics-token"}).content.decode().splitlines())


def relay_until(condition: Callable[[], bool], *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        relay.relay_once(at=timezone.now())
        time.sleep(0.1)


def test_a_killed_workers_job_is_finished_by_the_next_one_once(customer: Customer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "BACKOFF", timedelta(seconds=0.2))
    job = request_job(customer, "test.first_attempt_hangs", tmp_path)
    with worker() as doomed:
        relay_until((tmp_path / "started-1").exists)
        os.killpg(doomed.pid, signal.SIGKILL)
        doomed.wait(20)
    killed_at = time.monotonic()

    with worker():
        relay_until(lambda: Job.objects.get(pk=job.pk).state == JobState.SUCCEEDED)
        counted = {f"{COUNTED.format(kind='first_attempt_hangs', outcome=outcome)} 1.0" for outcome in ("abandoned", "succeeded")}
        relay_until(lambda: counted <= scraped())  # an attempt is counted just after its end is written

    job.refresh_from_db()
    with scoped(customer.pk), transaction.atomic():
        outputs = list(AuditEvent.objects.filter(action="test.output").values_list("object_label", "number"))
    assert time.monotonic() - killed_at < 60
    assert outputs == [("attempt 2", job.result["event"])]
    assert (job.attempt, sorted(path.name for path in tmp_path.iterdir())) == (2, ["started-1", "started-2"])


def test_readiness_names_the_queues_that_no_worker_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    def told() -> tuple[str, list[str]]:
        monkeypatch.setattr(health, "_workers", (float("-inf"), frozenset()))
        answer = Client().get("/ready").json()
        return answer["workers"], answer["queues_without_worker"]

    def until(expected: tuple[str, list[str]]) -> None:
        relay_until(lambda: told() == expected)

    with worker("events"):
        until(("some missing", ["jobs", "deliveries"]))
        with worker("jobs"), worker("deliveries,events"):
            until(("alive", []))
        until(("some missing", ["jobs", "deliveries"]))
    until(("none alive", ["jobs", "events", "deliveries"]))


@pytest.mark.parametrize("kind", ["test.first_attempt_hangs", "test.first_attempt_holds_the_interpreter"])
def test_a_hung_attempt_ends_and_its_process_makes_room(customer: Customer, tmp_path: Path, kind: str) -> None:
    hung, behind = request_job(customer, kind, tmp_path), request_job(customer, "test.first_attempt_holds_the_interpreter", tmp_path)
    Job.objects.filter(pk=behind.pk).update(attempt=1, max_attempts=4)  # it does not hang, it waits for the worker's only process

    with worker(JOB_ATTEMPT_SECONDS="2") as only:
        relay_until(lambda: not Job.objects.filter(pk__in=[hung.pk, behind.pk]).exclude(state=JobState.SUCCEEDED).exists())
        assert only.poll() is None

    hung.refresh_from_db()
    assert hung.attempt == 2
    outcome = "overran" if kind.endswith("hangs") else "abandoned"
    assert f"{COUNTED.format(kind=kind.removeprefix('test.'), outcome=outcome)} 1.0" in scraped()


def test_a_job_that_hangs_every_time_fails_with_its_cause(customer: Customer, tmp_path: Path) -> None:
    job = request_job(customer, "test.always_hangs", tmp_path)

    with worker(JOB_ATTEMPT_SECONDS="1"):
        relay_until(lambda: Job.objects.get(pk=job.pk).state == JobState.FAILED)
        relay_until(lambda: f"{COUNTED.format(kind='always_hangs', outcome='overran')} 3.0" in scraped())

    job.refresh_from_db()
    assert (job.attempt, job.lease_expires_at) == (3, None)
    assert job.last_error.startswith("Attempt 3 was ended: it took longer than the 1 seconds that it may. It was at always_hangs, line ")
    assert "jobs.failed" in topics(customer)
