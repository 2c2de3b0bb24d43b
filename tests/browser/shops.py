"""Tenants to look at: models with evidence, experiments, alerts, people. Written before a browser opens their pages."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from alerts.models import Channel, Delivery, MLAlert
from alerts.services import inbox
from alerts.services.channels import subscribe
from alerts.services.notifying import notify_test
from experiments.models import Experiment
from mlops.tenancy import services as tenancy
from mlops.tenancy.models import Customer, Membership
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Principal, Role, system
from registry.models import ModelVersion, RegisteredModel, ShadowDay
from registry.services.model_settings import configure_model
from tests.alerts.factories import finding
from tests.conftest import NOON, PASSWORD
from tests.experiments.proposals import make_days, make_experiment
from tests.registry import factories as make

SEGMENT = {
    "column": "dept_id",
    "mae_reference": 1.472,
    "mae_recent": 1.931,
    "mae_change_pct": 31.2,
    "wape_recent": 0.214,
    "p_value": 0.0004,
}
DRIFT: dict[str, Any] = {
    "title": "demand_forecast v2 drifts in FOODS_3, HOBBIES_1",
    "message": "MAE of the last 7 days is 31 % above that of the 90 days before, in 2 of 11 segments; the chance of that is below 0.1 %.",
    "details": {
        "as_of": "2026-03-01",
        "score": 0.61,
        "segments": [{**SEGMENT, "value": "FOODS_3"}, {**SEGMENT, "value": "HOBBIES_1", "mae_recent": 1.02, "mae_change_pct": 24.8}],
    },
    "version": "v2",
}


@contextmanager
def working_for(customer: Customer) -> Iterator[None]:
    """In the customer's scope, inside a transaction: PostgreSQL shows no row outside one."""
    with acting(system(customer.pk)), transaction.atomic():
        yield


def make_shop(*, managers: tuple[str, ...] = ("kim@example.com", "lee@example.com"), admin: str = "") -> Customer:
    """A tenant and its managers; nothing else."""
    customer = tenancy.create_customer(name="Corner Shops", at=NOON)
    for email in managers:
        tenancy.create_member(customer=customer, email=email, role=Role.ML_MANAGER, password=PASSWORD, at=NOON)
    if admin:
        tenancy.create_member(customer=customer, email=admin, role=Role.ADMIN, password=PASSWORD, at=NOON)
    return customer


def person(customer: Customer, email: str) -> Principal:
    """A member, as the site knows them."""
    membership = Membership.objects.get(customer=customer, user__email=email)
    return Principal(kind="user", name=email, role=Role(membership.role), customer_id=customer.pk, user_id=membership.user_id)


def make_full_shop() -> Customer:
    """A tenant in which every screen has something to show: what waits was asked by people other than Kim."""
    customer = make_shop(admin="kim@example.com", managers=("lee@example.com",))
    with working_for(customer):
        champion, challenger = make.make_arena(policy={"four_eyes": True}, segments={"HOBBIES_2": 1.16})
        make.make_job()
        make.make_request(challenger, by=person(customer, "lee@example.com"))
        looser = {"four_eyes": True, "min_improvement_pct": 1.0}
        configure_model(model=challenger.model, changes={"policy": looser}, by=person(customer, "lee@example.com"), at=NOON)
        make_trials(champion, challenger, customer)
        make_alerts()
        make_receivers(person(customer, "kim@example.com"))
    return customer


def make_receivers(by: Principal) -> None:
    """A person who hears of much, and a webhook that does not answer any more, with messages of every kind."""
    subscribe(channel_id=None, by=by, at=NOON, alert_types=["drift_detected", "job_failed"], digest=True, approvals=True)
    values = {"kind": "webhook", "name": "Team on call", "target": "https://hooks.example.com/services/T0/B1/x7f3a9", "failures": 3}
    hook = Channel.objects.create(created_by=by.name, created_at=NOON, **values)
    Channel.objects.create(
        kind="email",
        name="Store managers",
        target="stores@example.com",
        enabled=False,
        disabled_reason="Nobody reads it in summer.",
        created_by=by.name,
        created_at=NOON,
    )
    subscribe(channel_id=hook.pk, by=by, at=NOON, min_severity="critical")
    died = {"status": "dead", "attempts": 12, "last_status": 503, "last_error": "The receiver answered 503.", "ended_at": NOON}
    for number, said in enumerate(({"status": "delivered", "attempts": 1, "last_status": 204}, died, {})):
        sent = notify_test(hook, by=by.name, at=NOON + timedelta(minutes=number))
        Delivery.objects.filter(pk=sent.pk).update(**said)


