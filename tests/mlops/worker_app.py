"""A real Celery worker's application for the tests: the product's, with leases of seconds and kinds of job that wait to be killed."""

import ctypes
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from celery.signals import worker_init

from mlops.celery import app as app


@worker_init.connect
def make_known(**_: object) -> None:
    """Register the kinds once Django is set up; the worker's processes are forked after this."""
    from django.utils import timezone

    from mlops.audit.services import record
    from mlops.jobs import services
    from mlops.jobs.runner import Attempt, job
    from mlops.tenancy.models import Customer

    services.LEASE, services.HEARTBEAT = timedelta(seconds=2), timedelta(seconds=0.4)
    services.BACKOFF = timedelta(seconds=0.2)

    @job("test.first_attempt_hangs")
    def first_attempt_hangs(attempt: Attempt) -> dict[str, Any]:
        (Path(attempt.payload["folder"]) / f"started-{attempt.number}").touch()
        if attempt.number == 1:
            time.sleep(300)
        with attempt.fenced():
            customer = Customer.objects.get(pk=attempt.customer_id)
            event = record(action="test.output", target=customer, label=f"attempt {attempt.number}", at=timezone.now())
            attempt.finish({"event": event.number})
        return {}

    @job("test.first_attempt_holds_the_interpreter")
    def first_attempt_holds_the_interpreter(attempt: Attempt) -> dict[str, Any]:
        if attempt.number == 1:
            ctypes.PyDLL(None).sleep(300)  # unlike a CDLL it keeps the interpreter's lock: no other Python thread runs meanwhile
        return {"attempt": attempt.number}

    @job("test.always_hangs")
    def always_hangs(attempt: Attempt) -> dict[str, Any]:
        time.sleep(300)
        return {}
