"""The examples of the documentation work as printed: page after page, each in a new shell, against a server with what a demo holds."""

import shutil
import subprocess
from datetime import date, timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from pytest_django.live_server_helper import LiveServer

from mlops.outbox import services as outbox
from mlops.outbox.models import Message
from mlops.tenancy import services as tenancy
from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Role, system
from registry.services.datasets import import_path
from tests.docs.checkout import COMMANDS, make_checkout, with_address
from tests.plugin import missing
from tests.registry.factories import make_arena, make_version

pytestmark = pytest.mark.django_db(transaction=True)
ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    "README.md": ("## Five minutes with curl", 10),
    "docs/api.md": ("", 20),
    "docs/api-datasets.md": ("", 10),
    "docs/experiments.md": ("", 7),
    "docs/alerts.md": ("", 3),
}
"""In the order of the README's table: the section with the examples if it is not the whole page, and how many calls there are at least."""


@pytest.fixture
def shop(customer: Customer, tmp_path: Path) -> Customer:
    """What the examples take for granted: the demo's model with five versions, learning from stores and items."""
    sales = tmp_path / "demo.csv"
    days = [date.today() - timedelta(days=back) for back in range(200, 0, -1)]  # noqa: DTZ011 - days, not moments
    series = [f"{store},{item}" for store in ("S1", "S2") for item in ("BAKERY_01", "TOYS_01")]
    sales.write_text("date,store,item,units\n" + "".join(f"{day},{one},{9 + day.day % 7}\n" for day in days for one in series))
    with acting(system(customer.pk)), transaction.atomic():
        champion, _ = make_arena()
        for mae in (1.3, 3.1):
            make_version(champion.model, metrics={"mae": mae})
        import_path(name="demo", path=sales, by=system(customer.pk), at=timezone.now(), model=champion.model, trusted=True)
    return customer


@pytest.fixture
def folder(customer: Customer, tmp_path: Path) -> Path:
    """A checkout as a reader has it: an interpreter, the command that makes keys, and the state folder."""
    _, secret = tenancy.create_api_key(customer=customer, role=Role.ADMIN, name="tidying", user=None, at=timezone.now())
    checkout = make_checkout(tmp_path / "reader", admin_key=secret)
    (checkout / "var").mkdir()
    (checkout / "var" / "data").symlink_to(settings.DATA_ROOTS[0])
    return checkout


def examples(page: str, *, url: str, key: str) -> str:
    """The page's commands in their order, with the address and key that a reader puts in."""
    section, least = PAGES[page]
    text = (ROOT / page).read_text()
    text = text.split(section)[1].split("\n## ")[0] if section else text
    lines = with_address(text, url=url, key=key)
    assert lines.count("curl ") >= least
    return lines


def hand_out_news() -> None:
    """What relay and workers do meanwhile."""
    for message in Message.objects.filter(handled_at=None).order_by("created_at", "pk"):
        outbox.handle(message_id=message.pk, attempts=message.attempts, at=timezone.now())


def test_every_example_works_as_printed(shop: Customer, folder: Path, live_server: LiveServer) -> None:
    if not (shutil.which("curl") and shutil.which("bash")):
        missing("no curl or no bash on PATH")
    settings.DATA_ROOTS[0].mkdir(parents=True, exist_ok=True)
    _, key = tenancy.create_api_key(customer=shop, role=Role.ML_MANAGER, name="demo", user=None, at=timezone.now())

    before = sorted(folder.iterdir())
    for page in PAGES:
        script = COMMANDS + examples(page, url=live_server.url, key=key)
        ran = subprocess.run(["bash", "-x", "-c", script], cwd=folder, capture_output=True, text=True, check=False, timeout=300)
        assert ran.returncode == 0, f"{page}\n{ran.stderr[-2000:]}\n{ran.stdout[-2000:]}"
        assert sorted(folder.iterdir()) == before, page
        hand_out_news()
