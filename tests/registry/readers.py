"""Reading a sample file in a child once per test run: what the child said and wrote is kept and given again for the same input."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.formats.trial import DataLimits, canonicalize, propose_safely
from engine.frames.mapping import Mapping
from engine.frames.problems import FrameError, Report
from engine.frames.proposing import Proposal

_kept: dict[str, Any] = {}


def read_each_file_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the keeping readers where the services look for the real ones."""
    monkeypatch.setattr("registry.services.reading.propose_safely", _propose)
    monkeypatch.setattr("registry.services.reading.canonicalize", _canonicalize)


def _propose(source: Path, *, limits: DataLimits) -> Proposal:
    kept: Proposal = _keep(f"propose {_digest(source)} {limits}", lambda: propose_safely(source, limits=limits))
    return kept


def _canonicalize(source: Path, destination: Path, mapping: Mapping, *, limits: DataLimits) -> Report:
    def read() -> tuple[Report, bytes]:
        report = canonicalize(source, destination, mapping, limits=limits)
        return report, destination.read_bytes()

    report, content = _keep(f"read {_digest(source)} {json.dumps(mapping.to_json())} {limits}", read)
    destination.write_bytes(content)
    return report


def _keep(key: str, work: Callable[[], Any]) -> Any:
    if key not in _kept:
        try:
            _kept[key] = work()
        except FrameError as refusal:
            _kept[key] = refusal
    if isinstance(_kept[key], FrameError):
        raise FrameError(_kept[key].problems)
    return _kept[key]


def _digest(source: Path) -> str:
    files = sorted(source.iterdir()) if source.is_dir() else [source]
    return hashlib.sha256(b"".join(file.name.encode() * source.is_dir() + file.read_bytes() for file in files)).hexdigest()
