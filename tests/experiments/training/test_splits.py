"""Splits under faults: killed attempts, cancelled jobs, sources that change or vanish, many at once. Nothing is left half made."""

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings as live
from django.db import transaction
from rest_framework.test import APIClient

from engine.formats.trial import UnsafeFile
from experiments.jobs_training import cancel_split, fail_split
from experiments.models import Split, Study
from experiments.services import split_files, splitting
from experiments.services.splitting import SplitInUse, SplitNotReady, delete_split, lock_ready_split, plan_of
from experiments.states import SPLIT_LIFECYCLE
from mlops.artifacts.storage import DigestMismatch, storage
from mlops.audit.services import verify
from mlops.database.reading import reading
from mlops.errors import InvalidField, NotFound
from mlops.jobs import services as jobs
from mlops.jobs.events import JobCancelled, JobFailed
from mlops.jobs.models import Job
from mlops.lifecycle.models import Move
from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Forbidden, Principal, Role
from tests.conftest import NOON
from tests.experiments.training.splits import PLAN, URL, csv, cut_in_process, kept, post_file, post_records, rows, run_job
from tests.experiments.training.studying import make_model, make_study
from tests.registry.test_races import at_once

Api = Callable[..., APIClient]
CROWD = 6


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No child."""
    cut_in_process(monkeypatch)


@pytest.fixture
def committed(manager: Principal, transactional_db: None) -> Iterator[Principal]:
    """The test acts as the manager; what it writes, other connections see."""
    with acting(manager):
        yield manager


def plan(**values: Any) -> Any:
    return plan_of({"fractions": {"train": 0.7, "validation": 0.15, "test": 0.15}, "strategy": "random", **PLAN, **values})


def by_file(by: Principal, folder: Path, content: bytes | None = None, **values: Any) -> Split:
    (folder / "upload").write_bytes(csv() if content is None else content)
    return splitting.split_file(name="houses", plan=plan(**values), path=folder / "upload", file_name="houses.csv", by=by, at=NOON)


def by_records(by: Principal) -> Split:
    return splitting.split_records(name="houses", plan=plan(), records=rows(), by=by, at=NOON)


def reread(split: Split) -> Split:
    with reading():
        return Split.objects.get(pk=split.pk)


# Spelled out a second time on purpose.
LEGAL = {("pending", "ready"), ("pending", "failed")}


def test_life_cycle_of_a_split_is_the_documented_one() -> None:
    assert {(source, target) for source, target, _ in SPLIT_LIFECYCLE.edges()} == LEGAL


@pytest.mark.django_db
def test_a_part_is_read_back_and_its_digest_checked(scope: Principal, customer: Customer, tmp_path: Path) -> None:
    split = by_records(scope)

    frame = split_files.read_part(split, "train", ["price", "town"])

    assert (frame.height, frame.columns) == (42, ["price", "town"])
    assert storage().local_root is not None
    Path(storage().local_root / split.parts["train"]["path"]).write_bytes(b"other bytes")
    with pytest.raises(DigestMismatch):
        split_files.read_part(split, "train")


@pytest.mark.django_db
def test_an_attempt_that_died_leaves_nothing_in_the_way(
    scope: Principal, customer: Customer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = by_file(scope, tmp_path)
    keep = split_files.store_parts

    def die(*args: Any, **options: Any) -> Any:
        keep(*args, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(split_files, "store_parts", die)
        with pytest.raises(KeyboardInterrupt):
            run_job(str(split.job_id))
    assert len(kept(customer)) == 4  # the source and what was made of it
    Job.objects.update(state="queued")

    assert run_job(str(split.job_id)).state == "succeeded"

    split = reread(split)
    assert (split.status, split.source_path) == ("ready", "")
    assert kept(customer) == sorted(part["path"] for part in split.parts.values())


@pytest.mark.django_db
def test_an_attempt_that_lost_its_lease_writes_nothing(scope: Principal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = by_file(scope, tmp_path)
    cut = splitting.cut_table

    def overtaken(*args: Any, **options: Any) -> Any:
        Job.objects.update(attempt=9)
        return cut(*args, **options)

    monkeypatch.setattr(splitting, "cut_table", overtaken)

    assert run_job(str(split.job_id)).state == "running"  # the other attempt's

    assert reread(split).status == "pending"


@pytest.mark.django_db
def test_a_repeated_attempt_says_again_what_was_done(scope: Principal, customer: Customer, tmp_path: Path) -> None:
    split = by_file(scope, tmp_path)
    first = run_job(str(split.job_id))
    storage().put_bytes(f"splits/{customer.pk}/{split.pk}/source-left-behind", b"x")
    Job.objects.update(state="queued")

    again = run_job(str(split.job_id))

    assert (again.state, again.result) == ("succeeded", first.result)
    assert len(kept(customer)) == 3
    assert Move.objects.filter(stream_id=split.pk).count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize("when", ["queued", "running"])
def test_a_cancelled_job_fails_its_split_and_leaves_nothing(
    scope: Principal, customer: Customer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    split = by_file(scope, tmp_path)
    job = Job.objects.get(pk=split.job_id)

    if when == "queued":
        jobs.cancel(job=job, at=NOON, by=scope)
        cancel_split(JobCancelled(job_id=str(job.pk), kind=job.kind, label=job.label))
    else:
        monkeypatch.setattr(splitting, "cut_table", _raise(jobs.Cancelled()))
        run_job(str(job.pk))

    split = reread(split)
    assert (split.status, [problem["code"] for problem in split.problems]) == ("failed", ["cancelled"])
    assert kept(customer) == []


@pytest.mark.django_db
def test_a_job_that_gave_up_fails_its_split(scope: Principal, customer: Customer, tmp_path: Path) -> None:
    split = by_file(scope, tmp_path)
    job = Job.objects.get(pk=split.job_id)

    fail_split(JobFailed(job_id=str(job.pk), kind=job.kind, label=job.label, error="The worker stopped answering.", attempts=3))

    split = reread(split)
    assert (split.status, split.problems[0]["code"]) == ("failed", "job_failed")
    assert kept(customer) == []


@pytest.mark.django_db
def test_news_of_other_jobs_is_nothing_to_splits(scope: Principal) -> None:
    nobody = "00000000-0000-0000-0000-000000000009"

    fail_split(JobFailed(job_id=nobody, kind="retrain", label="x", error="x", attempts=3))
    cancel_split(JobCancelled(job_id=nobody, kind="retrain", label="x"))

    assert Split.objects.count() == 0


@pytest.mark.django_db
@pytest.mark.parametrize("reason", ["memory", "timed_out", "crashed"])
def test_a_file_that_breaks_its_reader_ends_failed_at_once(
    scope: Principal, customer: Customer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    split = by_file(scope, tmp_path)
    monkeypatch.setattr(splitting, "cut_safely", _raise(UnsafeFile(reason, "The file was refused.")))

    job = run_job(str(split.job_id))

    assert (job.state, job.attempt) == ("failed", 1)
    assert [problem["code"] for problem in reread(split).problems] == [reason]
    assert kept(customer) == []


@pytest.mark.django_db
def test_a_source_that_vanished_ends_failed(scope: Principal, customer: Customer, tmp_path: Path) -> None:
    split = by_file(scope, tmp_path)
    split_files.discard(split.pk)

    assert run_job(str(split.job_id)).state == "failed"

    assert [problem["code"] for problem in reread(split).problems] == ["artifact_missing"]


@pytest.mark.django_db
def test_a_local_file_that_vanished_ends_failed(scope: Principal, tmp_path: Path, settings: Any) -> None:
    settings.DATA_ROOTS = [tmp_path]
    (tmp_path / "f.csv").write_bytes(csv())
    split = splitting.split_uri(name="houses", plan=plan(), uri="f.csv", by=scope, at=NOON)
    (tmp_path / "f.csv").unlink()

    run_job(str(split.job_id))

    assert (reread(split).status, reread(split).problems[0]["code"]) == ("failed", "invalid")


@pytest.mark.django_db
def test_files_of_a_row_that_could_not_be_written_are_removed(
    scope: Principal, customer: Customer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splitting, "_insert", _raise(RuntimeError("the database is gone")))

    for make in (lambda: by_file(scope, tmp_path), lambda: by_records(scope)):
        with pytest.raises(RuntimeError):
            make()

    assert kept(customer) == []
    assert list(Path(live.FILE_UPLOAD_TEMP_DIR).glob("*")) == []


@pytest.mark.django_db
def test_only_a_ready_split_can_be_rested_on(scope: Principal, tmp_path: Path) -> None:
    pending, ready = by_file(scope, tmp_path), by_records(scope)

    with transaction.atomic():
        assert lock_ready_split(ready.pk).pk == ready.pk
        with pytest.raises(SplitNotReady):
            lock_ready_split(pending.pk)
    delete_split(split_id=ready.pk, by=_admin(scope), at=NOON)
    with transaction.atomic(), pytest.raises(NotFound):
        lock_ready_split(ready.pk)


@pytest.mark.django_db
def test_data_that_a_version_was_trained_on_are_never_deleted(scope: Principal, customer: Customer) -> None:
    from tests.registry.factories import make_version

    split = by_records(scope)
    model = make_model("churn")
    make_study(split=split, model=model, version=make_version(model), deleted_at=NOON)

    with pytest.raises(SplitInUse):
        delete_split(split_id=split.pk, by=_admin(scope), at=NOON, delete_artifacts=True)
    delete_split(split_id=split.pk, by=_admin(scope), at=NOON)

    assert len(kept(customer)) == 3


@pytest.mark.django_db
def test_services_ask_for_the_role_themselves(principal: Callable[..., Principal], tmp_path: Path) -> None:
    viewer = principal("viewer")

    with acting(viewer):
        for make in (by_records, lambda by: by_file(by, tmp_path)):
            with pytest.raises(Forbidden):
                make(viewer)


@pytest.mark.django_db
def test_what_was_asked_for_never_changes(scope: Principal) -> None:
    from django.db.utils import DatabaseError

    split = by_records(scope)

    for values in ({"seed": 8}, {"target": "size"}, {"strategy": "time"}):
        with pytest.raises(DatabaseError), transaction.atomic():
            Split.objects.filter(pk=split.pk).update(**values)


# --- clouds -------------------------------------------------------------------------------------------------------------------------------
class Bucket(BaseHTTPRequestHandler):
    """As much of an object store as a download needs."""

    objects: dict[str, bytes] = {}
    asked: list[str] = []

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        content = self.objects.get(self.path)
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Length", str(len(content or b"")))
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", "Mon, 02 Mar 2026 12:00:00 GMT")
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[type[Bucket]]:
    """An S3-compatible store at an address that only the operator's environment names."""
    Bucket.objects, Bucket.asked = {}, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}", "AWS_ALLOW_HTTP": "true", "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "eu-central-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    settings.DATA_URIS = ["s3://sales/training/"]
    yield Bucket
    server.shutdown()
    server.server_close()


