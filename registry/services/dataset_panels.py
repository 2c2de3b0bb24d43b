"""Canonical panels, fetched once to this machine and checked by digest before every use."""

import time
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any

from django.conf import settings

from mlops.artifacts.storage import digest_file, storage
from mlops.errors import DomainError
from registry.models import DatasetVersion
from registry.states import DatasetVersionStatus

if TYPE_CHECKING:
    from engine.frames.panel import Panel

CACHE_BYTES = 4 * 1024**3
KEPT_SECONDS = 3600
"""A panel used within this time is not evicted: somebody may be about to open it."""
GROUPS = {"key": "keys", "attribute": "attributes", "known": "known"}


class NotReady(DomainError):
    """The version has no panel: it is still being read, or could not be."""

    code = "dataset_not_ready"

    def __init__(self, version: DatasetVersion) -> None:
        super().__init__(f"{version} is {version.status}; only a ready version has a panel.")
        self.version = version

    def extra(self) -> dict[str, Any]:
        """The status it has."""
        return {"current": self.version.status}


def panel_of(version: DatasetVersion) -> "Panel":
    """The version's panel. Raises NotReady, DigestMismatch where the stored bytes are not those that were read, or FileNotFoundError."""
    from engine.frames.storing import load_panel  # Polars is not wanted where nobody reads panels

    return load_panel(panel_file(version))


def panel_file(version: DatasetVersion) -> Path:
    """A local copy of the panel's file, its digest just checked. For reading only. Raises as `panel_of`."""
    if version.status != DatasetVersionStatus.READY:
        raise NotReady(version)
    folder = settings.VAR_DIR / "cache" / "panels"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path: Path = folder / f"{version.panel_sha256}.parquet"
    with suppress(FileNotFoundError):
        if digest_file(path)[0] == version.panel_sha256:
            path.touch()
            return path
    with NamedTemporaryFile(dir=folder, prefix=".", delete=False) as file:
        temporary = Path(file.name)
    try:
        storage().fetch(version.panel_path, temporary, sha256=version.panel_sha256)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _evict(folder, keep=path)
    return path


def first_rows(version: DatasetVersion, limit: int) -> list[dict[str, Any]]:
    """The first rows of the panel; the series' own columns under `keys`, `attributes` and `known`. Raises as `panel_of`."""
    import polars as pl

    rows = pl.scan_parquet(panel_file(version), glob=False).head(limit).collect()
    return [_grouped(row) for row in rows.iter_rows(named=True)]


def _grouped(row: dict[str, Any]) -> dict[str, Any]:
    plain = {name: value for name, value in row.items() if "." not in name}
    groups: dict[str, dict[str, Any]] = {group: {} for group in GROUPS.values()}
    for name, value in row.items():
        prefix, dot, own = name.partition(".")
        if dot:
            groups[GROUPS[prefix]][own] = value
    return {**plain, **groups}


def _evict(folder: Path, *, keep: Path) -> None:
    """Remove what was not used for longest, down to CACHE_BYTES."""
    kept = sorted(((path.stat(), path) for path in folder.glob("*.parquet") if path != keep), key=lambda entry: entry[0].st_mtime)
    total = keep.stat().st_size + sum(status.st_size for status, _ in kept)
    for status, path in kept:
        if total <= CACHE_BYTES or time.time() - status.st_mtime < KEPT_SECONDS:
            return
        path.unlink(missing_ok=True)
        total -= status.st_size
