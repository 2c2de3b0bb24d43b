"""Every page of the site that takes a form, sent what no form should hold: never a 5xx, a refusal in words, nothing half done.

The forms are read off the pages themselves; `PAGES` says where each page is found, and a page that it does not know fails a test.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.db import transaction
from django.test import Client
from django.urls import reverse

from alerts.models import Channel, MLAlert, Subscription
from experiments.models import Experiment, Split, Study, Trial
from experiments.screens import row_form
from mlops import admin_site
from mlops.tenancy.models import Customer
from registry.models import Dataset, DecisionRecord, ModelVersion, PolicyChangeRequest, PromotionRequest, RegisteredModel
from tests.browser.shops import make_full_shop, make_shop, person, working_for
from tests.conftest import NOON, PASSWORD
from tests.experiments.training.splits import csv
from tests.experiments.training.studying import make_split, make_study
from tests.experiments.training.test_predicting import trained
from tests.hostile_values import BY_KIND, FOREIGN, JSON, MARK
from tests.site_forms import SiteForm, forms_of

pytestmark = pytest.mark.django_db
KIM = "kim@example.com"
TYPED: dict[str, Any] = {
    "reason": "Because it wins.",
    "body": "I agree.",
    "file": csv(),
    "name": "hostile",
    "target": "price",
}
"""What somebody writes into an empty field, so that one hostile value at a time stands among good ones."""
SAID = ("ty-error", "ty-note-bad", 'role="alert"', "errorlist", "errornote", "ty-sentence-bad", '"detail"', "<h1>")
"""What an answer has one of that says what was wrong: beside a field, above a form, as a problem, or as a page of its own."""
ANSWERED = ("secret", "row", "cl", "queryset")
"""What of a page's context says that it did what was asked: made a key, explained a row, showed a list, asks before it deletes."""
KEPT = ("alerts", "audit", "django_celery_beat", "experiments", "jobs", "lifecycle", "outbox", "registry", "tenancy")
Place = Callable[[], list[Any]]


def _one(model: Any, *more: Any, **values: Any) -> Place:
    """The arguments of a page about one object."""
    return lambda: [model.objects.filter(**values).order_by("pk").values_list("pk", flat=True)[0], *more]


def _page() -> list[Any]:
    return []


MODEL = _one(RegisteredModel, name="demand_forecast")
CHALLENGER = {"status": "challenger"}
HOOK = _one(Channel, kind="webhook")
PROPOSED = _one(Experiment, status="proposed")
TRIED = {"status": "shadow_testing"}
PAGES: dict[str, tuple[Place, ...]] = {
    "alerts_alert": (_one(MLAlert, status="unread"),),
    "alerts_channel": (HOOK,),
    "alerts_channel_create": (_page,),
    "alerts_channel_edit": (HOOK,),
    "alerts_channel_end": (HOOK,),
    "alerts_channel_secret": (HOOK,),
    "alerts_channels": (_page,),
    "alerts_dead": (_page,),
    "alerts_inbox": (_page,),
    "alerts_subscribe": (_page,),
    "alerts_subscription_edit": (_one(Subscription, channel__kind="email"),),
    "experiments_act": (
        _one(Experiment, "approve", status="proposed"),
        _one(Experiment, "complete", **TRIED),
        _one(Experiment, "rollback", **TRIED),
    ),
    "experiments_board": (_page,),
    "experiments_edit": (PROPOSED,),
    "experiments_importance": (_one(ModelVersion, artifact_format="tabular"),),
    "experiments_page": (PROPOSED,),
    "experiments_propose": (_page,),
    "experiments_retrain": (MODEL,),
    "experiments_split": (_one(Split, name="Rows"),),
    "experiments_split_create": (_page,),
    "experiments_splits": (_page,),
    "experiments_studies": (_page,),
    "experiments_study": (_one(Study, status="completed"),),
    "experiments_study_cancel": (_one(Study, status="pending"),),
    "experiments_study_create": (_page,),
    "experiments_trial_register": (_one(Study, 0, status="completed"),),
    "registry_actuals": (MODEL,),
    "registry_approvals": (_page,),
    "registry_data_source": (MODEL,),
    "registry_dataset_new_version": (_one(Dataset),),
    "registry_dataset_page": (_one(Dataset),),
    "registry_dataset_upload": (_page,),
    "registry_decision": (_one(DecisionRecord),),
    "registry_decide": tuple(_one(ModelVersion, act, **CHALLENGER) for act in ("promote", "archive", "judge", "shadow")),
    "registry_model_page": (MODEL,),
    "registry_model_register": (_page,),
    "registry_policy": (MODEL,),
    "registry_policy_request": (_one(PolicyChangeRequest),),
    "registry_request_page": (_one(PromotionRequest),),
    "registry_settings": (MODEL,),
    "registry_version_register": (MODEL,),
}
"""Where the pages are found that show forms."""
PARTS = [("alerts", 100, 25), ("experiments", 280, 30), ("registry", 380, 55), ("lists", 180, 80)]
"""Parts of the site; how many forms of each are sent, and of those done, at the least."""
BUTTONS = {"alerts_channel_test", "alerts_read", "alerts_resend", "alerts_unsubscribe", "choose_customer"}
"""What forms of other pages are sent to."""
FRAGMENTS = {
    "alerts_beside",
    "experiments_split_live",
    "experiments_study_live",
    "registry_jobs_fragment",
    "registry_live",
    "registry_waiting_fragment",
}
"""Parts of pages, which scripts fetch; a form of theirs is one of the page's."""


