"""What is told about a running server, and to whom."""

import json
import logging
import logging.config
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
import structlog
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import OperationalError, transaction
from django.test import Client
from kombu.exceptions import OperationalError as BrokerError
from redis.exceptions import ConnectionError as RedisConnectionError

from mlops.audit.models import AuditHead
from mlops.jobs import runner
from mlops.jobs import services as jobs
from mlops.outbox.models import Message
from mlops.telemetry import counting, health
from mlops.telemetry.metrics import DIGEST_MISMATCHES
from mlops.telemetry.models import CounterValue
from mlops.tenancy.context import customer as scoped
from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import system
from tests.conftest import NOON
from tests.mlops.helpers import in_threads

pytestmark = pytest.mark.django_db

METRICS = {"Authorization": "Bearer test-metrics-token"}


@pytest.fixture(autouse=True)
def _ask_workers_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_workers", (float("-inf"), frozenset()))


def test_liveness_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_database", _raising(OperationalError("down")))

    assert Client().get("/health").json()["status"] == "ok"


def test_a_server_without_workers_is_ready_and_says_so() -> None:
    answer = Client().get("/ready")

    told = {"workers": "none alive", "queues_without_worker": ["jobs", "events", "deliveries"]}
    assert (answer.status_code, answer.json()) == (200, {"status": "ready", "failing": [], **told})


@pytest.mark.parametrize(
    ("part", "failure"),
    [
        ("database", OperationalError("password=secret host=10.0.0.1")),
        ("broker", BrokerError("redis://:secret@10.0.0.1")),
        ("broker", RedisConnectionError("10.0.0.1")),
        ("storage", OSError("/secret/path")),
    ],
)
def test_readiness_names_the_failing_part_and_no_detail(monkeypatch: pytest.MonkeyPatch, part: str, failure: Exception) -> None:
    monkeypatch.setattr(health, f"_{part}", _raising(failure))

    answer = Client().get("/ready")

    assert (answer.status_code, answer.json()["failing"], answer["Retry-After"]) == (503, [part], "2")
    assert "secret" not in answer.content.decode()
    assert "10.0.0.1" not in answer.content.decode()


def test_readiness_asks_the_workers_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def ask(found: set[str]) -> None:
        asked.append(1)
        found.update(health.QUEUES)

    monkeypatch.setattr(health, "_ask_workers", ask)

    answers = [Client().get("/ready").json()["workers"] for _ in range(5)]

    assert (answers, len(asked)) == (["alive"] * 5, 1)


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "test-metrics-token"}, {"Authorization": "Bearer \xff"}]
)
def test_metrics_are_for_holders_of_the_token(headers: dict[str, str]) -> None:
    assert Client().get("/metrics", headers=headers).status_code == 401


def test_without_a_token_nobody_reads_metrics(settings: Any) -> None:
    settings.METRICS_TOKEN = ""

    assert Client().get("/metrics", headers={"Authorization": "Bearer "}).status_code == 401


def test_metrics_tell_of_outbox_jobs_and_chains(customer: Customer) -> None:
    Message.objects.create(customer=customer, topic="t", payload={}, created_at=NOON, due_at=NOON)
    Message.objects.create(customer=customer, topic="t", payload={}, created_at=NOON - timedelta(days=1), due_at=NOON, handled_at=NOON)
    with acting(system(customer.pk)):
        jobs.request(kind="test", payload={}, label="x", by=system(customer.pk), at=NOON)
    with scoped(customer.pk):
        head = AuditHead.objects.get()

    text = Client().get("/metrics", headers=METRICS).content.decode()

    assert "outbox_pending 1.0" in text
    assert 'jobs{state="queued"} 1.0' in text
    assert f'audit_chain_head{{customer="{customer.pk}",digest="{head.digest}"}} 1.0' in text
    assert "http_requests_total" in text


