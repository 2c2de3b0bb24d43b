"""A job ends, once, whatever dies meanwhile."""

import time
from collections.abc import Callable
from datetime import timedelta
from threading import Event as ThreadEvent
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from mlops.audit.models import AuditEvent
from mlops.audit.services import record
from mlops.jobs import runner, services
from mlops.jobs.models import Job, JobState
from mlops.jobs.queries import jobs
from mlops.jobs.runner import Attempt
from mlops.jobs.services import AlreadyRunning, JobRefused, LeaseLost
from mlops.tenancy.context import customer as scoped
from mlops.tenancy.context import required
from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import system
from tests.conftest import NOON
from tests.mlops.helpers import in_threads, topics
from tests.mlops.jobbing import do, expire, make_job

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_kinds")]


def test_work_runs_for_its_customer_and_its_result_is_kept(customer: Customer) -> None:
    seen: list[Any] = []

    job = do(lambda attempt: seen.append((required(), attempt.payload, attempt.number)) or {"mae": 2.5}, make_job(customer))

    assert seen == [(customer.pk, {"n": 1}, 1)]
    assert (job.state, job.result, job.progress, job.lease_expires_at) == (JobState.SUCCEEDED, {"mae": 2.5}, 1.0, None)
    assert job.started_at is not None
    assert job.finished_at is not None


def test_the_lease_is_the_databases_time_from_now(customer: Customer) -> None:
    job = make_job(customer)

    started = services.start(job_id=job.pk, attempts=0)

    assert started is not None
    assert started.lease_expires_at is not None
    assert abs(started.lease_expires_at - timezone.now() - services.LEASE) < timedelta(seconds=5)


def test_a_job_is_claimed_once(customer: Customer) -> None:
    job = make_job(customer)

    claims = [services.start(job_id=job.pk, attempts=0) for _ in range(2)]

    assert [claim is not None for claim in claims] == [True, False]


@pytest.mark.django_db(transaction=True)
def test_workers_at_the_same_time_claim_a_job_once(customer: Customer) -> None:
    job = make_job(customer)
    claims: list[Job | None] = []

    raised = in_threads(6, lambda _: claims.append(services.start(job_id=job.pk, attempts=0)))

    assert (raised, sum(claim is not None for claim in claims)) == ([], 1)


def test_a_failing_attempt_is_tried_again_later_with_its_cause(customer: Customer) -> None:
    def broken(_: Attempt) -> dict[str, Any]:
        raise ZeroDivisionError("no rows")

    job = do(broken, make_job(customer))

    assert (job.state, job.attempt, job.lease_expires_at) == (JobState.QUEUED, 1, None)
    assert job.last_error.startswith("ZeroDivisionError: no rows (at broken, line")
    assert job.due_at > timezone.now() + services.BACKOFF / 2


def test_after_three_attempts_the_job_has_failed_and_says_so(customer: Customer) -> None:
    def broken(_: Attempt) -> dict[str, Any]:
        raise RuntimeError("always")

    job = make_job(customer)
    states = [do(broken, job).state for _ in range(4)]

    assert states == [JobState.QUEUED, JobState.QUEUED, JobState.FAILED, JobState.FAILED]
    assert (job.attempt, topics(customer)) == (3, ["jobs.failed"])


def test_failures_are_counted_anew_after_something_was_gained(customer: Customer) -> None:
    def broken(attempt: Attempt) -> dict[str, Any]:
        if attempt.number == 3:
            attempt.gained()
        raise RuntimeError("again")

    job = make_job(customer)
    states = [do(broken, job).state for _ in range(6)]

    assert states == [JobState.QUEUED] * 4 + [JobState.FAILED] * 2
    assert job.attempt == 5


def test_an_attempt_that_was_given_up_on_gains_nothing(customer: Customer) -> None:
    job = make_job(customer)
    services.start(job_id=job.pk, attempts=0)

    with pytest.raises(LeaseLost):
        services.gain(job_id=job.pk, attempt=2)


def test_a_refusal_is_final_at_once(customer: Customer) -> None:
    def refuse(_: Attempt) -> dict[str, Any]:
        raise JobRefused("The data set has no target column.")

    job = do(refuse, make_job(customer))

    assert (job.state, job.attempt, job.last_error) == (JobState.FAILED, 1, "The data set has no target column.")
    assert topics(customer) == ["jobs.failed"]


def test_an_error_that_quotes_unstorable_text_is_kept(customer: Customer) -> None:
    def refuse(attempt: Attempt) -> dict[str, Any]:
        raise JobRefused("column 'a\x00b\ud800' is missing")

    job = do(refuse, make_job(customer))

    assert job.state == JobState.FAILED
    assert job.last_error == "column 'a␀b\\ud800' is missing"


