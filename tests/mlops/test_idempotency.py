"""An act with an `Idempotency-Key` is performed once, whoever repeats it meanwhile and whatever dies in between."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection, connections, transaction
from django.utils import timezone
from rest_framework.test import APIClient

from mlops.api import idempotency
from mlops.api.models import IdempotencyRecord
from mlops.tenancy.context import customer as acting_for
from mlops.tenancy.models import ApiKey, Customer
from registry.models import Dataset, RegisteredModel
from registry.services import datasets, model_settings

KEY = {"HTTP_IDEMPOTENCY_KEY": "one"}
ROWS = "date,units\n" + "".join(f"2025-01-{day:02},{day}\n" for day in range(1, 29))


def upload(client: APIClient, name: str = "sales") -> Any:
    return client.post("/api/v1/datasets", {"name": name, "file": SimpleUploadedFile("a.csv", ROWS.encode())}, format="multipart", **KEY)


def register(client: APIClient) -> Any:
    return client.post("/api/v1/models", {"name": "shop"}, **KEY)


def leave_claims_as_a_killed_request_would(customer: Customer, *, age: timedelta) -> None:
    with acting_for(customer.pk), transaction.atomic():
        IdempotencyRecord.objects.update(status=0, answer="", expires_at=timezone.now() - age)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("act", [register, upload])
def test_eight_at_once_are_performed_once(act: Callable[[APIClient], Any], customer: Customer, key: Callable[..., str]) -> None:
    secret, answers = key(), []
    barrier = threading.Barrier(8)

    def send() -> None:
        client = APIClient(headers={"Authorization": f"Bearer {secret}"})
        barrier.wait()
        answers.append(act(client))
        connections.close_all()

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    again = act(APIClient(headers={"Authorization": f"Bearer {secret}"}))

    fresh = [answer for answer in answers if answer.status_code == 201 and "Idempotency-Replayed" not in answer]
    waiting = [answer for answer in answers if answer.status_code == 409]
    assert len(answers) == 8
    assert len(fresh) == 1
    assert {answer.json()["code"] for answer in waiting} <= {"idempotency_in_progress"}
    assert all(int(answer["Retry-After"]) >= 1 for answer in waiting)
    assert (again.json(), again["Idempotency-Replayed"]) == (fresh[0].json(), "true")
    with acting_for(customer.pk), transaction.atomic():
        assert RegisteredModel.objects.count() + Dataset.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_others_write_while_an_upload_with_a_key_is_read(
    customer: Customer, api: Callable[..., APIClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, other, seen = api(), api("admin"), []
    read = datasets.read

    def read_while_others_write(*args: Any, **named: Any) -> Any:
        thread = threading.Thread(target=lambda: (seen.append(other.post("/api/v1/models", {"name": "shop"})), connections.close_all()))
        thread.start()
        thread.join(10)
        seen.append(thread.is_alive())
        seen.append(connection.in_atomic_block)
        return read(*args, **named)

    monkeypatch.setattr(datasets, "read", read_while_others_write)

    answer = upload(client)

    assert answer.status_code == 201
    assert (seen[0].status_code, seen[1:]) == (201, [False, False])


@pytest.mark.django_db
def test_a_claim_that_nobody_finished_is_409_and_then_may_be_taken_over(customer: Customer, api: Callable[..., APIClient]) -> None:
    client = api()
    with acting_for(customer.pk), transaction.atomic():
        held_by = str(ApiKey.objects.get(customer=customer).pk)
        IdempotencyRecord.objects.create(principal=held_by, key="one", fingerprint="", expires_at=timezone.now() + timedelta(minutes=1))
    _set_fingerprint_of(client, customer)

    early = register(client)
    leave_claims_as_a_killed_request_would(customer, age=timedelta(seconds=1))
    late = register(client)

    assert (early.status_code, early.json()["code"], early["Retry-After"]) == (409, "idempotency_in_progress", "2")
    assert late.status_code == 201


def _set_fingerprint_of(client: APIClient, customer: Customer) -> None:
    """Of the model's registration, computed by the code under test on a first, refused call."""
    refused = register(client)
    assert refused.json()["code"] == "idempotency_key_reused"
    request = refused.wsgi_request
    request._body = b'{"name":"shop"}'
    fingerprint = idempotency._fingerprint(request, takes_forms=False)
    with acting_for(customer.pk), transaction.atomic():
        IdempotencyRecord.objects.update(fingerprint=fingerprint)


@pytest.mark.django_db
def test_an_upload_killed_between_its_act_and_its_answer_is_not_performed_again(customer: Customer, api: Callable[..., APIClient]) -> None:
    client = api()
    assert upload(client).status_code == 201
    leave_claims_as_a_killed_request_would(customer, age=timedelta(hours=1))

    again = upload(client)

    assert (again.status_code, again.json()["code"]) == (409, "idempotency_answer_lost")


@pytest.mark.django_db
def test_a_request_that_lost_its_claim_changes_nothing(
    customer: Customer, api: Callable[..., APIClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, read = api(), datasets.read

    def taken_over_meanwhile(*args: Any, **named: Any) -> Any:
        with acting_for(customer.pk), transaction.atomic():
            IdempotencyRecord.objects.update(claim="00000000-0000-0000-0000-00000000beef")
        return read(*args, **named)

    monkeypatch.setattr(datasets, "read", taken_over_meanwhile)

    answer = upload(client)

    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_claim_lost")
    with acting_for(customer.pk), transaction.atomic():
        assert (Dataset.objects.count(), IdempotencyRecord.objects.count()) == (0, 1)


@pytest.mark.django_db
def test_a_request_without_an_event_that_lost_its_claim_is_409(
    customer: Customer, api: Callable[..., APIClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, prepare = api(), model_settings.checked_recipe
    monkeypatch.setattr(model_settings, "record", lambda **_: None)

    def taken_over_meanwhile(values: Any) -> Any:
        IdempotencyRecord.objects.update(claim="00000000-0000-0000-0000-00000000beef")
        return prepare(values)

    monkeypatch.setattr(model_settings, "checked_recipe", taken_over_meanwhile)

    answer = register(client)

    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_claim_lost")
    with acting_for(customer.pk), transaction.atomic():
        assert RegisteredModel.objects.count() == 0


@pytest.mark.django_db
def test_a_refused_upload_gives_its_key_back(customer: Customer, api: Callable[..., APIClient]) -> None:
    client = api()

    assert upload(client, name="No Name").status_code == 400
    assert upload(client).status_code == 201


@pytest.mark.django_db
def test_two_keys_of_one_name_have_keys_of_their_own(key: Callable[..., str], customer: Customer) -> None:
    one, other = (APIClient(headers={"Authorization": f"Bearer {key()}"}) for _ in range(2))

    first = register(one)
    second = other.post("/api/v1/models", {"name": "another"}, **KEY)

    assert (first.status_code, second.status_code) == (201, 201)
