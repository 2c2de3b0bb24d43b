"""Bringing foreign bytes in, keeping them, and fetching them again. Nothing here looks into them.

A folder is kept as its files, each under its digest, and a manifest that names them; the manifest's digest is the folder's.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

import orjson
from django.conf import settings

from mlops.artifacts.storage import CHUNK, Stored, TooLarge, digest_file, receive, storage
from mlops.errors import InvalidField
from mlops.tenancy.context import required
from registry.models import DatasetVersion

MANIFEST = "manifest.json"
MANIFEST_FORMAT = "tiltyard-folder/1"
MAX_FILES = 1_000
CUSTOMER = "{customer}"
"""What stands for the customer's id in DATA_ROOTS and DATA_URIS."""


@dataclass(frozen=True)
class Source:
    """A file or folder on this machine that nobody else changes while it is read. `field` is what a refusal of it names."""

    path: Path
    name: str
    sha256: str
    size: int
    manifest: bytes | None = None
    """The manifest of a folder; None for a file."""
    field: str = "file"


@contextmanager
def working_folder() -> Iterator[Path]:
    """A folder for the time of one act."""
    with TemporaryDirectory(prefix="dataset-", dir=settings.FILE_UPLOAD_TEMP_DIR) as folder:
        yield Path(folder)


def uploaded(path: Path, name: str) -> Source:
    """The source an upload is. Raises TooLarge, or InvalidField for an empty file."""
    digest, size = digest_file(path)
    if size > settings.MAX_DATASET_BYTES:
        raise TooLarge(settings.MAX_DATASET_BYTES)
    if size == 0:
        raise InvalidField("file", "The file is empty.")
    return Source(path, shown_name(name), digest, size)


def own(place: str) -> str:
    """The ambient customer's part of a root or prefix of data that names it; else what all customers share."""
    return place.replace(CUSTOMER, str(required())) if CUSTOMER in place else place


def data_path(text: str, *, field: str = "data_dir") -> Path:
    """An existing file or folder below an allowed root, symbolic links resolved. A relative path is looked for below each root, and beside
    it where it begins with the root's own name: `data/seed` is the folder `seed` of the root `data`.

    Raises InvalidField. What lies outside the roots is refused before anybody looks whether it exists.
    """
    below = InvalidField(field, "Must lie below one of the allowed roots (DATA_ROOTS); links and `..` that lead out of them are refused.")
    if "\x00" in text or not text.strip():
        raise InvalidField(field, "Must be the path of a file or folder.")
    try:
        roots = [Path(own(str(root))).resolve() for root in settings.DATA_ROOTS]
        candidates = [(folder / text).resolve() for root in roots for folder in (root, root.parent)]  # an absolute path replaces it
        allowed = [path for path in candidates if any(path.is_relative_to(root) for root in roots)]
        found = next((path for path in allowed if path.exists()), None)
    except (OSError, RuntimeError, ValueError):  # too long, a loop of links, no text a file system knows
        raise below from None
    if not allowed:
        raise below
    if found is None:
        raise InvalidField(field, "There is no such file or folder below the allowed roots.")
    return found


def copied(path: Path, folder: Path, *, field: str = "data_dir") -> Source:
    """A copy of a local file or folder, so that what is read is what is kept, whoever writes there meanwhile.

    Takes a folder's plain files, no links and no sub-folders. Raises InvalidField or TooLarge.
    """
    if not path.is_dir():
        stored = _copy(path, folder / "source", limit=settings.MAX_DATASET_BYTES, field=field)
        if stored.size == 0:
            raise InvalidField(field, "The file is empty.")
        return Source(folder / "source", shown_name(path.name), stored.sha256, stored.size, field=field)
    target = folder / "source"
    target.mkdir()
    entries, left = [], settings.MAX_DATASET_BYTES
    for name in _files_of(path, field=field):
        stored = _copy(path / name, target / name, limit=left, field=field)
        left -= stored.size
        entries.append({"name": name, "sha256": stored.sha256, "size": stored.size})
    manifest = orjson.dumps({"format": MANIFEST_FORMAT, "files": entries}, option=orjson.OPT_SORT_KEYS)
    (folder / MANIFEST).write_bytes(manifest)
    digest, _ = digest_file(folder / MANIFEST)
    return Source(target, shown_name(path.name), digest, settings.MAX_DATASET_BYTES - left, manifest, field)


