"""Stopping jobs: before they begin, while they run, at their last moment."""

import time
from collections.abc import Callable
from datetime import timedelta
from threading import Event as ThreadEvent
from typing import Any

import pytest
from rest_framework.test import APIClient

from mlops.audit.models import AuditEvent
from mlops.audit.services import record
from mlops.jobs import runner, services
from mlops.jobs.models import Job, JobState
from mlops.jobs.runner import Attempt
from mlops.jobs.services import AlreadyEnded
from mlops.tenancy.context import customer as scoped
from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Forbidden, Principal, Role, system
from tests.conftest import NOON
from tests.mlops.helpers import in_threads, topics
from tests.mlops.jobbing import do, expire, make_job

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_kinds")]


@pytest.mark.django_db(transaction=True)
def test_the_heart_beats_beside_the_work_and_carries_the_wish_to_stop(customer: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "HEARTBEAT", timedelta(seconds=0.05))
    job = make_job(customer)

    def long_work(attempt: Attempt) -> dict[str, Any]:
        with acting(system(customer.pk)):
            services.cancel(job=job, at=NOON, by=system(customer.pk))
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            attempt.progress(0.1, "step")
            time.sleep(0.05)
        return {}

    do(long_work, job)

    assert (job.state, topics(customer)) == (JobState.CANCELLED, ["jobs.cancelled"])


def test_an_acknowledged_wish_to_stop_comes_before_the_outputs(customer: Customer) -> None:
    job = make_job(customer)

    def at_its_last_step(attempt: Attempt) -> dict[str, Any]:
        services.cancel(job=job, at=NOON, by=system(customer.pk))
        with attempt.fenced():
            record(action="output", target=customer, label="x", at=NOON)
            attempt.finish({"made": 1})
        return {}

    do(at_its_last_step, job)

    with scoped(customer.pk):
        assert not AuditEvent.objects.filter(action="output").exists()
    assert (job.state, job.result, topics(customer)) == (JobState.CANCELLED, {}, ["jobs.cancelled"])


def test_an_acknowledged_wish_to_stop_comes_before_a_good_end(customer: Customer) -> None:
    job = make_job(customer)

    do(lambda attempt: {"asked": bool(services.cancel(job=job, at=NOON, by=system(customer.pk)))}, job)

    assert (job.state, job.result, topics(customer)) == (JobState.CANCELLED, {}, ["jobs.cancelled"])


@pytest.mark.postgres_only
@pytest.mark.django_db(transaction=True)
def test_a_wish_to_stop_waits_for_outputs_that_are_being_written(customer: Customer) -> None:
    job = make_job(customer)
    written = ThreadEvent()
    told: list[Exception] = []

    def act(number: int) -> None:
        if number == 0:
            runner.job(job.kind)(outputs)
            runner.run(job_id=job.pk, attempts=0)
        else:
            written.wait(20)
            with pytest.raises(AlreadyEnded) as refused:
                services.cancel(job=job, at=NOON, by=system(customer.pk))
            told.append(refused.value)

    def outputs(attempt: Attempt) -> dict[str, Any]:
        with attempt.fenced():
            record(action="output", target=customer, label="x", at=NOON)
            written.set()
            time.sleep(0.3)  # the other asks meanwhile
            attempt.finish({"made": 1})
        return {}

    raised = in_threads(2, act)

    job.refresh_from_db()
    assert (raised, len(told), job.state, job.result) == ([], 1, JobState.SUCCEEDED, {"made": 1})


def test_cancelling_a_queued_job_ends_it_and_leaves_a_trace(customer: Customer) -> None:
    job = make_job(customer)

    services.cancel(job=job, at=NOON, by=system(customer.pk))
    with pytest.raises(AlreadyEnded):
        services.cancel(job=job, at=NOON, by=system(customer.pk))

    assert (job.state, services.start(job_id=job.pk, attempts=0), topics(customer)) == (JobState.CANCELLED, None, ["jobs.cancelled"])
    with scoped(customer.pk):
        assert AuditEvent.objects.filter(action="job.cancelled").count() == 1


def test_a_job_somebody_wants_stopped_is_not_tried_again(customer: Customer) -> None:
    job = make_job(customer)
    services.start(job_id=job.pk, attempts=0)
    services.cancel(job=job, at=NOON, by=system(customer.pk))
    expire(job)

    services.take_up_abandoned()

    job.refresh_from_db()
    assert job.state == JobState.CANCELLED


def test_an_ended_job_cannot_be_cancelled(customer: Customer) -> None:
    job = do(lambda attempt: {}, make_job(customer))

    with pytest.raises(AlreadyEnded, match="it is succeeded"):
        services.cancel(job=job, at=NOON, by=system(customer.pk))

    job.refresh_from_db()
    assert (job.state, job.cancel_requested_at) == (JobState.SUCCEEDED, None)


def test_a_job_is_cancelled_by_api_until_it_has_ended(api: Callable[..., APIClient], customer: Customer) -> None:
    waiting, running = make_job(customer), make_job(customer)
    services.start(job_id=running.pk, attempts=0)
    client = api("data_scientist")
    url = "/api/v1/jobs/{}/cancel"

    refused = client.post(url.format(waiting.pk), {"force": True})
    stopping = [client.post(url.format(running.pk), body) for body in (None, {})]
    ended, again = (client.post(url.format(waiting.pk)) for _ in range(2))

    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "force")
    assert [(one.status_code, one.json()["status"]) for one in stopping] == [(200, "running")] * 2
    assert (ended.status_code, ended.json()["status"]) == (200, "cancelled")
    problem = again.json()
    assert (again.status_code, problem["code"], problem["current"]) == (409, "already_ended", "cancelled")
    assert problem["finished_at"] == ended.json()["finished_at"]


def test_cancelling_needs_the_right_and_the_customer(customer: Customer, other_customer: Customer) -> None:
    job = make_job(customer)

    with pytest.raises(Forbidden):
        services.cancel(job=job, at=NOON, by=Principal("user", "kim", Role.VIEWER, customer.pk))
    with pytest.raises(Job.DoesNotExist):
        services.cancel(job=job, at=NOON, by=system(other_customer.pk))
