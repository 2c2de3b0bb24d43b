"""The guide to training as printed: its commands in one shell, from the first to the last, while workers do what they lead to."""

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from django.db import transaction
from pytest_django.live_server_helper import LiveServer

from experiments import jobs as work  # noqa: F401 - importing makes the kinds of job known
from experiments import jobs_training as training_work  # noqa: F401
from experiments.models import Study
from mlops.jobs import runner
from mlops.jobs.models import OPEN, Job
from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import system
from registry.models import ModelVersion
from tests.docs.checkout import COMMANDS, make_checkout, with_address
from tests.experiments.chain import make_chain_model
from tests.experiments.training.splits import cut_in_process
from tests.experiments.training.studying import believe_own_artifacts
from tests.plugin import missing

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "api-training.md"
LONGEST = 300


def do_open_jobs(customer: Customer) -> None:
    """What a worker does meanwhile."""
    with acting(system(customer.pk)):
        for job in Job.objects.filter(state__in=OPEN).order_by("created_at"):
            runner.run(job_id=job.pk, attempts=job.attempt)


@pytest.mark.django_db(transaction=True)
def test_the_guide_leads_from_a_file_to_predictions_as_printed(
    live_server: LiveServer, customer: Customer, key: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (shutil.which("curl") and shutil.which("bash")):
        missing("no curl or no bash on PATH")
    believe_own_artifacts(monkeypatch)
    cut_in_process(monkeypatch)
    with acting(system(customer.pk)), transaction.atomic():
        make_chain_model(tmp_path, system(customer.pk), name="demand_forecast")
    folder = make_checkout(tmp_path / "reader", admin_key=key("admin"))
    script = with_address(GUIDE.read_text(), url=live_server.url, key=key("ml_manager"))
    assert script.count("curl ") >= 25
    before = sorted(folder.iterdir())

    with (tmp_path / "said").open("w+") as said:
        reader = subprocess.Popen(["bash", "-x", "-c", COMMANDS + script], cwd=folder, stdout=said, stderr=subprocess.STDOUT)
        started = time.monotonic()
        try:
            while reader.poll() is None and time.monotonic() < started + LONGEST:
                do_open_jobs(customer)
                time.sleep(0.1)
        finally:
            reader.kill()
        said.seek(0)
        assert reader.wait() == 0, said.read()[-4000:]

    assert sorted(folder.iterdir()) == before
    with acting(system(customer.pk)), transaction.atomic():
        assert list(ModelVersion.objects.filter(model__name="houses").order_by("number").values_list("version", "status")) == [
            ("v1", "champion"),
            ("v2", "archived"),
        ]
        assert not ModelVersion.objects.exclude(model__name="houses").filter(status__in=("champion", "archived")).exists()
        assert sorted(Study.objects.values_list("name", "status")) == [("Demand recipe", "cancelled"), ("Prices", "completed")]
