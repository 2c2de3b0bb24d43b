"""The examples of the guide to training, run one after the other by a shell, as a reader would, against a real server."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from django.db import transaction
from pytest_django.live_server_helper import LiveServer

from experiments import jobs as work  # noqa: F401 - importing makes the kinds of job known
from experiments import jobs_training as training_work  # noqa: F401
from mlops.jobs import runner
from mlops.jobs.models import OPEN, Job
from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import system
from registry.models import ModelVersion
from tests.docs.test_docs import FENCE
from tests.experiments.chain import make_chain_model
from tests.experiments.training.splits import cut_in_process
from tests.experiments.training.studying import believe_own_artifacts
from tests.plugin import missing

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "api-training.md"
BLOCKS = [block for language, block in FENCE.findall(GUIDE.read_text()) if language == "sh" and "curl" in block]
LEFT_TO_WAIT = "Demand recipe"
"""A study that is cancelled while it waits."""
AROUND = """
curl() { command curl -sS -D head "$@"; code=$?; cat head >> heads; return $code; }
touch variables && . ./variables
%s
for name in SPLIT STUDY MODEL; do eval "echo $name=\\$$name"; done > variables
"""


def run(block: str, folder: Path, environment: dict[str, str]) -> tuple[list[int], str]:
    """The statuses that the calls of a block were answered with, and all that was printed."""
    heads = folder / "heads"
    heads.unlink(missing_ok=True)
    ended = subprocess.run(
        ["sh", "-c", AROUND % block.replace("30,", "3,", 1)], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    said = ended.stdout + ended.stderr
    assert ended.returncode == 0, said
    statuses = [int(code) for code in re.findall(r"^HTTP/\S+ (\d+)", heads.read_text(), re.MULTILINE)]
    return [code for code in statuses if code >= 200], said


def do_open_jobs(customer: Customer) -> None:
    """What a worker does meanwhile."""
    with acting(system(customer.pk)):
        for job in Job.objects.filter(state__in=OPEN).order_by("created_at"):
            runner.run(job_id=job.pk, attempts=job.attempt)


@pytest.mark.django_db(transaction=True)
def test_every_example_works_after_those_before_it(
    live_server: LiveServer, customer: Customer, key: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not shutil.which("curl"):
        missing("curl")
    believe_own_artifacts(monkeypatch)
    cut_in_process(monkeypatch)
    with acting(system(customer.pk)), transaction.atomic():
        make_chain_model(tmp_path, system(customer.pk), name="demand_forecast")
    folder = tmp_path / "reader"
    folder.mkdir()
    environment = {"PATH": os.environ["PATH"], "TILTYARD": live_server.url, "KEY": key("admin")}

    for block in BLOCKS:
        statuses, said = run(block, folder, environment)
        assert [code for code in statuses if not 200 <= code < 300] == [], f"{block}\n{said}"
        assert len(statuses) == block.count("curl "), said
        if LEFT_TO_WAIT not in block:
            do_open_jobs(customer)

    with acting(system(customer.pk)), transaction.atomic():
        assert list(ModelVersion.objects.filter(model__name="houses").order_by("number").values_list("version", "status")) == [
            ("v1", "archived"),
            ("v2", "champion"),
        ]
