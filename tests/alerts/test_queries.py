"""What the inbox finds, counts and foresees."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from alerts.models import MLAlert
from alerts.models.fields import SEARCHED
from alerts.queries import DEEP, asking, inbox, open_counts, page_of, preview
from alerts.services import inbox as services
from alerts.states import AlertStatus, AlertType, Severity
from mlops.tenancy.roles import Principal
from tests.alerts.factories import NOON, make_alert

EVERY = tuple(AlertStatus)


@pytest.mark.parametrize("words", ["HOBBIES_2", "hobbies_2 is", "  hobbies_2\n is ", "Straße", "STRASSE", "e"])
def test_a_search_finds_words_as_they_stand_in_whatever_case(words: str, scope: Principal) -> None:
    wanted = make_alert(cause="a", title="Demand drifts", message="In HOBBIES_2  is a\nStraße.")
    make_alert(cause="b", title="North", message="Nothing.")

    assert [one.pk for one in inbox(search=words).alerts if one.pk == wanted.pk] == [wanted.pk]


@pytest.mark.parametrize(
    "words", ["hobbies%2", "hobbies 2", "%", "_x", "'; drop", "a\\b", "hobbies*2", "hobbies?2", "hobbies[_]2", "?", "[!x]"]
)
def test_signs_of_pattern_languages_are_signs_like_others(words: str, scope: Principal) -> None:
    make_alert(message="In HOBBIES_2 is something.")

    assert inbox(search=words).count == 0


@pytest.mark.parametrize("words", ["[50%*] of", "%*]", "why?", "a_b\\", "[", "*", "?", "'"])
def test_signs_of_pattern_languages_are_found_where_they_stand(words: str, scope: Principal) -> None:
    make_alert(message="Lost [50%*] of 'a_b\\': why?")

    assert inbox(search=words).count == 1


def test_a_search_goes_over_title_and_message_and_ends_where_its_index_does(scope: Principal) -> None:
    make_alert(title="Demand", message=f"near {'x ' * SEARCHED} far")

    assert [inbox(search=words).count for words in ("demand near", "far", "")] == [1, 0, 1]


def test_a_repeat_is_found_by_its_newest_message(scope: Principal) -> None:
    make_alert(message="In FOODS_1.", occurrence="1")
    make_alert(message="In FOODS_2.", occurrence="2", severity=Severity.CRITICAL)

    assert [inbox(search=words).count for words in ("foods_1", "foods_2")] == [0, 1]
    assert inbox(severity="critical").count == 1


def test_nobody_can_write_a_rank_that_is_not_the_severitys(scope: Principal) -> None:
    alert = make_alert(severity=Severity.INFO)

    with pytest.raises(IntegrityError), transaction.atomic():
        MLAlert.objects.filter(pk=alert.pk).update(severity_rank=3)


def test_filters_and_orders_narrow_and_turn_the_inbox(scope: Principal) -> None:
    old = make_alert(cause="a", at=NOON - timedelta(days=1), severity=Severity.INFO, alert_type=AlertType.JOB_FAILED, model_name="")
    new = make_alert(cause="b", severity=Severity.WARNING)
    closed = make_alert(cause="c", severity=Severity.CRITICAL)
    services.dismiss(alert_id=closed.pk, by=scope, at=NOON, notes="No.")

    found = {
        "open": inbox(),
        "oldest": inbox(order="oldest"),
        "all": inbox(statuses=EVERY, order="newest"),
        "decided": inbox(statuses=["actioned", "dismissed"]),
        "typed": inbox(alert_type="job_failed"),
        "urgent": inbox(statuses=EVERY, severity="critical"),
        "of a model": inbox(model_name="demand_forecast"),
    }

    assert {name: [one.pk for one in page.alerts] for name, page in found.items()} == {
        "open": [new.pk, old.pk],
        "oldest": [old.pk, new.pk],
        "all": [*sorted([new.pk, closed.pk]), old.pk],
        "decided": [closed.pk],
        "typed": [old.pk],
        "urgent": [closed.pk],
        "of a model": [new.pk],
    }
    assert all(page.count == len(page.alerts) for page in found.values())


@pytest.mark.parametrize("search", ["", "demand"])
def test_pages_follow_one_another_and_know_the_count(search: str, scope: Principal) -> None:
    for number in range(5):
        make_alert(cause=str(number), at=NOON + timedelta(minutes=number))
    everything = [one.pk for one in inbox().alerts]

    pages = [inbox(page=number, page_size=2, search=search) for number in (1, 2, 3, 4)]

    assert [one.pk for page in pages for one in page.alerts] == everything
    assert {(page.count, page.pages) for page in pages} == {(5, 3)}


def test_a_page_far_behind_is_read_by_ids_and_is_the_same(scope: Principal) -> None:
    MLAlert.objects.bulk_create(
        MLAlert(alert_type="job_failed", severity="info", title=f"Job {n}", cause_key=f"job:{n}", created_at=NOON, last_seen_at=NOON)
        for n in range(DEEP + 3)
    )
    ordered = MLAlert.objects.order_by("pk")

    with CaptureQueriesContext(connection) as captured:
        page = page_of(ordered, number=DEEP // 10 + 1, size=10)

    assert [one.pk for one in page.alerts] == list(ordered.values_list("pk", flat=True)[DEEP:])
    assert (page.count, len([one for one in captured if "ml_alerts" in one["sql"]])) == (DEEP + 3, 2)


def test_counts_know_what_is_open_by_severity(scope: Principal) -> None:
    read = make_alert(cause="a", severity=Severity.CRITICAL)
    make_alert(cause="b", severity=Severity.INFO)
    closed = make_alert(cause="c", severity=Severity.INFO)
    services.mark_read(alert_id=read.pk, by=scope, at=NOON)
    services.dismiss(alert_id=closed.pk, by=scope, at=NOON, notes="No.")

    counts = open_counts()

    assert counts.total_unread == 1
    assert (list(counts.unread), counts.unread["info"], counts.read["critical"]) == (["critical", "warning", "info"], 1, 1)


def test_what_asks_leaves_out_what_is_listed_as_a_request_or_asks_nothing(scope: Principal) -> None:
    winner = make_alert(cause="a", alert_type=AlertType.PROMOTION_PENDING, details={"version_id": "x"})
    make_alert(cause="b", alert_type=AlertType.PROMOTION_PENDING, details={"request_id": "y"})
    make_alert(cause="c", alert_type=AlertType.EXPERIMENT_COMPLETE)
    older = make_alert(cause="d", at=NOON - timedelta(hours=1))

    assert [one.pk for one in asking()] == [older.pk, winner.pk]


def test_a_preview_shows_the_last_times_and_costs_four_queries_at_most(scope: Principal) -> None:
    for number in range(20):
        alert = make_alert(occurrence=str(number), at=NOON + timedelta(hours=number))

    with CaptureQueriesContext(connection) as captured:
        shown = preview(alert, by=scope)

    assert [one.at.hour for one in shown.occurrences[:2]] == [7, 6]
    assert (shown.prospect.deed, shown.prospect.refusal, len(captured) <= 4) == ("retrain", "", True)
