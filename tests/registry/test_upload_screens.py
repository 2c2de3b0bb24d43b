"""Uploading a file in the browser: a refusal opens the mapping, filled, for a second try."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import system
from registry.models import Dataset
from tests.site_forms import SiteForm, forms_in

pytestmark = pytest.mark.django_db
ROWS = [f"2026-01-{day:02d},{item},{day % 5}" for day in range(1, 29) for item in ("bread", "milk")]
RETURNED, MISTAKEN = "2026-01-30,bread,-2", "2026-02-01,milk,abc"


@pytest.fixture
def url() -> str:
    return reverse("admin:registry_dataset_upload")


@pytest.fixture
def scientist(site: Callable[..., Client], customer: Customer) -> Client:
    return site("data_scientist")


def csv_file(*rows: str) -> SimpleUploadedFile:
    return SimpleUploadedFile("sales.csv", "\n".join(["date,item,units", *rows]).encode())


def upload(client: Client, url: str, *rows: str, **typed: Any) -> Any:
    return client.post(url, {"name": "bakery", **typed, "file": csv_file(*rows)}, follow=True)


def form_shown(answer: Any) -> SiteForm:
    return next(form for form in forms_in(answer.text, answer.request["PATH_INFO"]) if form.multipart)


def test_a_refusal_opens_the_mapping_beside_every_problem(scientist: Client, url: str) -> None:
    answer = upload(scientist, url, *ROWS, RETURNED, MISTAKEN)

    assert "row 58: -2" in answer.text
    assert "row 59: abc" in answer.text
    filled = form_shown(answer).filled({})
    assert [filled[f"role_{position}"] for position in range(3)] == ["date", "key_segment", "target"]
    assert (filled["name"], filled["negatives"]) == ("bakery", "refuse")
    assert '<details class="ty-pad" open>' in answer.text, "the choices that some problems ask for are to be seen"


def test_the_file_goes_in_under_the_corrected_mapping(scientist: Client, url: str) -> None:
    filled = form_shown(upload(scientist, url, *ROWS, RETURNED)).filled({})

    answer = upload(scientist, url, *ROWS, RETURNED, **filled | {"negatives": "unknown"})

    assert "Version 1 is ready" in answer.text


def test_what_was_corrected_stays_when_the_file_is_refused_again(scientist: Client, url: str) -> None:
    filled = form_shown(upload(scientist, url, *ROWS, RETURNED)).filled({})

    answer = upload(scientist, url, *ROWS, RETURNED, **filled | {"role_1": "attribute"})

    assert form_shown(answer).filled({})["role_1"] == "attribute"


def test_a_file_with_other_columns_shows_those(scientist: Client, url: str) -> None:
    filled = form_shown(upload(scientist, url, *ROWS, RETURNED)).filled({})
    other = SimpleUploadedFile("other.csv", "\n".join(["day,sold", *[f"2026-01-{day:02d},{day}" for day in range(1, 29)]]).encode())

    answer = scientist.post(url, filled | {"file": other})

    assert "The file has no column &#x27;units&#x27;" in answer.text
    assert "<code>sold</code>" in answer.text
    assert form_shown(answer).filled({})["role_1"] == "target"


def test_a_file_whose_date_cannot_be_read_opens_its_columns_as_well(scientist: Client, url: str) -> None:
    answer = upload(scientist, url, *[row.replace("2026-01", "some day") for row in ROWS])

    filled = form_shown(answer).filled({})
    assert "role_2" in filled


def test_a_file_that_is_no_table_shows_no_mapping(scientist: Client, url: str) -> None:
    answer = scientist.post(url, {"name": "bakery", "file": SimpleUploadedFile("noise.csv", bytes(300))})

    assert set(form_shown(answer).controls) == {"name", "file"}


def test_a_newer_file_that_is_refused_shows_the_mapping_that_it_was_read_under(scientist: Client, customer: Customer, url: str) -> None:
    upload(scientist, url, *ROWS)
    with acting(system(customer.pk)):
        newer = reverse("admin:registry_dataset_new_version", args=[Dataset.objects.get().pk])

    filled = form_shown(upload(scientist, newer, *ROWS, RETURNED)).filled({})
    answer = upload(scientist, newer, *ROWS, RETURNED, **filled | {"negatives": "zero"})

    assert "Version 2 is ready" in answer.text


def test_a_forged_proposal_is_none(scientist: Client, url: str) -> None:
    answer = upload(scientist, url, *ROWS, MISTAKEN, proposed='{"columns": 1}')

    assert "row 58: abc" in answer.text
