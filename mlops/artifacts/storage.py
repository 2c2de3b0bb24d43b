"""The storage port: a few operations over an object store. Objects are created once and never overwritten."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote, urlparse

import obstore
from django.conf import settings
from obstore.exceptions import AlreadyExistsError
from obstore.store import LocalStore, from_url

from mlops.errors import DomainError
from mlops.telemetry.metrics import DIGEST_MISMATCHES

CHUNK = 1024 * 1024


class DigestMismatch(Exception):
    """The stored bytes are not the ones that were registered. Nothing may be served from them."""

    def __init__(self, path: str, expected: str, found: str) -> None:
        super().__init__(f"{path} has the digest {found}, but {expected} was registered.")


class ObjectMissing(FileNotFoundError):
    """There is no such object, although something names it."""


class TooLarge(DomainError):
    """More bytes came than are allowed."""

    status = 413
    code = "too_large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The file is larger than the allowed {limit:,} bytes.")


@dataclass(frozen=True)
class Stored:
    """Where an object is and what it is."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Entry:
    """An object as the storage lists it; `size` in bytes."""

    path: str
    size: int
    modified_at: datetime


class Storage:
    """Put, open, list, check and delete objects below one root, local or in a cloud by URL."""

    def __init__(self, url: str) -> None:
        parts = urlparse(url)
        self.local_root = Path(unquote(parts.path)) if parts.scheme in ("", "file") else None
        self._store: Any = LocalStore(self.local_root, mkdir=True) if self.local_root else from_url(url)

    def put(self, path: str, source: Path) -> Stored:
        """Create the object from a file. Putting the same bytes again is no error, so a repeated attempt goes on.

        Raises FileExistsError when other bytes are already there: objects are immutable.
        """
        digest, size = digest_file(source)
        try:
            obstore.put(self._store, path, source, mode="create")
        except AlreadyExistsError:
            if self._digest(path) != digest:
                raise FileExistsError(f"{path} exists with other content; objects are never overwritten.") from None
        if self.local_root:
            _sync(self.local_root / path, up_to=self.local_root)
        return Stored(path, digest, size)

    def put_bytes(self, path: str, content: bytes) -> Stored:
        """Create the object from bytes; see `put`."""
        with TemporaryDirectory(dir=settings.FILE_UPLOAD_TEMP_DIR) as folder:
            source = Path(folder) / "content"
            source.write_bytes(content)
            return self.put(path, source)

    def read(self, path: str, *, sha256: str) -> bytes:
        """The whole object, after its digest was checked. Raises DigestMismatch, or ObjectMissing."""
        content = bytes(self._get(path).bytes())
        found = hashlib.sha256(content).hexdigest()
        self._check(path, sha256, found)
        return content

    def fetch(self, path: str, destination: Path, *, sha256: str) -> Path:
        """Copy the object to a local file, digesting on the way. Raises DigestMismatch or ObjectMissing; no copy is left then."""
        digest = hashlib.sha256()
        try:
            with destination.open("wb") as copy:
                for chunk in self._get(path).stream(min_chunk_size=CHUNK):
                    digest.update(chunk)
                    copy.write(chunk)
            self._check(path, sha256, digest.hexdigest())
        except BaseException:
            destination.unlink(missing_ok=True)
            raise
        return destination

    def verify(self, path: str, *, sha256: str) -> None:
        """Digest the object where it is, in constant memory. Raises DigestMismatch or ObjectMissing."""
        self._check(path, sha256, self._digest(path))

    def entries(self, prefix: str) -> "list[Entry]":
        """What is below the prefix."""
        batches = obstore.list(self._store, prefix)
        return [Entry(one["path"], one["size"], one["last_modified"]) for batch in batches for one in batch]

    def list(self, prefix: str) -> list[str]:
        """Paths below the prefix."""
        return [entry["path"] for batch in obstore.list(self._store, prefix) for entry in batch]

    def delete(self, path: str) -> None:
        """Remove the object; only what no registered row points at may be removed."""
        obstore.delete(self._store, path)

    def _get(self, path: str) -> Any:
        try:
            return obstore.get(self._store, path)
        except FileNotFoundError:
            raise ObjectMissing(f"{path} is not in the storage.") from None

    def _digest(self, path: str) -> str:
        digest = hashlib.sha256()
        for chunk in self._get(path).stream(min_chunk_size=CHUNK):
            digest.update(chunk)
        return digest.hexdigest()

    def _check(self, path: str, expected: str, found: str) -> None:
        if found != expected:
            DIGEST_MISMATCHES.inc()
            raise DigestMismatch(path, expected, found)


@lru_cache(maxsize=4)
def _storage(url: str) -> Storage:
    return Storage(url)


def storage() -> Storage:
    """The configured storage."""
    return _storage(settings.ARTIFACT_STORAGE_URL)


def digest_file(path: Path) -> tuple[str, int]:
    """SHA-256 (hexadecimal) and size of a file."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size


def receive(chunks: Iterable[bytes], destination: Path, *, limit: int) -> Stored:
    """Write an upload to a file, digesting on the way, in constant memory. Raises TooLarge; nothing is left behind then."""
    digest, size = hashlib.sha256(), 0
    try:
        with destination.open("wb") as file:
            for chunk in chunks:
                size += len(chunk)
                if size > limit:
                    raise TooLarge(limit)
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        destination.unlink(missing_ok=True)
        raise
    return Stored(str(destination), digest.hexdigest(), size)


def _sync(path: Path, *, up_to: Path) -> None:
    folders = [folder for folder in path.parents if folder.is_relative_to(up_to)]
    for target in (path, *folders):
        descriptor = os.open(target, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
