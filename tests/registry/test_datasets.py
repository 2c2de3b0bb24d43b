"""What becomes of a data file: versions, panels, jobs, and what a crash leaves behind."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as live
from django.db import connection, transaction

from engine.formats.trial import UnsafeFile
from engine.frames.mapping import Mapping
from engine.frames.panel import Panel
from mlops.artifacts.storage import DigestMismatch, storage
from mlops.audit.models import AuditEvent
from mlops.errors import Busy, Duplicate, InvalidField
from mlops.jobs import runner
from mlops.jobs.models import Job, JobState
from mlops.jobs.services import cancel
from mlops.lifecycle.models import Move
from mlops.outbox.models import Message
from mlops.outbox.services import handle
from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Forbidden, Principal
from registry.models import Dataset, DatasetVersion
from registry.services import datasets, reading
from registry.services.dataset_panels import NotReady, panel_file, panel_of
from registry.services.model_settings import register_model
from registry.services.reading import UnreadableFile
from registry.states import DATASET_VERSION_LIFECYCLE
from tests.conftest import NOON
from tests.engine.frames.samples import long_csv, single_csv
from tests.registry.readers import read_each_file_once

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same file is read once in the whole run."""
    read_each_file_once(monkeypatch)


@pytest.fixture
def receive(scope: Principal, tmp_path: Path) -> Callable[..., datasets.Received]:
    """Receives a file: `receive()`, `receive(text, name="other", in_job=True)`."""

    def make(text: str = "", **options: Any) -> datasets.Received:
        path = tmp_path / "upload"
        path.write_text(text or long_csv(40))
        options = {"name": "sales", "by": scope, "at": NOON, "source_name": "sales.csv"} | options
        if "dataset" in options:
            options.pop("name")
            return datasets.new_version(source=path, **options)
        return datasets.receive_dataset(source=path, **options)

    return make


Receive = Callable[..., datasets.Received]


def run_job(received: datasets.Received, attempts: int = 0) -> Job:
    assert received.job is not None
    runner.run(job_id=received.job.pk, attempts=attempts)
    received.job.refresh_from_db()
    return received.job


def reread(version: DatasetVersion) -> DatasetVersion:
    return DatasetVersion.objects.select_related("dataset").get(pk=version.pk)


# Spelled out a second time on purpose.
LEGAL = {("received", "ready"), ("received", "failed")}


def test_life_cycle_of_a_version_is_the_documented_one() -> None:
    assert {(source, target) for source, target, _ in DATASET_VERSION_LIFECYCLE.edges()} == LEGAL


def test_panel_of_a_version_is_what_the_file_said(receive: Receive) -> None:
    version = receive().version

    panel = panel_of(reread(version))

    assert isinstance(panel, Panel)
    assert (panel.keys, panel.frame.height, panel.last_day) == (("store", "item"), 160, date(2024, 2, 9))


def test_receiving_is_audited_with_every_step(receive: Receive) -> None:
    version = receive().version

    actions = list(AuditEvent.objects.order_by("number").values_list("action", flat=True))
    assert actions[-3:] == ["dataset.created", "dataset_version.received", "dataset_version.ready"]
    assert list(Move.objects.filter(stream_id=version.dataset_id).values_list("source", "target")) == [("received", "ready")]


def test_files_lie_below_the_customer_and_the_data_set(receive: Receive, customer: Customer) -> None:
    version = receive().version

    prefix = f"datasets/{customer.pk}/{version.dataset_id}/"
    assert version.source_path.startswith(prefix)
    assert version.panel_path.startswith(prefix)
    assert storage().read(version.source_path, sha256=version.source_sha256) == long_csv(40).encode()


def test_receiving_needs_a_data_scientist(receive: Receive, principal: Callable[..., Principal]) -> None:
    with pytest.raises(Forbidden):
        receive(by=principal("viewer"))


def test_setting_a_models_source_needs_its_manager(receive: Receive, scope: Principal, principal: Callable[..., Principal]) -> None:
    model = register_model(name="demand", by=scope, at=NOON)

    with pytest.raises(Forbidden):
        receive(by=principal("data_scientist"), model=model)

    assert not Dataset.objects.exists()


def test_received_file_becomes_the_models_source(receive: Receive, scope: Principal) -> None:
    model = register_model(name="demand", by=scope, at=NOON)

    version = receive(model=model).version

    model.refresh_from_db()
    assert model.dataset_id == version.dataset_id