def test_an_unknown_kind_fails_in_the_end(customer: Customer) -> None:
    job = make_job(customer, kind="nobody's")
    for attempts in range(3):
        runner.run(job_id=job.pk, attempts=attempts)

    job.refresh_from_db()
    assert (job.state, "nobody's" in job.last_error) == (JobState.FAILED, True)


def test_a_dead_workers_job_is_taken_up_again(customer: Customer) -> None:
    job = make_job(customer)
    services.start(job_id=job.pk, attempts=0)
    expire(job)

    taken = services.take_up_abandoned()

    job.refresh_from_db()
    assert (taken, job.state, job.attempt) == (1, JobState.QUEUED, 1)
    assert "stopped answering during attempt 1 of 3" in job.last_error


def test_a_job_that_kills_every_worker_fails_after_three(customer: Customer) -> None:
    job = make_job(customer)
    for attempts in range(3):
        services.start(job_id=job.pk, attempts=attempts)
        expire(job)
        services.take_up_abandoned()

    job.refresh_from_db()
    assert (job.state, topics(customer)) == (JobState.FAILED, ["jobs.failed"])


def test_a_living_workers_job_is_left_alone(customer: Customer) -> None:
    services.start(job_id=make_job(customer).pk, attempts=0)

    assert services.take_up_abandoned() == 0


def test_a_heartbeat_renews_the_lease(customer: Customer) -> None:
    job = make_job(customer)
    services.start(job_id=job.pk, attempts=0)
    expire(job)

    services.keep_alive(job_id=job.pk, attempt=1)

    assert services.take_up_abandoned() == 0


def test_an_attempt_that_was_given_up_on_writes_nothing(customer: Customer) -> None:
    job = make_job(customer)

    def overtaken(attempt: Attempt) -> dict[str, Any]:
        expire(job)
        services.take_up_abandoned()
        services.start(job_id=job.pk, attempts=1)
        with attempt.fenced():
            record(action="late output", target=customer, label="x", at=NOON)
        return {}

    do(overtaken, job)

    with scoped(customer.pk):
        assert not AuditEvent.objects.filter(action="late output").exists()
    assert (job.state, job.attempt) == (JobState.RUNNING, 2)


@pytest.mark.parametrize(
    "late",
    [
        lambda job: services.report(job_id=job.pk, attempt=1, progress=0.5, text="x"),
        lambda job: services.keep_alive(job_id=job.pk, attempt=1),
        lambda job: services.succeed(job_id=job.pk, attempt=1, result={}),
    ],
)
def test_every_late_word_of_an_old_attempt_is_refused(customer: Customer, late: Callable[[Job], object]) -> None:
    job = make_job(customer)
    services.start(job_id=job.pk, attempts=0)
    expire(job)
    services.take_up_abandoned()

    with pytest.raises(LeaseLost):
        late(job)


def test_a_late_failure_of_an_old_attempt_changes_nothing(customer: Customer) -> None:
    job = make_job(customer)
    old = services.start(job_id=job.pk, attempts=0)
    assert old is not None
    expire(job)
    services.take_up_abandoned()
    services.start(job_id=job.pk, attempts=1)

    services.fail(job=old, error="late", final=True)

    job.refresh_from_db()
    assert (job.state, job.attempt, topics(customer)) == (JobState.RUNNING, 2, [])


def test_outputs_and_the_end_of_a_job_are_one_commit(customer: Customer) -> None:
    def breaks_after_its_outputs(attempt: Attempt) -> dict[str, Any]:
        with attempt.fenced():
            record(action="output", target=customer, label="x", at=NOON)
            attempt.finish({"made": 1})
        raise RuntimeError("after the commit")

    job = do(breaks_after_its_outputs, make_job(customer))

    with scoped(customer.pk):
        assert AuditEvent.objects.filter(action="output").count() == 1
    assert (job.state, job.result) == (JobState.SUCCEEDED, {"made": 1})


def test_one_open_job_per_key(customer: Customer, other_customer: Customer) -> None:
    first = make_job(customer, exclusive_key="train:demand")
    make_job(other_customer, exclusive_key="train:demand")

    with pytest.raises(AlreadyRunning) as busy:
        make_job(customer, exclusive_key="train:demand")
    services.cancel(job=first, at=NOON, by=system(customer.pk))

    assert busy.value.job == first
    assert make_job(customer, exclusive_key="train:demand").state == JobState.QUEUED


def test_a_slot_of_a_schedule_is_one_job(customer: Customer) -> None:
    make_job(customer, schedule="nightly", slot=NOON)

    with pytest.raises(IntegrityError), transaction.atomic():
        make_job(customer, schedule="nightly", slot=NOON)


def test_a_lost_message_loses_no_job(customer: Customer) -> None:
    job = make_job(customer)

    claims = [services.claim_for_publishing(at=NOON + after) for after in (timedelta(0), timedelta(0), services.REPUBLISH)]

    assert claims == [[(job.pk, 0)], [], [(job.pk, 0)]]


