"""Promise 1: requests made up from the OpenAPI document cause no 5xx, and afterwards everything that can be read can still be read."""

import random
import re
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from tests.torture.calling import GONE, Caller
from tests.torture.installation import Installation
from tests.torture.made_up import Maker
from tests.torture.storms import Storm, times, together

pytestmark = pytest.mark.torture
NewStorm = Callable[..., Storm]
CLIENTS = 4
PAGES = 30

STOCK = """
from tests.registry import factories
from tests.experiments.training.studying import make_split
from django.apps import apps
from mlops.tenancy.models import TenantModel
from mlops.jobs.models import Job
with acting(system(given["shop"])), transaction.atomic():
    factories.make_arena(policy={"four_eyes": True})
    factories.make_job()
    make_split(name="ours")
    said = ["demand_forecast", "v1", "v2", "v3", "m5_small", "ours", "1"]
    for model in apps.get_models():
        if issubclass(model, TenantModel):
            said += [str(pk) for pk in model.objects.values_list("pk", flat=True)[:3]]
    said += [str(pk) for pk in Job.objects.filter(customer_id=given["shop"]).values_list("pk", flat=True)[:3]]
    whose = Customer.objects.get(pk=given["shop"])
    tenancy.create_member(customer=whose, email="boss@example.com", role=Role.ADMIN, password=given["password"], at=now)
"""


def faulty(answer: Any) -> str:
    """What is wrong with an answer, whatever was asked."""
    if answer.status == GONE or answer.status >= 500:
        return f"{answer.status}"
    kind = answer.headers.get("content-type", "")
    if answer.status >= 400 and answer.content and not kind.startswith(("application/problem+json", "text/html")):
        return f"{answer.status} as {kind}"
    return ""


def test_no_made_up_request_is_a_5xx_or_breaks_a_later_read(installation: Installation, storm: NewStorm) -> None:
    raging = storm("1 · requests from the OpenAPI document")
    shop = installation.shop("Hostile")
    known = installation.ask(STOCK, shop=shop.id, password="correct horse battery staple")
    installation.up("web")
    first = installation.caller(shop.keys["admin"])
    before = {one.pid for one in installation.processes("web")}
    document = first.get("/api/schema?format=json", Accept="application/vnd.oai.openapi+json").json()
    roles = ("admin", "admin", "ml_manager", "data_scientist")

    def send(seed: int) -> None:
        maker, caller = Maker(document, random.Random(seed), known), installation.caller(shop.keys[roles[seed]], seconds=120)
        for _ in range(times(50_000, least=400) // CLIENTS):
            made = maker.request()
            answer = caller.try_once(made.method, made.path, body=made.body or b"", headers=made.headers)
            if answer.status == GONE:  # the server closes a connection on which a body came that its method has no use for
                raging.count("closed connections")
                answer = caller.try_once(made.method, made.path, body=made.body or b"", headers=made.headers)
            raging.count("requests")
            raging.count("accepted writes", made.method != "GET" and 200 <= answer.status < 300)
            if wrong := faulty(answer):
                raging.fault(f"{wrong}: {made} -> {answer}")

    together([lambda seed=seed: send(seed) for seed in range(CLIENTS)])

    raging.expect({one.pid for one in installation.processes("web")} == before, "a process died: of the web server")
    _read_everything(first, document, known, raging)
    raging.expect(not installation.tracebacks("web"), f"a traceback: {installation.tracebacks('web')[:1]}")
    raging.assert_kept(requests=times(50_000, least=400) // CLIENTS * CLIENTS, reads=50)


def _read_everything(caller: Caller, document: dict[str, Any], known: Iterable[str], raging: Storm) -> None:
    """Every GET, of lists all pages, of things those that the lists name."""
    found = list(known)
    paths = [path for path, methods in document["paths"].items() if "get" in methods]
    for path in sorted(paths, key=lambda one: one.count("{")):
        fillings = [""] if "{" not in path else found[:60]
        for filling in fillings:
            address: str | None = re.sub(r"\{\w+\}", filling, path)
            for _ in range(PAGES):
                answer = caller.get(address or "")
                raging.count("reads")
                if wrong := faulty(answer):
                    raging.fault(f"afterwards {wrong}: {address} -> {answer}")
                body = answer.json() if answer.status == 200 and "json" in answer.headers.get("content-type", "") else {}
                rows = (body.get("results") or []) if isinstance(body, dict) else []
                found += [str(row["id"]) for row in rows if isinstance(row, dict) and "id" in row][:3]
                following = body.get("next") if isinstance(body, dict) else None
                if not following:
                    break
                address = re.sub(r"^https?://[^/]+", "", following)
