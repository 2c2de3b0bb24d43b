"""The product's Celery application with two more kinds of job: one that writes its output once, and one that kills whoever does it."""

import os
import random
import signal
import time
from typing import Any

from celery.signals import worker_init

from mlops.celery import app as app


@worker_init.connect
def make_known(**_: object) -> None:
    """Register the kinds once Django is set up; the worker's processes are forked after this."""
    from django.utils import timezone

    from mlops.audit.services import record
    from mlops.jobs.runner import Attempt, job
    from mlops.tenancy.models import Customer

    @job("storm.output")
    def write_output(attempt: Attempt) -> dict[str, Any]:
        seconds = random.Random(f"{attempt.job_id}{attempt.number}").uniform(0.2, attempt.payload["longest"])
        for step in range(10):
            time.sleep(seconds / 10)
            attempt.progress(step / 10, "on it")
        with attempt.fenced():
            customer = Customer.objects.get(pk=attempt.customer_id)
            record(action="storm.output", target=customer, label=str(attempt.job_id), at=timezone.now())
            time.sleep(0.02)  # some are killed between the output and the end of the job, which are one commit
            attempt.finish({"attempt": attempt.number})
        return {}

    @job("storm.poison")
    def poison(attempt: Attempt) -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGKILL)
        return {}