@pytest.mark.django_db
def test_an_object_of_an_allowed_bucket_is_split(scope: Principal, customer: Customer, bucket: type[Bucket]) -> None:
    bucket.objects["/sales/training/2026/houses.csv"] = csv()
    split = splitting.split_uri(name="houses", plan=plan(), uri="s3://sales/training/2026/houses.csv", by=scope, at=NOON)

    assert run_job(str(split.job_id)).state == "succeeded"

    split = reread(split)
    assert (split.status, split.rows, split.source_size) == ("ready", 60, len(csv()))
    assert len(kept(customer)) == 3


@pytest.mark.django_db
def test_a_prefix_that_names_the_customer_is_closed_to_the_others(scope: Principal, customer: Customer, settings: Any) -> None:
    settings.DATA_URIS = ["s3://sales/{customer}/"]
    uri = f"s3://sales/{customer.pk}/houses.csv"

    assert split_files.checked_uri(uri) == uri
    for other in (f"s3://sales/{uuid4()}/houses.csv", "s3://sales/{customer}/houses.csv", "s3://sales/houses.csv"):
        with pytest.raises(InvalidField):
            split_files.checked_uri(other)


@pytest.mark.django_db
def test_an_object_that_is_not_there_ends_failed(scope: Principal, bucket: type[Bucket]) -> None:
    split = splitting.split_uri(name="houses", plan=plan(), uri="s3://sales/training/none.csv", by=scope, at=NOON)

    run_job(str(split.job_id))

    found = reread(split).problems[0]
    assert found["code"] == "source_unavailable"
    assert found["message"] == "s3://sales/training/none.csv cannot be fetched: there is no such object."


