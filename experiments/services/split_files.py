"""The bytes of splits: brought in, kept until they were read, and the parts that were made of them."""

from collections.abc import Collection
from datetime import timedelta
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

import obstore
import orjson
import polars as pl
import structlog
from django.conf import settings
from obstore.exceptions import BaseError
from obstore.store import from_url

from engine.tabular.columns import PARTS, PartName
from experiments.models import Split
from mlops.artifacts.storage import CHUNK, digest_file, receive, storage
from mlops.errors import DomainError, InvalidField
from mlops.tenancy.context import required
from registry.services.dataset_files import Source, copied, data_path, own, shown_name

log = structlog.get_logger(__name__)

CLOUDS = ("s3", "gs", "az")
# Where a store answers is the operator's to say (AWS_ENDPOINT_URL and its like), and so is whether without TLS: no URI can name either.
CLIENT: Any = {"timeout": "900s", "connect_timeout": "10s", "allow_http": True}
RETRIES: Any = {"max_retries": 3, "retry_timeout": timedelta(seconds=60)}


class SourceUnavailable(DomainError):
    """The object that a URI names cannot be fetched."""

    status = 400
    code = "source_unavailable"


def checked_uri(text: str) -> str:
    """The URI, if it names a file that may be read: below an allowed root of this machine, or an allowed prefix of a cloud's storage.

    Raises InvalidField. What is not allowed is refused before anybody looks whether it exists.
    """
    parts = _parts(text)
    if parts.scheme in CLOUDS:
        _check_cloud(text)
        return text
    path = data_path(_local(text), field="uri")
    if not path.is_file():
        raise InvalidField("uri", "Must name a file.")
    return text


def fetched(uri: str, folder: Path) -> Source:
    """A copy of what the URI names, so that what is read is what was digested, whoever writes there meanwhile.

    Raises InvalidField, TooLarge or SourceUnavailable.
    """
    checked_uri(uri)
    if _parts(uri).scheme not in CLOUDS:
        return copied(data_path(_local(uri), field="uri"), folder, field="uri")
    place, _, key = uri.rpartition("/")
    try:
        stream = obstore.get(from_url(place, client_options=CLIENT, retry_config=RETRIES), key).stream(min_chunk_size=CHUNK)
        stored = receive((bytes(chunk) for chunk in stream), folder / "source", limit=settings.MAX_DATASET_BYTES)
    except (BaseError, OSError, ValueError) as error:
        log.warning("split.source_unavailable", uri=uri, error=str(error)[:500])
        raise SourceUnavailable(f"{uri} cannot be fetched: {_reason(error)}.") from error
    if stored.size == 0:
        raise InvalidField("uri", "The file is empty.")
    return Source(folder / "source", shown_name(key), stored.sha256, stored.size, field="uri")


def _parts(text: str) -> Any:
    problem = InvalidField("uri", "Must be a path, file:///…, s3://…, gs://… or az://….")
    if "\x00" in text or not text.strip():
        raise problem
    try:
        parts = urlsplit(text)
    except ValueError:
        raise problem from None
    if parts.scheme not in ("", "file", *CLOUDS) or (parts.scheme == "file" and parts.netloc not in ("", "localhost")):
        raise problem
    return parts


def _local(text: str) -> str:
    parts = _parts(text)
    return unquote(parts.path) if parts.scheme == "file" else text


def _check_cloud(text: str) -> None:
    """Raise InvalidField unless one of the operator's prefixes covers the URI as it is written: nothing in it may be read in two ways."""
    place, _, rest = text.partition("://")[2].partition("/")
    odd = any(sign in text for sign in "%?#\\@") or any(step in ("", ".", "..") for step in (place, *rest.split("/")))
    if odd or not text.isprintable() or " " in text:
        raise InvalidField("uri", "Must be a plain scheme://bucket/key: no escapes, query, credentials, or empty and dotted steps.")
    if not any(_covers(own(prefix), text) for prefix in settings.DATA_URIS):
        raise InvalidField("uri", "Must lie below one of the allowed prefixes (DATA_URIS).")


def _covers(prefix: str, text: str) -> bool:
    return text.startswith(prefix if prefix.endswith("/") else f"{prefix}/")


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such object"
    if isinstance(error, PermissionError):
        return "reading it is not permitted"
    return "the storage does not answer as expected"


def written_records(records: list[dict[str, Any]], folder: Path) -> Source:
    """Records of a request as a file that the child reads."""
    path = folder / "source"
    path.write_bytes(orjson.dumps(records))
    return Source(path, "records", "", path.stat().st_size, field="records")


def folder_of(split_id: UUID) -> str:
    """Where everything of a split is kept."""
    return f"splits/{required()}/{split_id}"


def store_source(source: Source, *, split_id: UUID) -> str:
    """Keep an upload until it was read; its path."""
    return storage().put(f"{folder_of(split_id)}/source-{source.sha256}", source.path).path


def store_parts(files: dict[PartName, Path], rows: dict[PartName, int], *, split_id: UUID) -> dict[str, dict[str, Any]]:
    """Keep the parts, each under its digest, so that what an attempt that died left behind is in nobody's way."""
    kept: dict[str, dict[str, Any]] = {}
    for part in PARTS:
        digest, _ = digest_file(files[part])
        stored = storage().put(f"{folder_of(split_id)}/{part}-{digest[:16]}.parquet", files[part])
        kept[part] = {"rows": rows[part], "path": stored.path, "sha256": stored.sha256, "size": stored.size}
    return kept


def part_file(split: Split, part: PartName, folder: Path) -> Path:
    """A part as a local file, its digest checked. Raises DigestMismatch or ObjectMissing."""
    kept = split.parts[part]
    return storage().fetch(kept["path"], folder / PurePosixPath(kept["path"]).name, sha256=kept["sha256"])


def read_part(split: Split, part: PartName, columns: list[str] | None = None) -> pl.DataFrame:
    """A part of a ready split in memory, its digest checked. Raises DigestMismatch or ObjectMissing."""
    with TemporaryDirectory(prefix="split-", dir=settings.FILE_UPLOAD_TEMP_DIR) as folder:
        return pl.read_parquet(part_file(split, part, Path(folder)), columns=columns, glob=False)


def discard(split_id: UUID, *, but: Collection[str] = ()) -> int:
    """Remove everything kept for a split except the paths named; how many objects that were."""
    return empty(folder_of(split_id), but=but)


def empty(folder: str, *, but: Collection[str] = ()) -> int:
    """Remove everything below a folder of the storage except the paths named; how many objects that were."""
    gone = [path for path in storage().list(folder) if path not in but]
    for path in gone:
        storage().delete(path)
    return len(gone)
