"""A model's signature: its features in order, with their types, categories and ranges. Immutable, and checked whenever it is read."""

from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal, cast, get_args

from engine.formats.trial import ModelFacts

Dtype = Literal["number", "integer", "boolean", "category", "datetime"]

MAX_FEATURES = 100_000
MAX_CATEGORIES = 10_000
MAX_NAME = 200
FEATURE_FIELDS = {"name", "dtype", "categories", "low", "high"}


class SignatureError(Exception):
    """`field` is the path of the entry at fault, for example `features[3].low`."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        super().__init__(f"{field}: {message}")


@dataclass(frozen=True)
class Feature:
    """`low` and `high` are the bounds seen in training; None where unknown. `categories` belongs to dtype "category" only."""

    name: str
    dtype: Dtype = "number"
    categories: tuple[str, ...] | None = None
    low: float | None = None
    high: float | None = None

    def to_json(self) -> dict[str, Any]:
        categories = None if self.categories is None else list(self.categories)
        return {"name": self.name, "dtype": self.dtype, "categories": categories, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Signature:
    """Raises SignatureError on construction, so an instance is always consistent."""

    features: tuple[Feature, ...]

    def __post_init__(self) -> None:
        if not 0 < len(self.features) <= MAX_FEATURES:
            raise SignatureError("features", f"must hold 1 to {MAX_FEATURES} features")
        seen: set[str] = set()
        for index, feature in enumerate(self.features):
            _check_feature(feature, f"features[{index}]")
            if feature.name in seen:
                raise SignatureError(f"features[{index}].name", f"{feature.name!r} is named twice")
            seen.add(feature.name)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(feature.name for feature in self.features)

    def to_json(self) -> dict[str, Any]:
        return {"features": [feature.to_json() for feature in self.features]}

    @classmethod
    def from_json(cls, value: object) -> "Signature":
        """Raises SignatureError naming the entry for anything but what `to_json` writes; optional entries may be left out."""
        if not isinstance(value, dict) or set(value) != {"features"}:
            raise SignatureError("signature", "must be an object with exactly one field, features")
        entries = value["features"]
        if not isinstance(entries, list):
            raise SignatureError("features", "must be a list")
        return cls(tuple(_read_feature(entry, f"features[{index}]") for index, entry in enumerate(entries)))


def signature_of(facts: ModelFacts) -> Signature:
    """The signature as far as the model file itself tells it."""
    features = []
    for name in facts.features:
        if name in facts.categories:
            features.append(Feature(name, "category", tuple(str(code) for code in facts.categories[name])))
        else:
            low, high = facts.ranges.get(name, (None, None))
            features.append(Feature(name, "number", None, low, high))
    return Signature(tuple(features))


def _read_feature(entry: object, path: str) -> Feature:
    if not isinstance(entry, dict):
        raise SignatureError(path, "must be an object")
    unknown = sorted(str(name) for name in set(entry) - FEATURE_FIELDS)
    if unknown:
        raise SignatureError(f"{path}.{unknown[0][:80]}", "is not a field of a feature")
    if "name" not in entry:
        raise SignatureError(f"{path}.name", "is required")
    categories = entry.get("categories")
    if categories is not None and not isinstance(categories, list):
        raise SignatureError(f"{path}.categories", "must be a list of texts")
    return Feature(
        name=entry["name"],
        dtype=cast("Dtype", entry.get("dtype", "number")),
        categories=None if categories is None else tuple(categories),
        low=_bound(entry.get("low"), f"{path}.low"),
        high=_bound(entry.get("high"), f"{path}.high"),
    )


def _bound(value: object, path: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SignatureError(path, "must be a number or null")
    try:
        return float(value)
    except OverflowError as error:
        raise SignatureError(path, "must be a finite number") from error


def _check_feature(feature: Feature, path: str) -> None:
    name: object = feature.name
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or "\0" in name:
        raise SignatureError(f"{path}.name", f"must be a text of 1 to {MAX_NAME} characters")
    if feature.dtype not in get_args(Dtype):
        raise SignatureError(f"{path}.dtype", f"must be one of {', '.join(get_args(Dtype))}")
    _check_categories(feature, f"{path}.categories")
    for bound, value in (("low", feature.low), ("high", feature.high)):
        if value is not None and not isfinite(value):
            raise SignatureError(f"{path}.{bound}", "must be a finite number")
        if value is not None and feature.dtype == "category":
            raise SignatureError(f"{path}.{bound}", "does not apply to a category")
    if feature.low is not None and feature.high is not None and feature.low > feature.high:
        raise SignatureError(f"{path}.low", "is above high")


def _check_categories(feature: Feature, path: str) -> None:
    if feature.categories is None:
        return
    if feature.dtype != "category":
        raise SignatureError(path, "applies to the dtype category only")
    texts: tuple[object, ...] = feature.categories
    if len(texts) > MAX_CATEGORIES or any(not isinstance(text, str) or len(text) > MAX_NAME for text in texts):
        raise SignatureError(path, f"must be at most {MAX_CATEGORIES} short texts")
    if len(set(texts)) != len(texts):
        raise SignatureError(path, "names a category twice")