def store_source(source: Source, *, dataset_id: UUID, version_id: UUID) -> str:
    """Keep the bytes; the path of the file, or of the folder's manifest."""
    prefix = f"{_folder(dataset_id, version_id)}/source"
    if source.manifest is None:
        return storage().put(f"{prefix}/{source.sha256}", source.path).path
    for entry in orjson.loads(source.manifest)["files"]:
        storage().put(f"{prefix}/{entry['sha256']}", source.path / entry["name"])
    return storage().put_bytes(f"{prefix}/{MANIFEST}", source.manifest).path


def store_panel(panel: Path, *, dataset_id: UUID, version_id: UUID) -> Stored:
    """Keep the panel under its digest, so that what an attempt that died left behind is in nobody's way."""
    digest, _ = digest_file(panel)
    return storage().put(f"{_folder(dataset_id, version_id)}/panel-{digest}.parquet", panel)


def fetch_source(version: DatasetVersion, folder: Path, *, field: str = "mapping") -> Source:
    """The version's source again, every digest checked. Raises DigestMismatch or FileNotFoundError."""
    kept = partial(Source, name=version.source_name, sha256=version.source_sha256, size=version.source_size, field=field)
    if not version.source_path.endswith(f"/{MANIFEST}"):
        path = storage().fetch(version.source_path, folder / "source", sha256=version.source_sha256)
        return kept(path)
    manifest = storage().read(version.source_path, sha256=version.source_sha256)
    target = folder / "source"
    target.mkdir()
    prefix = version.source_path.removesuffix(MANIFEST)
    for entry in orjson.loads(manifest)["files"]:
        storage().fetch(f"{prefix}{entry['sha256']}", target / entry["name"], sha256=entry["sha256"])
    return kept(target, manifest=manifest)


def discard(*, dataset_id: UUID, version_id: UUID) -> None:
    """Remove what was kept for a version whose row was not written."""
    for path in storage().list(_folder(dataset_id, version_id)):
        storage().delete(path)


def shown_name(name: str) -> str:
    """A file's name that every database and screen can hold."""
    text = name.encode("utf-8", "replace").decode()
    return "".join(letter for letter in text if letter.isprintable())[-255:] or "unnamed"


def _folder(dataset_id: UUID, version_id: UUID) -> str:
    # The version's id and not its number, which is only known under the data set's lock.
    return f"datasets/{required()}/{dataset_id}/{version_id}"


def _files_of(path: Path, *, field: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            names = sorted(entry.name for entry in entries if entry.is_file(follow_symlinks=False) and entry.name[0] not in "._")
    except OSError as error:
        raise InvalidField(field, f"The folder cannot be listed: {error.strerror}.") from error
    if not names:
        raise InvalidField(field, "The folder holds no file.")
    if len(names) > MAX_FILES:
        raise InvalidField(field, f"The folder holds {len(names)} files; {MAX_FILES} are allowed.")
    odd = next((name for name in names if shown_name(name) != name), None)
    if odd is not None:
        shown = odd.encode("ascii", "backslashreplace").decode()[:100]
        raise InvalidField(field, f"The name of the file {shown} is not plain text; rename it.")
    return names


def _copy(path: Path, destination: Path, *, limit: int, field: str) -> Stored:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError as error:
        raise InvalidField(field, f"{shown_name(path.name)} cannot be opened: {error.strerror}.") from error
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InvalidField(field, f"{shown_name(path.name)} is neither a file nor a folder.")
        return receive(iter(lambda: file.read(CHUNK), b""), destination, limit=limit)