@pytest.mark.django_db
def test_an_object_larger_than_allowed_ends_failed(scope: Principal, bucket: type[Bucket], settings: Any) -> None:
    bucket.objects["/sales/training/big.csv"] = csv()
    settings.MAX_DATASET_BYTES = 100
    split = splitting.split_uri(name="houses", plan=plan(), uri="s3://sales/training/big.csv", by=scope, at=NOON)

    run_job(str(split.job_id))

    assert reread(split).problems[0]["code"] == "too_large"
    assert list(Path(live.FILE_UPLOAD_TEMP_DIR).glob("*")) == []


@pytest.mark.django_db
def test_a_bucket_that_is_no_longer_allowed_is_not_asked(scope: Principal, bucket: type[Bucket], settings: Any) -> None:
    split = splitting.split_uri(name="houses", plan=plan(), uri="s3://sales/training/houses.csv", by=scope, at=NOON)
    settings.DATA_URIS = []

    run_job(str(split.job_id))

    assert (reread(split).status, bucket.asked) == ("failed", [])
    with pytest.raises(InvalidField):
        splitting.split_uri(name="houses", plan=plan(), uri="s3://sales/training/houses.csv", by=scope, at=NOON)


# --- storms -------------------------------------------------------------------------------------------------------------------------------
@pytest.mark.django_db(transaction=True)
def test_the_same_post_many_times_at_once_makes_one_split(api: Api, committed: Principal, customer: Customer) -> None:
    client = api()
    client.get(URL)  # a client loads its middleware at the first request, which must not be six at once
    headers = {"Idempotency-Key": "storm"}

    answers = at_once(*[lambda: client.post(URL, PLAN | {"records": rows()}, headers=headers)] * CROWD)

    made = [answer for answer in answers if answer.status_code == 201]
    assert made, [(answer.status_code, answer.json().get("code")) for answer in answers]
    assert {answer.json()["id"] for answer in made} == {made[0].json()["id"]}
    with reading():
        assert Split.objects.count() == 1
    assert verify().intact


