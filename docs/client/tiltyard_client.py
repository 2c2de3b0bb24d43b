"""A small client of Tiltyard's API, on Python's standard library alone: copy it and change it.

    TILTYARD=http://127.0.0.1:8000 KEY=ty_… python docs/client/tiltyard_client.py sales.csv

uploads a file, makes a model of it, retrains, waits, and prints what the arena said. A refusal is raised as `Problem`, with the `code` that
docs/problems.md explains.
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

ENDED = ("succeeded", "failed", "cancelled")
PATIENCE_S = 3600.0


class Problem(Exception):
    """The server refused (RFC 9457). `errors` names the fields, `document` is the whole answer."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.status: int = document.get("status", 0)
        self.code: str = document.get("code", "")
        self.errors: list[dict[str, str]] = document.get("errors", [])
        self.document = document
        named = "; ".join(f"{one['field']}: {one['message']}" for one in self.errors)
        super().__init__(f"{self.status} {self.code}: {named or document.get('detail', '')}")


class JobFailed(Exception):
    """A job ended without success; the message is its last error."""


@dataclass(frozen=True)
class DatasetVersion:
    """One file as it was, and the panel made from it. `dataset_id` is what models and retrainings name."""

    dataset_id: str
    dataset: str
    number: int
    status: str
    rows: int
    series: int
    first_day: str
    last_day: str
    mapping: dict[str, Any]


@dataclass(frozen=True)
class Job:
    """Long work."""

    id: str
    status: str
    progress: float
    last_error: str
    result: dict[str, Any]


@dataclass(frozen=True)
class Retraining:
    """A retraining that was asked for, or what came of it."""

    id: str
    job_id: str
    status: str
    version_produced: str | None
    metadata: dict[str, Any]


@dataclass(frozen=True)
class Health:
    """Champion and challenger as the server describes them; either may be None."""

    champion: dict[str, Any] | None
    challenger: dict[str, Any] | None
    retraining_triggers: dict[str, Any]


@dataclass(frozen=True)
class Compared:
    """One version's place in a comparison."""

    version: str
    status: str
    value: float | None
    best: bool
    difference_pct: float | None


@dataclass(frozen=True)
class Promotion:
    """What became of a promotion: `promoted`, or `pending` another manager's decision."""

    outcome: str
    version: str
    former_champion: str | None
    override: bool
    gates: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class AuditEvent:
    """Who did what to what."""

    number: int
    actor: str
    action: str
    object_label: str
    reason: str
    occurred_at: str