def test_name_taken_while_the_file_was_read_is_a_duplicate_and_leaves_no_file(
    receive: Receive, customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = datasets.make_panel

    def slow(*args: Any, **kwargs: Any) -> Any:
        Dataset.objects.create(name="sales", created_by="kim", created_at=NOON)
        return real(*args, **kwargs)

    monkeypatch.setattr(datasets, "make_panel", slow)

    with pytest.raises(Duplicate):
        receive()

    assert storage().list(f"datasets/{customer.pk}") == []


def test_same_file_sent_twice_at_once_is_one_version(receive: Receive, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = receive().version.dataset
    real = datasets.make_panel

    def slow(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(datasets, "make_panel", real)
        receive(long_csv(50), dataset=Dataset.objects.get())
        return real(*args, **kwargs)

    monkeypatch.setattr(datasets, "make_panel", slow)

    late = receive(long_csv(50), dataset=dataset)

    assert (late.repeated, late.version.number) == (True, 2)
    assert DatasetVersion.objects.count() == 2


def test_crash_before_the_commit_leaves_nothing_a_repeat_stumbles_over(receive: Receive, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(datasets, "_commit", crash)
        with pytest.raises(KeyboardInterrupt):
            receive()

    assert not Dataset.objects.exists()
    assert receive().version.status == "ready"


def test_large_file_is_read_by_its_job(receive: Receive) -> None:
    received = receive(in_job=True)

    job = run_job(received)

    version = reread(received.version)
    assert (job.state, version.status, version.rows) == (JobState.SUCCEEDED, "ready", 160)
    assert job.result == {"dataset": "sales", "dataset_version": 1, "rows": 160, "series": 4}
    assert panel_of(version).series.height == 4


def test_large_bad_file_fails_its_version_and_its_job_readably(receive: Receive) -> None:
    received = receive(single_csv(40) + "2024-02-10,-5\n", in_job=True)

    job = run_job(received)

    version = reread(received.version)
    assert (job.state, job.attempt, version.status) == (JobState.FAILED, 1, "failed")
    assert "below 0" in job.last_error or "negative" in job.last_error.lower()
    assert version.report["problems"][0]["code"] == "negative_target"


def test_failed_version_can_be_mapped_anew(receive: Receive, scope: Principal) -> None:
    received = receive(single_csv(40) + "2024-02-10,-5\n", in_job=True)
    run_job(received)
    mapping = received.version.mapping | {"negatives": "zero"}

    second = datasets.remap(dataset=Dataset.objects.get(), mapping=mapping, by=scope, at=NOON)

    assert (second.version.status, second.version.number) == ("ready", 2)
    assert Dataset.objects.get().mapping["negatives"] == "zero"


def test_file_that_takes_too_long_to_wait_for_is_left_to_a_job(receive: Receive, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*args: Any, **kwargs: Any) -> Any:
        raise UnsafeFile("timed_out", "The file took too long to read; it was refused.")

    with monkeypatch.context() as patched:
        patched.setattr(reading, "canonicalize", slow)
        received = receive()

    assert received.version.status == "received"
    assert run_job(received).state == JobState.SUCCEEDED


def test_cancelled_job_fails_its_version(receive: Receive, monkeypatch: pytest.MonkeyPatch) -> None:
    received = receive(in_job=True)

    def cancelled(*args: Any, **kwargs: Any) -> Any:
        raise runner.Cancelled

    monkeypatch.setattr(datasets, "make_panel", cancelled)

    job = run_job(received)

    assert (job.state, reread(received.version).status) == (JobState.CANCELLED, "failed")


def test_file_whose_queued_job_was_cancelled_is_read_when_sent_again(receive: Receive, scope: Principal) -> None:
    received = receive(in_job=True)
    assert received.job is not None
    cancel(job=received.job, at=NOON, by=scope)

    again = receive(dataset=Dataset.objects.get())

    assert (again.repeated, again.version.pk) == (True, received.version.pk)
    assert run_job(again).state == JobState.SUCCEEDED


def test_file_sent_again_while_it_waits_has_the_same_job(receive: Receive) -> None:
    first = receive(in_job=True)

    again = receive(dataset=Dataset.objects.get())

    assert first.job is not None
    assert again.job == first.job


def test_job_that_fails_without_an_answer_fails_its_version(receive: Receive, monkeypatch: pytest.MonkeyPatch) -> None:
    received = receive(in_job=True)

    def broken(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("the disk is gone")

    monkeypatch.setattr(datasets, "make_panel", broken)
    assert received.job is not None
    Job.objects.filter(pk=received.job.pk).update(max_attempts=1)

    job = run_job(received)
    message = Message.objects.get(topic="jobs.failed")
    handle(message_id=message.pk, attempts=message.attempts, at=NOON)

    version = reread(received.version)
    assert (job.state, version.status) == (JobState.FAILED, "failed")
    assert "the disk is gone" in version.report["problems"][0]["message"]


def test_attempt_after_the_work_was_done_says_the_same(receive: Receive) -> None:
    received = receive(in_job=True)
    run_job(received)
    assert received.job is not None
    Job.objects.filter(pk=received.job.pk).update(state=JobState.QUEUED)

    job = run_job(received, attempts=1)

    assert (job.state, job.result["rows"]) == (JobState.SUCCEEDED, 160)


def test_panel_of_an_unready_version_is_refused(receive: Receive) -> None:
    with pytest.raises(NotReady):
        panel_of(receive(in_job=True).version)


def test_corrupted_panel_in_the_storage_is_refused(receive: Receive) -> None:
    version = receive().version
    panel_file(version).unlink()
    root = storage().local_root
    assert root is not None
    (root / version.panel_path).write_bytes(b"something else")

    with pytest.raises(DigestMismatch):
        panel_of(version)


def test_corrupted_local_copy_is_fetched_again(receive: Receive) -> None:
    version = receive().version
    panel_file(version).write_bytes(b"something else")

    assert panel_of(version).series.height == 4


def test_unused_local_copies_are_evicted(receive: Receive, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = receive().version, receive(single_csv(40), name="other").version
    old = panel_file(first)
    monkeypatch.setattr("registry.services.dataset_panels.CACHE_BYTES", 1)
    monkeypatch.setattr("registry.services.dataset_panels.KEPT_SECONDS", 0)

    panel_file(second)

    assert not old.exists()
    assert panel_of(first).series.height == 4


def test_folder_is_kept_as_it_was_and_can_be_mapped_anew(scope: Principal, tmp_path: Path) -> None:
    for store in ("North", "South"):
        (tmp_path / f"{store}.csv").write_text(long_csv(40, stores=(store,)))
    version = datasets.import_path(name="folder", path=tmp_path, by=scope, at=NOON, trusted=True).version

    for file in tmp_path.iterdir():
        file.unlink()
    mapping = Mapping("transactions", "date", "units", ("store",))
    second = datasets.remap(dataset=version.dataset, mapping=mapping, by=scope, at=NOON).version

    assert (version.series, second.series) == (4, 2)
    assert second.source_path == version.source_path


def test_import_of_the_same_folder_again_is_the_same_version(scope: Principal, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(long_csv(40))
    first = datasets.import_path(name="folder", path=tmp_path, by=scope, at=NOON, trusted=True)

    again = datasets.import_path(name="folder", path=tmp_path, by=scope, at=NOON, trusted=True)
    (tmp_path / "a.csv").write_text(long_csv(50))
    newer = datasets.import_path(name="folder", path=tmp_path, by=scope, at=NOON, trusted=True)

    assert (again.repeated, again.version.pk) == (True, first.version.pk)
    assert (newer.repeated, newer.version.number) == (False, 2)


def test_import_outside_the_roots_needs_trust(scope: Principal, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(long_csv(40))

    with pytest.raises(InvalidField) as refusal:
        datasets.import_path(name="folder", path=tmp_path / "a.csv", by=scope, at=NOON)

    assert refusal.value.field == "data_dir"


def test_default_root_is_below_the_state_folder(scope: Principal) -> None:
    path = live.DATA_ROOTS[0] / "sales.csv"
    path.write_text(long_csv(40))

    assert datasets.import_path(name="sales", path="sales.csv", by=scope, at=NOON).version.status == "ready"


def test_column_names_that_cannot_be_stored_are_refused(receive: Receive) -> None:
    with pytest.raises((InvalidField, UnreadableFile)):
        receive(mapping={"shape": "long", "date": "da\x00te", "target": "units"})


def test_reading_waits_for_its_turn_and_then_refuses(receive: Receive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "READERS", 1)
    monkeypatch.setattr(reading, "PATIENCE", 0.3)

    with reading.turn(patience=0), pytest.raises(Busy):
        receive()

    assert receive().version.status == "ready"


def test_a_thread_of_the_web_waits_a_second_for_its_turn_and_a_job_much_longer(
    receive: Receive, scope: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []

    @contextmanager
    def turn(*, patience: float) -> Iterator[None]:
        waited.append(patience)
        yield

    monkeypatch.setattr(reading, "turn", turn)
    receive()
    receive(long_csv(41), name="other", in_job=False)

    assert [patience <= 1 for patience in waited] == [True, True, False, False]


def test_nothing_foreign_is_decoded_in_this_process(receive: Receive, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a foreign file was opened in this process")

    for name in ("engine.frames.reading.open_table", "engine.frames.proposing.open_table", "engine.frames.opening.read_dialect"):
        monkeypatch.setattr(name, refuse)

    assert receive(long_csv(33)).version.status == "ready"


@pytest.mark.django_db(transaction=True)
def test_services_work_without_a_surrounding_transaction(customer: Customer, manager: Principal, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(long_csv(40))
    seen = []
    real = datasets.make_panel

    def watched(*args: Any, **kwargs: Any) -> Any:
        seen.append(connection.in_atomic_block)
        return real(*args, **kwargs)

    with acting(manager), pytest.MonkeyPatch.context() as patched:
        patched.setattr(datasets, "make_panel", watched)
        received = datasets.receive_dataset(name="sales", source=tmp_path / "a.csv", source_name="a.csv", by=manager, at=NOON)
        again = datasets.import_path(name="sales", path=tmp_path / "a.csv", by=manager, at=NOON, trusted=True)
        with transaction.atomic():
            dataset = datasets.dataset_named("sales")
        newer = datasets.remap(dataset=dataset, mapping=received.version.mapping | {"closed_days": "keep"}, by=manager, at=NOON)

    assert (received.version.status, again.repeated, newer.version.number) == ("ready", True, 2)
    assert seen == [False, False]