def test_a_late_copy_of_a_message_does_not_skip_the_back_off(customer: Customer) -> None:
    def broken(_: Attempt) -> dict[str, Any]:
        raise RuntimeError

    job = do(broken, make_job(customer))

    assert services.start(job_id=job.pk, attempts=0) is None


def test_the_list_shows_only_the_customers_jobs(customer: Customer, other_customer: Customer) -> None:
    mine = make_job(customer)
    make_job(other_customer)

    with scoped(customer.pk):
        assert list(jobs()) == [mine]


@pytest.mark.django_db(transaction=True)
def test_an_attempt_that_took_too_long_writes_nothing_more(customer: Customer, settings: Any) -> None:
    settings.JOB_ATTEMPT_SECONDS = 0.3

    def slow(attempt: Attempt) -> dict[str, Any]:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            attempt.check()
            time.sleep(0.05)
        return {}

    job = do(slow, make_job(customer))

    assert (job.state, job.attempt, job.lease_expires_at) == (JobState.QUEUED, 1, None)
    assert "took longer than the 0.3 seconds" in job.last_error


@pytest.mark.postgres_only
@pytest.mark.django_db(transaction=True)
def test_an_attempt_that_hangs_in_its_transaction_does_not_hold_up_the_relay(customer: Customer) -> None:
    hung, dead = make_job(customer), make_job(customer)
    for job in (hung, dead):
        services.start(job_id=job.pk, attempts=0)
        expire(job)
    locked, looked = ThreadEvent(), ThreadEvent()
    taken: list[int] = []

    def act(number: int) -> None:
        if number == 0:
            with acting(system(customer.pk)), services.fenced(job_id=hung.pk, attempt=1):
                locked.set()
                looked.wait(20)
        else:
            locked.wait(20)
            taken.append(services.take_up_abandoned())
            looked.set()

    raised = in_threads(2, act)

    assert (raised, taken) == ([], [1])
    assert services.take_up_abandoned() == 1


def test_long_kinds_have_a_limit_of_their_own(settings: Any) -> None:
    settings.LONG_JOBS, settings.JOB_ATTEMPT_SECONDS, settings.LONG_JOB_ATTEMPT_SECONDS = ["search"], 10, 20

    assert (runner.longest_attempt("search"), runner.longest_attempt("retrain")) == (20, 10)


def test_the_customer_with_the_fewest_jobs_under_way_comes_first(customer: Customer, other_customer: Customer, settings: Any) -> None:
    settings.JOB_PROCESSES = 2
    crowd = [make_job(customer) for _ in range(12)]

    first = services.claim_for_publishing(at=NOON)
    for job_id, attempts in first[:2]:
        services.start(job_id=job_id, attempts=attempts)
    late = make_job(other_customer)
    second = services.claim_for_publishing(at=NOON)
    for job_id, _ in first[:2]:
        services.succeed(job_id=job_id, attempt=1, result={})
    later = [make_job(other_customer) for _ in range(2)]
    third = [job_id for job_id, _ in services.claim_for_publishing(at=NOON)]

    assert len(first) == 4
    assert second == [(late.pk, 0)], "the broker has as many of the other's as it may"
    assert {one.pk for one in later} < set(third)
    assert third[0] in {one.pk for one in later}, "one of theirs is under way, two of the crowd"
    assert len({one.pk for one in crowd}.intersection(third)) == 2


def test_long_jobs_never_have_the_last_process(customer: Customer, other_customer: Customer, settings: Any) -> None:
    settings.JOB_PROCESSES, settings.LONG_JOBS = 3, ["search"]
    for _ in range(16):
        make_job(customer, kind="search")
    others = make_job(other_customer, kind="search")

    first = [job_id for job_id, _ in services.claim_for_publishing(at=NOON)]
    short = make_job(customer)
    second = services.claim_for_publishing(at=NOON)
    for job_id in first:
        services.start(job_id=job_id, attempts=0)
    services.succeed(job_id=first[0], attempt=1, result={})
    third = services.claim_for_publishing(at=NOON)

    assert (len(first), others.pk in first) == (2, True)
    assert second == [(short.pk, 0)]
    assert len(third) == 1


def test_one_process_does_long_jobs_too(customer: Customer, settings: Any) -> None:
    settings.JOB_PROCESSES, settings.LONG_JOBS = 1, ["search"]
    for _ in range(2):
        make_job(customer, kind="search")

    assert [len(services.claim_for_publishing(at=NOON)) for _ in range(2)] == [1, 0]


def test_what_waits_after_a_failure_takes_nobodys_turn(customer: Customer, settings: Any) -> None:
    settings.JOB_PROCESSES = 1
    for _ in range(2):
        job = make_job(customer)
        services.start(job_id=job.pk, attempts=0)
        job.refresh_from_db()
        services.fail(job=job, error="no", final=False)
    make_job(customer)

    assert len(services.claim_for_publishing(at=NOON)) == 1
