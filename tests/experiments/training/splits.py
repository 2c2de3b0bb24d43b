"""Splits asked for through the API, and their jobs done in this process."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from engine.formats.tables import ChildLimits, Cut
from engine.tabular.columns import PARTS
from engine.tabular.preparing import prepare
from engine.tabular.sources import Format
from engine.tabular.splitting import SplitPlan
from experiments.services import splitting
from mlops.artifacts.storage import storage
from mlops.jobs import runner
from mlops.jobs.models import Job
from mlops.tenancy.models import Customer

URL = "/v1/splits"
PLAN: dict[str, Any] = {"name": "houses", "target": "price", "task": "regression", "seed": 7}


def rows(count: int = 60) -> list[dict[str, Any]]:
    """Houses, sold one a day, in six towns."""
    return [
        {
            "size": 40 + number * 37 % 43,
            "garden": number % 3 == 0,
            "town": f"town {number % 6}",
            "sold": f"2024-{1 + number // 28:02d}-{1 + number % 28:02d}",
            "price": 100.5 + number * 53 % 77,
        }
        for number in range(count)
    ]


def csv(count: int = 60) -> bytes:
    """The same as a file."""
    found = rows(count)
    lines = [",".join(found[0]), *(",".join(str(value) for value in row.values()) for row in found)]
    return "\n".join(lines).encode() + b"\n"


def post_records(client: APIClient, records: Any = None, **values: Any) -> Any:
    """Ask for a split of records."""
    return client.post(URL, PLAN | {"records": rows() if records is None else records} | values)


def post_file(client: APIClient, content: bytes | None = None, *, file_name: str = "houses.csv", **values: Any) -> Any:
    """Ask for a split of a file."""
    file = SimpleUploadedFile(file_name, csv() if content is None else content)
    return client.post(URL, PLAN | {"file": file} | values, format="multipart")


def run_job(job_id: str) -> Job:
    """Do the job's next attempt as a worker would."""
    job = Job.objects.get(pk=job_id)
    runner.run(job_id=job.pk, attempts=job.attempt)
    job.refresh_from_db()
    return job


def kept(customer: Customer) -> list[str]:
    """Everything in the storage for the customer's splits."""
    return sorted(storage().list(f"splits/{customer.pk}"))


def cut_in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables are cut here instead of in a child, whose start takes a second; `tests/engine/formats` holds the two equal."""

    def cut(source: Path, folder: Path, plan: SplitPlan, *, kind: Format = "auto", limits: ChildLimits) -> Cut:
        files = {part: folder / f"{part}.parquet" for part in PARTS}
        with ExitStack() as streams:
            opened = {part: streams.enter_context(path.open("xb")) for part, path in files.items()}
            prepared = prepare(source, plan, opened, kind=kind, limits=limits.read)
        return Cut(files, prepared, 0)

    monkeypatch.setattr(splitting, "cut_safely", cut)