@pytest.fixture
def shop(db: None) -> Customer:
    """A tenant in which every page has something to ask."""
    customer = make_full_shop()
    with working_for(make_shop(managers=())):
        RegisteredModel.objects.create(pk=FOREIGN, name="theirs", created_by="test", created_at=NOON)
    with working_for(customer):
        kim = person(customer, KIM)
        Trial.objects.create(study=trained(kim), number=0, state="complete", value=0.4)
        make_study(name="Waiting", split=make_split(), status="pending", started_at=None)
    return customer


@pytest.fixture
def kim(shop: Customer, client: Client) -> Client:
    """An administrator, who sees every form."""
    assert client.login(username=KIM, password=PASSWORD)
    client.defaults["HTTP_ACCEPT"] = "text/html"
    client.raise_request_exception = False
    return client


def addresses(shop: Customer, part: str) -> Iterator[str]:
    """Every page of the table that is the app's, or every page of the `lists`."""
    with working_for(shop):
        for name, places in PAGES.items():
            if name.startswith(f"{part}_"):
                yield from (reverse(f"admin:{name}", args=place()) for place in places)
        for model in admin.site._registry if part == "lists" else ():
            stem = f"admin:{model._meta.app_label}_{model._meta.model_name}"
            yield from (reverse(f"{stem}_{one}") for one in ("changelist", "add"))
            if (found := getattr(model, "objects", model._default_manager).first()) is not None:
                yield from (reverse(f"{stem}_{one}", args=[found.pk]) for one in ("change", "delete"))


def all_forms(client: Client, shop: Customer, part: str) -> list[SiteForm]:
    """Each form of the part's pages once, wherever it stands."""
    found = {}
    for url in addresses(shop, part):
        for form in forms_of(client, url):
            if form.goes_to != "logout":
                found.setdefault((form.goes_to, form.method, tuple(form.controls), "/act/" in form.url and form.url), form)
    return list(found.values())


def hostile(form: SiteForm) -> Iterator[tuple[str, dict[str, Any]]]:
    """What is sent, and what of it is hostile: one value at a time."""
    good = form.filled(TYPED)
    for name, control in form.controls.items():
        for said, value in BY_KIND[control.kind].items():
            if form.method == "get" and said not in ("NUL", "long", "HTML"):
                continue  # filters differ in little, and there are many
            yield f"{name}: {said}", {**good, name: value}


def rows(shop: Customer) -> dict[str, int]:
    """How many rows each table has; whatever changes one writes an audit event beside it."""
    with working_for(shop):
        return {model._meta.db_table: model._default_manager.count() for model in apps.get_models() if model._meta.app_label in KEPT}


def wrong_with(answer: Any) -> str:
    """What is wrong with a refusal; empty where nothing is."""
    if answer.status_code not in (200, 400, 403, 404, 409, 413):
        return f"answered {answer.status_code}"
    if MARK in answer.text:
        return "shows markup as it was sent"
    if answer.request["REQUEST_METHOD"] == "POST" and not any(sign in answer.text for sign in SAID):
        return "says nothing"
    return ""


@dataclass
class Assault:
    """Forms sent hostile values, and what was wrong with the answers."""

    sent: int = 0
    accepted: int = 0
    faults: list[str] = field(default_factory=list)

    def on(self, client: Client, shop: Customer, form: SiteForm) -> None:
        """Send the form every hostile value; what is accepted is undone, what is refused may have left nothing."""
        before, where = rows(shop), f"{form.method} {form.goes_to}"
        for said, values in hostile(form):
            with transaction.atomic():
                answer = form.send(client, values)
                done = answer.status_code == 302 or any(answer.context.get(name) for name in ANSWERED if answer.context)
                transaction.set_rollback(done)
            self.sent, self.accepted = self.sent + 1, self.accepted + done
            if not done and (wrong := wrong_with(answer)):
                self.faults.append(f"{where}, {said}: {wrong}")
        if rows(shop) != before:
            self.faults.append(f"{where}: something was kept of what was refused")


def test_every_page_is_known_to_the_table(db: None) -> None:
    known = {*PAGES, *BUTTONS, *FRAGMENTS}

    assert {one.name for one in admin_site._pages} ^ known == set(), "say in PAGES where a new page is found"
    assert {name.partition("_")[0] for name in PAGES} == {part for part, _, _ in PARTS} - {"lists"}


@pytest.mark.parametrize(("part", "sent", "accepted"), PARTS)
def test_no_form_breaks_or_half_does_what_it_should_not(part: str, sent: int, accepted: int, kim: Client, shop: Customer) -> None:
    assault = Assault()

    for form in all_forms(kim, shop, part):
        assault.on(kim, shop, form)

    assert assault.faults == []
    assert assault.sent > sent
    assert assault.accepted > accepted, "good values beside the hostile one reach the services"


def test_a_row_as_json_is_read_as_strictly_as_by_the_api(kim: Client, shop: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_form, "MOST_FIELDS", 2)
    with working_for(shop):
        url = reverse("admin:experiments_importance", args=PAGES["experiments_importance"][0]())
    (form,) = (one for one in forms_of(kim, url) if one.goes_to == "experiments_importance")
    assault = Assault()

    assault.on(kim, shop, form)
    told = {said: form.send(kim, {"row": JSON[said]}).text for said in ("NaN", "deep", "huge", "a key twice")}

    assert (assault.faults, list(form.controls), form.controls["row"].kind) == ([], ["row"], "json")
    assert [said for said, text in told.items() if "Not acceptable JSON" not in text] == []