def make_alerts(at: datetime | None = None) -> list[MLAlert]:
    """A drift seen four times, a degraded backtest, a failed retraining, an experiment that ended; one was dismissed."""
    now = at or timezone.now()
    many: list[tuple[timedelta, dict[str, Any]]] = [
        *((timedelta(days=days), {**DRIFT, "cause": "drift", "severity": "critical"}) for days in (4, 3, 2, 1)),
        (timedelta(hours=30), {"cause": "b", "alert_type": "backtest_degradation", "title": "Backtest of demand_forecast v2 has degraded"}),
        (timedelta(hours=5), {"cause": "c", "alert_type": "retrain_failed", "title": "Retraining of demand_forecast failed"}),
        (timedelta(hours=2), {"cause": "d", "alert_type": "job_failed", "severity": "info", "title": "Job failed: Import sales.csv"}),
        (timedelta(days=9), {"cause": "e", "title": "demand_forecast v1 drifts in CA_1"}),
    ]
    raised = [inbox.raise_alert(finding=finding(**values), at=now - age) for age, values in many]
    found = [one for one in raised if one is not None]
    inbox.dismiss(alert_id=found[-1].pk, by=system(found[-1].customer_id, name="lee@example.com"), at=now, notes="A public holiday.")
    return found


def make_trials(champion: ModelVersion, challenger: ModelVersion, customer: Customer) -> Experiment:
    """Experiments in several statuses, one of which compares the challenger in shadow with the champion."""
    data, by = challenger.dataset_version, system(customer.pk, name="max@example.com")
    assert data is not None
    for version, level in ((champion, 2.0), (challenger, 1.7)):
        days = [level + 0.2 * ((day + version.number) % 5) + 0.1 * (day % 7) for day in range(60)]
        make_days(version, data, days, options={"truth": "x"})
    make_experiment(by, experiment_name="Weather as a feature", hypothesis="Rain keeps people away from the garden department.")
    make_experiment(by, "approved", experiment_name="Price elasticities per store")
    tried = make_experiment(by, "shadow_testing", model=champion.model)
    make_experiment(by, "rejected", experiment_name="A transformer for everything")
    Experiment.objects.filter(pk=tried.pk).update(experimental_version=challenger)
    make_shadow(challenger, champion)
    return tried


def make_shadow(version: ModelVersion, champion: ModelVersion) -> None:
    """Four weeks of measured pairs, overall and of two departments."""
    sums = {"n": 40, "n_ahead": 12, "sum_actual": 400.0, "sum_error": 0.0, "champion_sum_error": 0.0, "scored_at": NOON}
    ShadowDay.objects.bulk_create(
        ShadowDay(
            version=version,
            champion=champion,
            day=NOON.date() - timedelta(days=day),
            segment_column=column,
            segment=segment,
            sum_abs_error=40 * (1.6 + 0.2 * (day % 5)),
            champion_sum_abs_error=40 * (1.8 + 0.2 * (day % 7)),
            **sums,
        )
        for day in range(1, 29)
        for column, segment in (("overall", "overall"), ("dept_id", "FOODS_1"), ("dept_id", "HOBBIES_2"))
    )


def version_of(customer: Customer, label: str) -> ModelVersion:
    """A version of the shop's by its label, as it is now."""
    with working_for(customer):
        return ModelVersion.objects.select_related("model").get(version=label)


def model_of(customer: Customer) -> RegisteredModel:
    """The shop's one model."""
    with working_for(customer):
        return RegisteredModel.objects.get()
