"""Guessing passwords becomes slow; being guessed at locks nobody out."""

from datetime import datetime, timedelta

import pytest
from django.db.models import QuerySet
from django.test import Client

from mlops.audit.models import AuditEvent
from mlops.errors import TooManyLogins
from mlops.tenancy import logins
from mlops.tenancy.context import customer as acting_for
from mlops.tenancy.logins import RULES, attempt, forgotten, succeeded
from mlops.tenancy.models import Customer, LoginRecord
from mlops.tenancy.roles import Principal
from tests.conftest import NOON, PASSWORD

pytestmark = pytest.mark.django_db
LOGIN = "/admin/login/"
HERE, THERE = "192.0.2.1", "198.51.100.7"


def log_in(password: str = "wrong", *, email: str = "ml_manager@example.com", address: str = HERE, accept: str = "text/html") -> Client:
    client = Client(REMOTE_ADDR=address)
    client.answer = client.post(LOGIN, {"username": email, "password": password}, headers={"Accept": accept})  # type: ignore[attr-defined]
    return client


def status(client: Client) -> int:
    return int(client.answer.status_code)  # type: ignore[attr-defined]


def fails(times: int, *, email: str = "kim@example.com", address: str = HERE) -> None:
    for _ in range(times):
        LoginRecord.objects.update(blocked_until=None)
        attempt(email=email, address=address, at=NOON)


def logs_in(at: datetime, *, email: str = "kim@example.com", address: str = HERE) -> None:
    before = attempt(email=email, address=address, at=at)
    succeeded(email=email, address=address, at=at, before=before)


def test_guessing_from_one_address_is_429_even_with_the_right_password_and_the_person_gets_in_elsewhere(manager: Principal) -> None:
    guesses = [status(log_in()) for _ in range(5)]

    blocked = log_in(PASSWORD)
    answer = blocked.answer  # type: ignore[attr-defined]

    assert guesses == [200] * 5
    assert (status(blocked), 1 <= int(answer["Retry-After"]) <= 2, "_auth_user_id" in blocked.session) == (429, True, False)
    assert b"Too many logins" in answer.content
    assert status(log_in(PASSWORD, address=THERE)) == 302
    assert log_in(accept="application/json").answer.json()["code"] == "too_many_logins"  # type: ignore[attr-defined]


def test_the_trail_says_once_that_an_account_is_being_guessed(manager: Principal, customer: Customer) -> None:
    for _ in range(7):
        log_in()

    with acting_for(customer.pk):
        event = AuditEvent.objects.get(action="login.throttled")
    assert (event.object_label, event.after["address"]) == (manager.name, HERE)


def test_pauses_double_up_to_a_quarter_of_an_hour() -> None:
    pauses = [RULES["pair"].pause(failures) for failures in (4, 5, 6, 7, 13, 14, 10_000)]

    assert pauses == [None, *(timedelta(seconds=s) for s in (2, 4, 8, 512, 900, 900))]


def test_failures_from_everywhere_hold_a_stranger_up_for_seconds_and_a_known_address_not_at_all() -> None:
    logs_in(NOON)
    for number in range(40):
        fails(1, address=f"203.0.113.{number}")

    with pytest.raises(TooManyLogins) as refusal:
        attempt(email="kim@example.com", address=THERE, at=NOON)
    attempt(email="kim@example.com", address=HERE, at=NOON)

    assert refusal.value.seconds <= 4


def test_one_address_that_tries_many_accounts_is_slowed_down() -> None:
    for number in range(50):
        attempt(email=f"p{number}@example.com", address=HERE, at=NOON)

    with pytest.raises(TooManyLogins):
        attempt(email="kim@example.com", address=HERE, at=NOON)
    attempt(email="kim@example.com", address=THERE, at=NOON)


def test_an_hour_without_failures_forgets_them() -> None:
    fails(8)
    later = NOON + timedelta(minutes=61)

    for _ in range(4):
        attempt(email="kim@example.com", address=HERE, at=later)

    assert max(LoginRecord.objects.values_list("failures", flat=True)) == 4


def test_a_login_that_succeeds_is_no_failure() -> None:
    for _ in range(60):
        logs_in(NOON)

    assert max(LoginRecord.objects.values_list("failures", flat=True)) == 0


def test_logins_that_succeed_do_not_keep_the_failures_of_a_busy_address_alive() -> None:
    for number in range(49):
        attempt(email=f"p{number}@example.com", address=HERE, at=NOON)
    for minutes in (20, 40, 59):
        logs_in(NOON + timedelta(minutes=minutes))

    for number in range(49):
        attempt(email=f"q{number}@example.com", address=HERE, at=NOON + timedelta(minutes=61))

    assert LoginRecord.objects.filter(failures__gte=50).count() == 0


def test_a_success_takes_back_the_pause_that_it_began_itself_and_no_other() -> None:
    for number in range(49):
        attempt(email=f"p{number}@example.com", address=HERE, at=NOON)
    logs_in(NOON)
    attempt(email="p49@example.com", address=HERE, at=NOON)
    logs_in(NOON + timedelta(minutes=1))

    with pytest.raises(TooManyLogins):
        attempt(email="max@example.com", address=HERE, at=NOON + timedelta(seconds=1))
    attempt(email="max@example.com", address=HERE, at=NOON + timedelta(seconds=3))


def test_the_table_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logins, "MOST", 30)
    monkeypatch.setattr(logins, "SWEPT", 10)

    for number in range(100):
        attempt(email=f"p{number}@example.com", address=f"2001:db8:{number:x}::1", at=NOON + timedelta(seconds=number))

    assert LoginRecord.objects.count() <= 33
    assert forgotten(at=NOON + timedelta(days=1)).count() == LoginRecord.objects.count()


def test_rows_that_upkeep_takes_away_in_the_middle_of_an_attempt_are_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    attempt(email="kim@example.com", address=HERE, at=NOON)
    counted = QuerySet.count

    def count_and_lose(rows: "QuerySet[LoginRecord]") -> int:
        number = counted(rows)
        monkeypatch.setattr(QuerySet, "count", counted)
        LoginRecord.objects.all().delete()
        return number

    monkeypatch.setattr(QuerySet, "count", count_and_lose)
    attempt(email="kim@example.com", address=HERE, at=NOON)

    assert sorted(LoginRecord.objects.values_list("failures", flat=True)) == [1, 1, 1]
