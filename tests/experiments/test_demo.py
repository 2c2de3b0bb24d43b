"""The demo: what it makes, what it says of its data, and how it goes on where it was interrupted."""

import logging
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from experiments.services import demo
from mlops.audit.models import AuditEvent
from mlops.jobs.models import Job
from mlops.tenancy.models import ApiKey
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import system
from mlops.tenancy.services import DEMO_CUSTOMER
from registry.models import Dataset, RegisteredModel, RetrainingRun
from registry.services import accuracy
from registry.states import RetrainingStatus
from tests.conftest import NOON

pytestmark = pytest.mark.django_db
FIRST, LAST = date(2026, 1, 25), date(2026, 1, 31)


class Interrupted(Exception):
    """As by Ctrl-C."""


@pytest.fixture
def sales(tmp_path: Path) -> Path:
    """Daily sales of one shop over four weeks and a bit, whose last day is a Saturday."""
    path = tmp_path / "My Sales 2026.csv"
    days = [date(2025, 12, 27 + day) if day < 5 else date(2026, 1, day - 4) for day in range(36)]
    path.write_text("date,store,units\n" + "".join(f"{day},a,{3 + day.day % 4}\n" for day in days))
    return path


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Trainings take no time here; the list has their reasons, and `stop` in it ends the next one."""
    done: list[str] = []

    def retrain(model: RegisteredModel, *, reason: str, **_: Any) -> RetrainingRun:
        if "stop" in done:
            done.remove("stop")
            raise Interrupted
        done.append(reason)
        values = {"model_name": model.name, "trigger_type": "manual", "requested_by": "demo", "started_at": timezone.now()}
        return RetrainingRun.objects.create(model=model, reason=reason, status=RetrainingStatus.COMPLETED, **values)

    monkeypatch.setattr(demo, "retrain", retrain)
    demo.demo_customer(at=NOON)
    return done


def seed(path: Path, *, synthetic: bool = False) -> None:
    demo.seed(path=path, synthetic=synthetic, sundays=1, report=lambda _: None, at=timezone.now())


def test_an_interrupted_demo_goes_on_where_it_was(trained: list[str], sales: Path) -> None:
    seeded = [demo.is_seeded()]
    trained.append("stop")
    with pytest.raises(Interrupted):
        seed(sales)
    seed(sales)
    seeded.append(demo.is_seeded())

    assert seeded == [False, True]
    assert trained == [demo._reason(FIRST), demo._reason(LAST), demo.WORSE_REASON]


@pytest.mark.parametrize(("synthetic", "title"), [(True, "Demand forecast on synthetic data"), (False, "Demand forecast")])
def test_the_model_says_whether_its_data_is_made_up(trained: list[str], sales: Path, synthetic: bool, title: str) -> None:
    seed(sales, synthetic=synthetic)

    with acting(system(DEMO_CUSTOMER)):
        assert RegisteredModel.objects.get().display_name == title
        assert Dataset.objects.get().name == "my_sales_2026"


def test_other_data_than_the_demo_has_is_refused_aloud(
    trained: list[str], sales: Path, settings: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.VAR_DIR = tmp_path
    said = []
    for name in (sales.name, sales.name, "other.csv"):
        call_command("seed_demo", data=tmp_path / name)
        said.append("was not read" in " ".join(capsys.readouterr().err.split()))

    assert said == [False, False, True]
    assert logging.getLogger().level == logging.INFO  # the demo is quiet for itself, not for who called it


def test_a_simulated_sundays_drift_check_is_a_job_like_any_other(trained: list[str], sales: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seed(sales)
    monkeypatch.setattr(accuracy, "validate_new_days", lambda **_: {"days": 7, "version": "v1"})
    said: list[str] = []

    with acting(system(DEMO_CUSTOMER)):
        demo.live_through(RegisteredModel.objects.get(), LAST, report=said.append)
        job = Job.objects.get(kind="detect_model_drift")

    assert (job.state, job.requested_by) == ("succeeded", "demo")
    assert said == [f"{LAST}: validated 7 days of v1; {job.result['models']['demand_forecast']['said']}"]


def test_the_demos_audit_trail_never_runs_backwards(trained: list[str], sales: Path, settings: Any, tmp_path: Path) -> None:
    settings.VAR_DIR = tmp_path

    call_command("seed_demo", data=sales)

    with acting(system(DEMO_CUSTOMER)):
        events = list(AuditEvent.objects.order_by("number").values_list("action", "occurred_at"))
    assert events[-1][0] == "key.created"
    assert [moment for _, moment in events] == sorted(moment for _, moment in events)


def test_what_was_read_and_guessed_is_said(trained: list[str], tmp_path: Path) -> None:
    path = tmp_path / "umsatz.csv"
    days = [FIRST - timedelta(days=ago) for ago in range(400)]
    rows = [f"{day};{item};{7 + day.day % 5},5;x" for day in days for item in ("Brot", "Bier") if (day.day, item) != (3, "Bier")]
    path.write_text("\n".join(["Datum;Artikel;Menge;Notiz", *rows]))
    said: list[str] = []

    demo.seed(path=path, synthetic=False, sundays=0, report=said.append, at=NOON)

    text = "\n".join(said)
    assert "read as: the day from 'Datum', demand from 'Menge', one series per Artikel" in text
    assert "not used: Notiz" in text
    assert f"days without a row, counted per series and taken as zero sales: {sum(day.day == 3 for day in days)}" in text


def test_sundays_before_the_data_begins_are_refused(trained: list[str], sales: Path) -> None:
    with pytest.raises(demo.DemoFailed, match=r"300 Sundays before its end, on \S+ nothing was known yet"):
        demo.seed(path=sales, synthetic=False, sundays=300, report=lambda _: None, at=NOON)

    assert trained == []


def test_the_demos_key_is_a_programs(trained: list[str]) -> None:
    access = demo.grant_access(demo.demo_customer(at=NOON), at=NOON)

    key = ApiKey.objects.get(prefix=access.api_key[:10])
    assert (key.user, key.role) == (None, "ml_manager")


def test_few_days_are_judged_on_a_part_of_them(trained: list[str], sales: Path) -> None:
    seed(sales)

    with acting(system(DEMO_CUSTOMER)):
        assert RegisteredModel.objects.get().policy == {"backtest_days": 14}
