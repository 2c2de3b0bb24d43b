"""A forecaster as one JSON document, and back: one file, one digest, nothing that runs when it is read.

`load` checks everything it can before a booster text reaches LightGBM, whose parser is not safe against hostile text:
format, fields and their types, the digest of each booster, and that its header fits the schema. A file from outside
must still be tried in a disposable child process first.
"""

import hashlib
import math
from collections.abc import Mapping
from datetime import date
from typing import Any

import orjson

from engine.forecasting.blend import Blend, Tail
from engine.forecasting.features import FeatureSet, Schema
from engine.forecasting.forecaster import LightGBMForecaster
from engine.forecasting.intervals import Intervals
from engine.forecasting.naive import SeasonalNaiveForecaster
from engine.forecasting.protocol import Forecaster

FORMAT = "tiltyard-forecaster/1"
MAX_BYTES = 512 * 1024 * 1024
_MAX_FEATURES = 2_000

_NAIVE_FIELDS = {"trained_through", "season", "intervals"}
_LIGHTGBM_FIELDS = {"trained_through", "features", "names", "categories", "mean_model", "typical_model"} | {
    "blend",
    "tail",
    "intervals",
    "recipe",
}


class ArtifactError(ValueError):
    """The bytes are not a forecaster this version can read; the message says what is wrong."""


def dump(forecaster: Forecaster) -> bytes:
    """The forecaster as bytes; the same forecaster always gives the same bytes."""
    return orjson.dumps({"format": FORMAT, "kind": forecaster.kind, **forecaster.to_json()}, option=orjson.OPT_SORT_KEYS)


def load(content: bytes) -> LightGBMForecaster | SeasonalNaiveForecaster:
    """The forecaster `dump` wrote. Raises ArtifactError for anything else."""
    document = _document(content)
    kind = document.pop("kind", None)
    if kind not in ("lightgbm", "seasonal_naive"):
        raise ArtifactError(f"unknown kind of forecaster: {str(kind)[:40]!r}")
    expected = _LIGHTGBM_FIELDS if kind == "lightgbm" else _NAIVE_FIELDS
    if missing := expected - document.keys():
        raise ArtifactError(f"missing: {', '.join(sorted(missing))}")
    if unknown := document.keys() - expected:
        raise ArtifactError(f"unknown: {', '.join(sorted(unknown))[:200]}")
    try:
        return _lightgbm_from_json(document) if kind == "lightgbm" else SeasonalNaiveForecaster.from_json(document)
    except ArtifactError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise ArtifactError(f"a field has an impossible value: {error}") from error


def _document(content: bytes) -> dict[str, Any]:
    if len(content) > MAX_BYTES:
        raise ArtifactError(f"larger than {MAX_BYTES} bytes")
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise ArtifactError(f"not a JSON document: {error}") from error
    if not isinstance(document, dict):
        raise ArtifactError("not a JSON object")
    if document.pop("format", None) != FORMAT:
        raise ArtifactError(f"not in the format {FORMAT}")
    return document


def _lightgbm_from_json(value: Mapping[str, Any]) -> LightGBMForecaster:
    names = tuple(_strings(value["names"], "names"))
    if not names or len(names) > _MAX_FEATURES or len(set(names)) < len(names):
        raise ArtifactError("feature names must be given, differ, and be no more than 2000")
    # JSON objects have no order that survives sorting, but the codes of a category are its position in this list.
    categories = {name: tuple(_strings(items, name)) for name, items in sorted(_mapping(value["categories"], "categories").items())}
    if unknown := categories.keys() - set(names):
        raise ArtifactError(f"categories of unknown features: {sorted(unknown)[:5]}")
    typical = value["typical_model"]
    _finite(value)
    return LightGBMForecaster(
        trained_through=date.fromisoformat(value["trained_through"]),
        features=FeatureSet.from_json(_mapping(value["features"], "features")),
        schema=Schema(names, categories),
        mean_model=_booster_from_json(value["mean_model"], names),
        typical_model=None if typical is None else _booster_from_json(typical, names),
        blend=Blend.from_json(_mapping(value["blend"], "blend")),
        tail=None if value["tail"] is None else Tail.from_json(_mapping(value["tail"], "tail")),
        intervals=None if value["intervals"] is None else Intervals.from_json(_mapping(value["intervals"], "intervals")),
        recipe=_mapping(value["recipe"], "recipe"),
    )


def _booster_from_json(value: object, names: tuple[str, ...]) -> str:
    fields = _mapping(value, "booster")
    text, digest = fields.get("text"), fields.get("sha256")
    if not isinstance(text, str) or hashlib.sha256(text.encode()).hexdigest() != digest:
        raise ArtifactError("a booster's text does not match its digest")
    header = dict(line.split("=", 1) for line in text[: text.find("\nTree=")].splitlines() if "=" in line)
    if not text.startswith("tree\n") or header.get("version") != "v4":
        raise ArtifactError("a booster is not LightGBM text of version 4")
    if header.get("feature_names", "").split(" ") != list(names) or header.get("max_feature_idx") != str(len(names) - 1):
        raise ArtifactError("a booster's features are not those of the forecaster")
    return text


def _mapping(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ArtifactError(f"{name} must be an object")
    return value


def _strings(value: object, name: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ArtifactError(f"{name} must be a list of strings")
    return value


def _finite(value: object) -> None:
    """JSON as such has no NaN, but 1e999 reads as infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ArtifactError("a number is not finite")
    for item in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        _finite(item)