def test_attempts_of_jobs_are_counted_by_outcome(customer: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_work", {"counted": lambda attempt: {}})
    with acting(system(customer.pk)):
        job = jobs.request(kind="counted", payload={}, label="x", by=system(customer.pk), at=NOON)

    runner.run(job_id=job.pk, attempts=0)

    assert 'job_attempts_total{kind="counted",outcome="succeeded"} 1.0' in Client().get("/metrics", headers=METRICS).content.decode()


def test_what_a_failed_transaction_counted_is_told_all_the_same(customer: Customer) -> None:
    with suppress(ZeroDivisionError), transaction.atomic():
        DIGEST_MISMATCHES.inc()
        raise ZeroDivisionError

    tellings = [Client().get("/metrics", headers=METRICS).content.decode() for _ in range(2)]

    assert all("artifact_digest_mismatch_total 1.0" in text for text in tellings)


@pytest.mark.django_db(transaction=True)
def test_a_silent_database_loses_no_count(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as outage:
        outage.setattr(counting, "_add", _raising(OperationalError("down")))
        DIGEST_MISMATCHES.inc(2)
    DIGEST_MISMATCHES.inc()

    assert "artifact_digest_mismatch_total 3.0" in Client().get("/metrics", headers=METRICS).content.decode()


@pytest.mark.django_db(transaction=True)
def test_processes_that_count_at_the_same_time_lose_nothing() -> None:
    raised = in_threads(6, lambda _: [counting._add("together", "[]", 1) for _ in range(5)])

    assert (raised, CounterValue.objects.get(name="together").value) == ([], 30)


# --- logs -------------------------------------------------------------------------------------------------------------------------------
@pytest.fixture
def log_lines() -> Any:
    """The log as production writes it, parsed."""
    lines: list[dict[str, Any]] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(self.format(record)))

    handler = Kept()
    options = settings.LOGGING["formatters"]["json"]
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(processor=options["processor"], foreign_pre_chain=options["foreign_pre_chain"])
    )
    logging.getLogger().addHandler(handler)
    yield lines
    logging.getLogger().removeHandler(handler)


def test_lines_of_a_request_carry_its_id_and_no_secret(
    key: Callable[..., str], customer: Customer, log_lines: list[dict[str, Any]]
) -> None:
    secret = key("viewer")

    Client().get("/api/v1/me?x=1", headers={"Authorization": f"Bearer {secret}", "X-Request-ID": "order-66"})

    ours = [line for line in log_lines if line.get("request_id") == "order-66"]
    assert {"request_started", "request_finished"} <= {line["event"] for line in ours}
    assert {line.get("code") for line in ours if line["event"] == "request_finished"} == {400}
    assert secret not in json.dumps(log_lines)


@pytest.mark.parametrize(
    ("failure", "code", "event"), [(ValidationError("x"), 400, "request_finished"), (KeyError("x"), 500, "request_failed")]
)
def test_a_request_is_logged_with_the_code_it_was_answered_with(
    monkeypatch: pytest.MonkeyPatch, log_lines: list[dict[str, Any]], failure: Exception, code: int, event: str
) -> None:
    def broken(*_: Any) -> Any:
        raise failure

    monkeypatch.setattr("django.contrib.admin.sites.AdminSite.login", broken)
    answer = Client(raise_request_exception=False).get("/admin/login/", headers={"X-Request-ID": "order-67"})

    ended = [line for line in log_lines if line.get("request_id") == "order-67" and line["event"] in ("request_finished", "request_failed")]
    assert answer.status_code == code
    assert [(line["event"], line["code"], "exception" in line) for line in ended] == [(event, code, code == 500)]


@pytest.mark.parametrize("name", ["console", "json"])
def test_a_traceback_shows_no_values_of_variables(name: str) -> None:
    formatter = logging.config.DictConfigurator(settings.LOGGING).configure_formatter(dict(settings.LOGGING["formatters"][name]))
    secret = "".join(["hunter", "2"])
    try:
        raise ValueError(len(secret))
    except ValueError:
        record = logging.LogRecord("any", logging.ERROR, __file__, 1, "it broke", None, sys.exc_info())

    line = formatter.format(record)

    assert "ValueError: 7" in line
    assert secret not in line


def test_lines_inside_the_scope_name_the_customer(customer: Customer, log_lines: list[dict[str, Any]]) -> None:
    with acting(system(customer.pk)):
        structlog.get_logger("test").info("something.happened", rows=3)

    assert (log_lines[-1]["event"], log_lines[-1]["customer_id"], log_lines[-1]["rows"]) == ("something.happened", str(customer.pk), 3)


def test_lines_of_a_job_carry_job_request_and_customer(
    customer: Customer, monkeypatch: pytest.MonkeyPatch, log_lines: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(runner, "_work", {"logged": lambda attempt: structlog.get_logger("test").info("inside") or {}})
    with acting(system(customer.pk)):
        job = jobs.request(kind="logged", payload={}, label="x", by=system(customer.pk), at=NOON)

    runner.run(job_id=job.pk, attempts=0)

    named = {line["event"]: line for line in log_lines}
    assert named["inside"]["job_id"] == named["job.ended"]["job_id"] == str(job.pk)
    assert (named["inside"]["customer_id"], named["job.ended"]["outcome"]) == (str(customer.pk), "succeeded")
    assert named["job.ended"]["seconds"] >= 0


def _raising(failure: Exception) -> Callable[..., None]:
    def check(*_: object) -> None:
        raise failure

    return check
