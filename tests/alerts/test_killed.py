"""A process killed by SIGKILL between the deed and the decision, and after sending before it is noted: nothing half done, nothing lost."""

import os
import signal
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import connection, transaction

from alerts.models import Delivery, MLAlert
from alerts.services import delivering, inbox
from alerts.services.notifying import notify_test
from mlops.audit.services import verify
from mlops.database.reading import reading
from mlops.jobs.models import Job
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Principal, system
from registry.models import RetrainingRun
from tests.alerts.factories import NOON, Clock, make_alert, make_webhook, receiving
from tests.registry.factories import make_dataset, make_model

pytestmark = pytest.mark.django_db(transaction=True)

PROGRAM = """
import os, signal, sys
from datetime import UTC, datetime
from uuid import UUID
import django
django.setup()
from alerts.services import delivering, inbox
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Principal, Role, system

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

act, customer, given = sys.argv[1], UUID(sys.argv[2]), UUID(sys.argv[3])
noon = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
if act == "approve":
    inbox.close_alert = die
    manager = Principal(kind="user", name="kim@example.com", role=Role.ML_MANAGER, customer_id=customer)
    with acting(manager):
        inbox.approve(alert_id=given, by=manager, at=noon, notes="Yes.")
else:
    delivering._note = die
    with acting(system(customer)):
        delivering.deliver_due(channel_id=given, clock=lambda: noon)
"""


def killed(act: str, customer: Any, given: Any) -> None:
    """Let another process do it and die on the way."""
    name = connection.settings_dict["NAME"]
    url = f"sqlite:///{name}" if connection.vendor == "sqlite" else os.environ["DATABASE_URL"].rpartition("/")[0] + f"/{name}"
    environment = {**os.environ, "DATABASE_URL": url, "VAR_DIR": str(settings.VAR_DIR), "LOG_LEVEL": "ERROR"}
    environment |= {"DJANGO_SETTINGS_MODULE": "mlops.settings_test", "WEBHOOK_ALLOWED_HOSTS": "127.0.0.1"}
    command = [sys.executable, "-c", PROGRAM, act, str(customer), str(given)]
    done = subprocess.run(command, cwd=settings.BASE_DIR, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_killed_between_deed_and_decision_nothing_was_done_and_approving_again_does_it_once(manager: Principal) -> None:
    with acting(manager), transaction.atomic():
        make_dataset(models=[make_model()])
        alert = make_alert()

    killed("approve", manager.customer_id, alert.pk)

    with acting(manager):
        with reading():
            assert (MLAlert.objects.get().status, RetrainingRun.objects.count()) == ("unread", 0)
        inbox.approve(alert_id=alert.pk, by=manager, at=NOON, notes="Yes.")
        with reading():
            assert (MLAlert.objects.get().status, RetrainingRun.objects.count()) == ("actioned", 1)
            assert (Job.objects.filter(kind="retrain").count(), verify().intact) == (1, True)


def test_killed_after_sending_the_message_arrives_again_under_its_id(manager: Principal, settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_HOSTS = ["127.0.0.1"]
    with receiving() as receiver, acting(system(manager.customer_id)):
        with transaction.atomic():
            channel, _ = make_webhook(receiver.url)
            notify_test(channel, by="kim", at=NOON)

        killed("send", manager.customer_id, channel.pk)
        with reading():
            assert Delivery.objects.values_list("status", "attempts").get() == ("pending", 1)
        delivering.deliver_due(channel_id=channel.pk, clock=Clock(NOON + delivering.LEASE - timedelta(seconds=1)))
        delivering.deliver_due(channel_id=channel.pk, clock=Clock(NOON + delivering.LEASE))

        with reading():
            assert Delivery.objects.values_list("status", "attempts").get() == ("delivered", 2)
    ids = [headers["webhook-id"] for headers, _ in receiver.got]
    assert len(ids) == 2
    assert len(set(ids)) == 1
