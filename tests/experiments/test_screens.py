"""The page behind a model's Retrain button."""

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import system
from registry.models import RegisteredModel, RetrainingRun
from tests.registry import factories as make

pytestmark = pytest.mark.django_db


def make_model(customer: Customer, *, with_data: bool = True) -> RegisteredModel:
    with acting(system(customer.pk)):
        model = make.make_model()
        if with_data:
            make.make_dataset(models=[model])
        return model


def test_retrain_is_asked_for_once_with_its_reason(customer: Customer, site: Callable[..., Client]) -> None:
    url = reverse("admin:experiments_retrain", args=[make_model(customer).pk])
    client = site("data_scientist")

    told = client.get(url)
    done = client.post(url, {"reason": "New prices."})
    again = client.post(url, {"reason": "Impatient."})

    assert "newest data of m5_small" in told.text
    assert done.status_code == 302
    assert "already being worked on" in again.text
    with acting(system(customer.pk)):
        assert list(RetrainingRun.objects.values_list("reason", "requested_by")) == [("New prices.", "data_scientist@example.com")]


def test_retrain_without_data_says_what_to_do(customer: Customer, site: Callable[..., Client]) -> None:
    url = reverse("admin:experiments_retrain", args=[make_model(customer, with_data=False).pk])

    answer = site("data_scientist").post(url, {"reason": "Now."})

    assert "The model has no data source" in answer.text


def test_a_viewer_may_not_retrain(customer: Customer, site: Callable[..., Client]) -> None:
    url = reverse("admin:experiments_retrain", args=[make_model(customer).pk])

    assert site("viewer").get(url).status_code == 403