class Tiltyard:
    """One server, one API key. Every call raises Problem when it is refused, and urllib's URLError when nobody answers."""

    def __init__(self, url: str, key: str, *, timeout: float = 120.0) -> None:
        self.url, self.key, self.timeout = url.rstrip("/"), key, timeout

    # --- data -----------------------------------------------------------------------------------------------------------------------------

    def upload_dataset(self, path: Path, *, name: str, mapping: dict[str, Any] | None = None) -> DatasetVersion:
        """Send a CSV or Parquet file as a new data set, and wait until it is read. Without a mapping the server proposes one."""
        fields = {"name": name} | ({"mapping": json.dumps(mapping)} if mapping else {})
        body, content_type = _multipart(fields, path)
        sent = self._call("POST", "/api/v1/datasets", body=body, content_type=content_type)
        if sent["job_id"]:
            self.wait(sent["job_id"])
        return self.dataset_version(name, sent["number"])

    def dataset_version(self, name: str, number: int) -> DatasetVersion:
        """One version of a data set."""
        dataset = self._call("GET", f"/api/v1/datasets/{_part(name)}")
        found = self._call("GET", f"/api/v1/datasets/{_part(name)}/versions/{number}")
        return _made(DatasetVersion, {**found, "dataset_id": dataset["id"]})

    # --- models ---------------------------------------------------------------------------------------------------------------------------

    def register_model(self, name: str, **settings: Any) -> dict[str, Any]:
        """Register a model; settings as in docs/api.md (`task`, `policy`, `recipe`, `dataset_id` …)."""
        return self._send("POST", "/api/v1/models", {"name": name, **settings})

    def set_data_source(self, model: str, *, dataset_id: str) -> dict[str, Any]:
        """Let the model's retrainings read this data set. Refused (412 `stale`) when somebody changes the model at the same time."""
        address = f"/api/v1/models/{_part(model)}"
        revision = self._call("GET", address)["revision"]
        return self._send("PATCH", address, {"dataset_id": dataset_id}, headers={"If-Match": f'"model-{revision}"'})

    def retrain(self, model: str, *, reason: str = "") -> Retraining:
        """Ask for a retraining; a job does it. The random key makes a repeated request harmless."""
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        asked = self._send("POST", f"/api/v1/models/{_part(model)}/retrain", {"reason": reason}, headers=headers)
        return _made(Retraining, asked)

    def retrainings(self, model: str) -> list[Retraining]:
        """The model's retraining log, newest first."""
        return [_made(Retraining, row) for row in self._rows(f"/api/v1/models/{_part(model)}/retraining")]

    def health(self, model: str) -> Health:
        """How the champion does, and whether the challenger may take its place."""
        return _made(Health, self._call("GET", "/api/v1/models/health", query={"model_name": model}))

    def compare(self, model: str, *versions: str, metric: str = "mae") -> list[Compared]:
        """Versions side by side, the best first; the newest ten if none is named."""
        query = {"metric": metric} | ({"versions": ",".join(versions)} if versions else {})
        found = self._call("GET", f"/api/v1/models/{_part(model)}/compare", query=query)
        return [_made(Compared, row) for row in found["versions"]]

    def promote(self, model: str, version: str, *, reason: str, override: bool = False) -> Promotion:
        """Make a version champion, or, with four eyes on, ask another manager to."""
        body = {"reason": reason, "override": override}
        return _made(Promotion, self._send("POST", f"/api/v1/models/{_part(model)}/promote/{_part(version)}", body))

    # --- jobs and the audit trail ---------------------------------------------------------------------------------------------------------

    def job(self, job_id: str) -> Job:
        """A job as it stands."""
        return _made(Job, self._call("GET", f"/api/v1/jobs/{job_id}"))

    def wait(self, job_id: str, *, patience: float = PATIENCE_S, every: float = 1.0) -> Job:
        """Wait for a job's end. Raises JobFailed unless it succeeded, TimeoutError when patience (seconds) ends first."""
        deadline = time.monotonic() + patience
        while (job := self.job(job_id)).status not in ENDED:
            if time.monotonic() > deadline:
                raise TimeoutError(f"Job {job_id} is still {job.status} ({job.progress:.0%}).")
            time.sleep(every)
        if job.status != "succeeded":
            raise JobFailed(f"Job {job_id} {job.status}: {job.last_error or 'no error was given'}")
        return job

    def audit(self, **filters: str) -> Iterator[AuditEvent]:
        """The audit trail, newest first, page by page; filters as in docs/api.md (`action`, `object_id`, `since` …)."""
        return (_made(AuditEvent, row) for row in self._rows("/api/v1/audit", filters))

    def verify_audit(self) -> bool:
        """Whether the server finds the trail's chain intact."""
        return bool(self._call("GET", "/api/v1/audit/verify")["intact"])

    # --- the wire -------------------------------------------------------------------------------------------------------------------------

    def _rows(self, path: str, query: dict[str, str] | None = None) -> Iterator[dict[str, Any]]:
        page = 1
        while page:
            answer = self._call("GET", path, query={**(query or {}), "page": str(page), "page_size": "100"})
            yield from answer["results"]
            page = page + 1 if answer["next"] else 0

    def _send(self, method: str, path: str, body: dict[str, Any], *, headers: dict[str, str] | None = None) -> dict[str, Any]:
        return self._call(method, path, body=json.dumps(body).encode(), headers=headers)

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        headers: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        address = f"{self.url}{path}{'?' + urlencode(query) if query else ''}"
        sent = {"Authorization": f"Bearer {self.key}", **({"Content-Type": content_type} if body is not None else {}), **(headers or {})}
        request = urllib.request.Request(address, data=body, method=method, headers=sent)
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                found: dict[str, Any] = json.load(answer)
        except urllib.error.HTTPError as refusal:
            raise Problem(_document(refusal)) from None
        return found


def _document(refusal: urllib.error.HTTPError) -> dict[str, Any]:
    """The problem document; what a proxy in between answered has none."""
    text = refusal.read().decode(errors="replace")
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"status": refusal.code, "code": "", "detail": text[:500]}


def _made(kind: Any, values: dict[str, Any]) -> Any:
    """The dataclass with the fields it knows: a newer server may answer more."""
    return kind(**{name: values[name] for name in kind.__dataclass_fields__ if name in values})


def _part(text: str) -> str:
    """A name as one part of a path."""
    return quote(text, safe="")


def _multipart(fields: dict[str, str], file: Path) -> tuple[bytes, str]:
    """The fields and the file as a multipart body, with its content type."""
    boundary = uuid.uuid4().hex
    lines = [f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()]
    shown = file.name.replace('"', "_")
    lines.append(f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{shown}"\r\n\r\n')
    body = "".join(lines).encode() + file.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    return body, f"multipart/form-data; boundary={boundary}"


def main(path: Path) -> None:
    """From a file to a judged model."""
    client = Tiltyard(os.environ["TILTYARD"], os.environ["KEY"])
    name = f"example_{uuid.uuid4().hex[:8]}"
    data = client.upload_dataset(path, name=name)
    print(f"{data.rows:,} rows, {data.series} series, {data.first_day} to {data.last_day}; read as {data.mapping}")
    client.register_model(name)
    client.set_data_source(name, dataset_id=data.dataset_id)
    retraining = client.retrain(name, reason="First training.")
    print(client.wait(retraining.job_id).result["verdict"])
    for row in client.compare(name):
        print(f"{row.version:5} {row.status:11} MAE {row.value:.4f}" if row.value is not None else f"{row.version:5} {row.status}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
