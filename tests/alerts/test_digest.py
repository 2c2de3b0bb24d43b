"""Once a day, what is open."""

import json
from datetime import timedelta
from typing import Any

import pytest

from alerts.models import Delivery
from alerts.services import channels, inbox
from alerts.services.notifying import LISTED, write_digests
from alerts.tasks import send_alert_digest
from mlops.jobs import runner
from mlops.jobs.models import Job
from mlops.tenancy.roles import Principal
from tests.alerts.factories import NOON, make_alert, make_webhook


def test_a_digest_lists_the_most_urgent_first(scope: Principal) -> None:
    make_alert(cause="a", severity="warning", title="Mild")
    make_alert(cause="b", severity="critical", title="Urgent", at=NOON - timedelta(days=1))
    make_alert(cause="c", severity="info", title="Not covered")
    channels.subscribe(channel_id=None, by=scope, at=NOON, digest=True, immediate=False)

    assert write_digests(day="2026-03-03", at=NOON) == 1

    letter = Delivery.objects.get()
    assert letter.subject == "Tiltyard: 2 open alerts, 2 unread"
    assert letter.body.index("Urgent") < letter.body.index("Mild")
    assert "Not covered" not in letter.body


@pytest.mark.parametrize(("seen", "said"), [(False, "1 alert is open, unread:"), (True, "1 alert is open, read:")])
def test_a_digest_of_one_alert_speaks_of_one(scope: Principal, seen: bool, said: str) -> None:
    alert = make_alert(title="Mild")
    if seen:
        inbox.mark_read(alert_id=alert.pk, by=scope, at=NOON)
    channels.subscribe(channel_id=None, by=scope, at=NOON, digest=True, immediate=False)

    write_digests(day="monday", at=NOON)

    letter = Delivery.objects.get()
    assert letter.body.startswith(f"{said}\n\n- [warning] Mild")


def test_a_day_has_one_digest_per_channel(scope: Principal) -> None:
    make_alert()
    channels.subscribe(channel_id=None, by=scope, at=NOON, digest=True, immediate=False)

    assert [write_digests(day=day, at=NOON) for day in ("monday", "monday", "tuesday")] == [1, 0, 1]


def test_nothing_open_is_no_letter(scope: Principal) -> None:
    inbox.dismiss(alert_id=make_alert().pk, by=scope, at=NOON, notes="Known.")
    channels.subscribe(channel_id=None, by=scope, at=NOON, digest=True)

    assert write_digests(day="monday", at=NOON) == 0


def test_a_webhooks_digest_is_json_and_bounded(scope: Principal, settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_HOSTS = ["127.0.0.1"]
    for number in range(LISTED + 5):
        make_alert(cause=str(number))
    make_webhook("http://127.0.0.1:9/", digest=True, immediate=False)

    write_digests(day="monday", at=NOON)

    told = json.loads(Delivery.objects.get().body)
    assert (told["type"], told["data"]["open"], len(told["data"]["alerts"])) == ("ml_alert.digest", LISTED + 5, LISTED)


@pytest.mark.django_db(transaction=True)
def test_the_scheduled_job_writes_the_digests(manager: Principal) -> None:
    from django.db import transaction

    from mlops.database.reading import reading
    from mlops.tenancy.principals import acting

    with acting(manager), transaction.atomic():
        make_alert()
        channels.subscribe(channel_id=None, by=manager, at=NOON, digest=True, immediate=False)
    job_id = send_alert_digest(str(manager.customer_id))

    runner.run(job_id=Job.objects.get(pk=job_id).pk, attempts=0)

    job = Job.objects.get(pk=job_id)
    assert (job.state, job.result) == ("succeeded", {"digests": 1, "settled": 0})
    with acting(manager), reading():
        assert Delivery.objects.get().kind == "digest"
