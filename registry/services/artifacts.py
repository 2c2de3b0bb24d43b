"""Artifacts at the registry's door: tried in a disposable child before anybody trusts them, digest-checked before every load."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.formats.signature import SignatureError, signature_of
from engine.formats.sniff import UnsafeArtifact
from engine.formats.trial import ModelFacts, try_model
from mlops.artifacts.storage import storage
from mlops.errors import DomainError, InvalidField
from mlops.places import place
from registry.models import ModelVersion

if TYPE_CHECKING:
    from engine.forecasting.protocol import Forecaster
    from engine.tabular.model import TabularModel

SUFFIXES = {
    "lightgbm": ".txt",
    "xgboost": ".ubj",
    "catboost": ".cbm",
    "onnx": ".onnx",
    "skops": ".skops",
    "forecaster": ".json",
    "tabular": ".json",
}


class NoArtifact(DomainError):
    """The version was registered by its metadata alone."""

    code = "no_artifact"


class UnsafeUpload(InvalidField):
    """The file is no model we would let near a process that serves."""

    code = "unsafe_artifact"


@dataclass(frozen=True)
class ArtifactFacts:
    """What the trial found out."""

    format: str
    suffix: str
    algorithm: str
    signature: dict[str, Any]


def inspect_artifact(path: Path) -> ArtifactFacts:
    """Try the file in a disposable child. Raises UnsafeUpload (400 `unsafe_artifact`) for anything that is not a sound, known format,
    or Busy."""
    try:
        with place():
            facts = try_model(path)
    except UnsafeArtifact as refusal:
        raise UnsafeUpload("file", str(refusal)) from None
    return ArtifactFacts(facts.format, SUFFIXES[facts.format], facts.kind or facts.format, facts.signature or _told_by(facts))


def _told_by(facts: ModelFacts) -> dict[str, Any]:
    """The signature as far as a format that keeps none tells it; empty where it names no feature."""
    try:
        return signature_of(facts).to_json() if facts.features else {}
    except SignatureError as refusal:
        raise UnsafeUpload("file", f"The model's features cannot be its signature: {refusal}.") from None


def load_forecaster(version: ModelVersion) -> "Forecaster":
    """The version's forecaster from storage, after its digest was checked. Raises NoArtifact, DigestMismatch or ArtifactError."""
    from engine.forecasting.artifact import load

    if not version.has_artifact or version.artifact_format != "forecaster":
        raise NoArtifact(f"{version} has no forecaster here: it was registered by its metadata or is of another format.")
    return load(storage().read(version.artifact_path, sha256=version.artifact_sha256))


def load_tabular(version: ModelVersion) -> "TabularModel":
    """The version's tabular model from storage, after its digest was checked. Raises NoArtifact, DigestMismatch or ArtifactError."""
    from engine.tabular.artifact import load

    if not version.has_artifact or version.artifact_format != "tabular":
        raise NoArtifact(f"{version} has no tabular model here: it was registered by its metadata or is of another format.")
    return load(storage().read(version.artifact_path, sha256=version.artifact_sha256))
