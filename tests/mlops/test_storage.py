"""Objects are created once, never overwritten, and read only as what was registered."""

import hashlib
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from obstore.exceptions import BaseError as StorageError

from mlops.artifacts.storage import DigestMismatch, Storage, TooLarge, digest_file, receive
from mlops.telemetry import counting
from mlops.telemetry.models import CounterValue

pytestmark = pytest.mark.django_db

CONTENT = b"tree=1\n" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def store(tmp_path: Path, settings: object) -> Storage:
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)  # type: ignore[attr-defined]  # pytest-django's settings take any name
    return Storage(f"file://{tmp_path / 'store'}")


def test_what_was_put_is_read_back(store: Storage, tmp_path: Path) -> None:
    stored = store.put_bytes("models/a/v1", CONTENT)

    fetched = store.fetch("models/a/v1", tmp_path / "copy", sha256=SHA256)

    assert (stored.sha256, stored.size) == (SHA256, len(CONTENT))
    assert store.read("models/a/v1", sha256=SHA256) == fetched.read_bytes() == CONTENT
    assert store.list("models/") == ["models/a/v1"]


def test_objects_are_listed_with_size_and_time_and_verified_where_they_are(store: Storage, tmp_path: Path) -> None:
    began = datetime.now(UTC) - timedelta(seconds=5)
    store.put_bytes("models/a/v1", CONTENT)

    (entry,) = store.entries("models/a")
    store.verify("models/a/v1", sha256=SHA256)

    assert (entry.path, entry.size, entry.modified_at >= began) == ("models/a/v1", len(CONTENT), True)
    assert store.entries("models/b") == []
    (tmp_path / "store" / "models" / "a" / "v1").write_bytes(b"other")
    with pytest.raises(DigestMismatch):
        store.verify("models/a/v1", sha256=SHA256)


def test_the_same_bytes_may_be_put_again_and_others_not(store: Storage) -> None:
    store.put_bytes("a", CONTENT)

    store.put_bytes("a", CONTENT)
    with pytest.raises(FileExistsError):
        store.put_bytes("a", b"other")

    assert store.read("a", sha256=SHA256) == CONTENT


def mismatches() -> int:
    counting.write_counts()
    return sum(CounterValue.objects.filter(name="artifact_digest_mismatch").values_list("value", flat=True))


def test_changed_bytes_are_refused_counted_and_leave_no_copy(store: Storage, tmp_path: Path) -> None:
    store.put_bytes("a", CONTENT)
    (tmp_path / "store" / "a").write_bytes(CONTENT.replace(b"1", b"2", 1))
    before = mismatches()

    with pytest.raises(DigestMismatch):
        store.read("a", sha256=SHA256)
    with pytest.raises(DigestMismatch):
        store.fetch("a", tmp_path / "copy", sha256=SHA256)

    assert mismatches() == before + 2
    assert not (tmp_path / "copy").exists()


def test_what_is_not_there_is_not_found(store: Storage, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        store.read("nothing", sha256=SHA256)
    with pytest.raises(FileNotFoundError):
        store.fetch("nothing", tmp_path / "copy", sha256=SHA256)

    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("path", ["../outside", "a/../../outside", "./../outside", "a/./b", "//x", "a\x00b"])
def test_no_path_leads_out_of_the_root(store: Storage, tmp_path: Path, path: str) -> None:
    with suppress(StorageError, OSError, ValueError):
        store.put_bytes(path, b"x")

    assert [item.name for item in tmp_path.iterdir() if item.name != "store"] == []


def test_an_upload_is_digested_while_it_is_written(tmp_path: Path) -> None:
    stored = receive([CONTENT[:100], CONTENT[100:]], tmp_path / "upload", limit=len(CONTENT))

    assert (stored.sha256, stored.size) == digest_file(tmp_path / "upload") == (SHA256, len(CONTENT))


def test_an_upload_above_the_limit_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TooLarge):
        receive([CONTENT, b"x"], tmp_path / "upload", limit=len(CONTENT))

    assert not (tmp_path / "upload").exists()