@pytest.mark.django_db(transaction=True)
def test_many_splits_at_once_are_all_made(api: Api, committed: Principal, customer: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splitting, "PATIENCE", 60.0)  # nobody is turned away here, however busy the machine
    clients = [api(email=f"person{number}@shop.example") for number in range(CROWD)]

    answers = at_once(
        *[lambda one=one: post_records(one) for one in clients[: CROWD // 2]],
        *[lambda one=one: post_file(one) for one in clients[CROWD // 2 :]],
    )

    assert sorted(answer.status_code for answer in answers) == [201] * (CROWD // 2) + [202] * (CROWD // 2)
    assert len(kept(customer)) == 3 * (CROWD // 2) + CROWD // 2
    assert verify().intact


@pytest.mark.django_db(transaction=True)
def test_a_study_that_races_a_deletion_never_rests_on_a_deleted_split(api: Api, committed: Principal, customer: Customer) -> None:
    made = post_records(api()).json()
    with transaction.atomic():
        model = make_model("churn")
    admin = api("admin")

    def study() -> str:
        with acting(committed):
            try:
                with transaction.atomic():
                    split = lock_ready_split(split_id)
                    make_study(split=split, model=model)
            except NotFound:
                return "refused"
        return "made"

    with reading():
        split_id = Split.objects.get(pk=made["id"]).pk
    answer, outcome = at_once(lambda: admin.delete(f"{URL}/{made['id']}"), study)

    with reading():
        deleted = Split.objects.get(pk=split_id).deleted_at is not None
        assert Study.objects.exists() == (outcome == "made") == (not deleted)
    assert answer.status_code == (204 if deleted else 409)


@pytest.mark.django_db(transaction=True)
def test_deletions_at_once_delete_once(api: Api, committed: Principal) -> None:
    made = post_records(api()).json()
    admins = [api("admin") for _ in range(CROWD)]

    answers = at_once(*[lambda one=one: one.delete(f"{URL}/{made['id']}") for one in admins])

    assert sorted(answer.status_code for answer in answers) == [204] + [404] * (CROWD - 1)
    assert verify().intact


@pytest.mark.django_db(transaction=True)
def test_deleting_a_split_locks_in_the_order_of_the_job_that_prepares_it(api: Api, committed: Principal, tmp_path: Path) -> None:
    split = by_file(committed, tmp_path)
    admin = api("admin")
    fenced = threading.Event()

    def prepare() -> str:
        with acting(committed), transaction.atomic():
            Job.objects.select_for_update().get(pk=split.job_id)  # as an attempt's fence does
            fenced.set()
            time.sleep(0.5)
            Split.objects.select_for_update().get(pk=split.pk)
        return "done"

    def delete() -> int:
        assert fenced.wait(10)
        return int(admin.delete(f"{URL}/{split.pk}").status_code)

    assert at_once(prepare, delete) == ["done", 204]


def _raise(failure: BaseException) -> Callable[..., Any]:
    def act(*args: Any, **options: Any) -> Any:
        raise failure

    return act


def _admin(by: Principal) -> Principal:
    return Principal(kind="user", name="admin@example.com", role=Role.ADMIN, customer_id=by.customer_id)
