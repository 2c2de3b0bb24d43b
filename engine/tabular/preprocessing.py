"""From a table to the matrix an algorithm takes, by rules learnt on the training part only.

The same object transforms training, validation and serving rows, so they cannot drift apart. What happens to each case:

- missing value: NaN where the algorithm handles it, else the training median with an indicator column;
- category: its rank by frequency in training (ties by text); a rare one (by option) and one never seen share the code after the last;
- flag: 0 or 1; moment: those of its parts (days since 1970, year, month, …) that varied in training;
- a feature that never varied in training is dropped, and said so in the notes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.tabular.columns import KINDS, Column, Kind
from engine.tabular.documents import ArtifactError, entries, flag, listed, maybe, number, one_of, text, whole
from engine.tabular.inputs import canonical
from engine.tabular.limits import MAX_FEATURES, MAX_NAME
from engine.tabular.problems import TrainingError

Floats = NDArray[np.float64]

MAX_COLUMNS = 20_000
MAX_CATEGORIES = 10_000
LARGEST = float(np.finfo(np.float32).max)
"""Several libraries hold features in 32 bits; what is beyond is taken to that border, by all alike."""

_MICROSECONDS_PER_DAY = 86_400_000_000
PARTS = ("days", "year", "month", "day", "weekday", "hour", "minute")


@dataclass(frozen=True)
class Encoding:
    """What an algorithm wants its matrix to be.

    `fill`: no NaN. `one_hot`: a column per category instead of codes. `scale`: columns of mean 0 and deviation 1.
    """

    fill: bool = False
    one_hot: bool = False
    scale: bool = False
    most_categories: int = 1_000


@dataclass(frozen=True)
class PreprocessingOptions:
    """`most_categories` more frequent ones are kept by feature; those of fewer than `min_category_rows` training rows are pooled."""

    most_categories: int = 1_000
    min_category_rows: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.most_categories <= MAX_CATEGORIES:
            raise TrainingError("most_categories", f"Must be from 1 to {MAX_CATEGORIES}.")
        if self.min_category_rows < 1:
            raise TrainingError("min_category_rows", "Must be at least 1.")


@dataclass(frozen=True)
class Matrix:
    """`values`: rows × columns; the `categorical` columns hold codes 0, 1, …; missing is NaN."""

    values: Floats
    categorical: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Learnt:
    """What training told about one feature. `dropped` says why it is not used; `missing`: training had missing values.

    `categories` by descending frequency; `pooled`: some training rows held others. `low`, `high`: of the numbers seen.
    """

    column: Column
    dropped: str = ""
    missing: bool = False
    categories: tuple[str, ...] = ()
    pooled: bool = False
    parts: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            **self.column.to_json(),
            "dropped": self.dropped,
            "missing": self.missing,
            "categories": list(self.categories),
            "pooled": self.pooled,
            "parts": list(self.parts),
            "low": self.low,
            "high": self.high,
        }


@dataclass(frozen=True)
class Preprocessor:
    """`owners[i]` is the index of the feature that column i of the matrix comes from.

    `fills`, `centers` and `spreads` have one entry per column where the encoding fills or scales, else none.
    """

    encoding: Encoding
    features: tuple[Learnt, ...]
    fills: tuple[float, ...] = ()
    centers: tuple[float, ...] = ()
    spreads: tuple[float, ...] = ()
    owners: tuple[int, ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        owners = [index for index, feature in enumerate(self.features) for _ in range(_width(feature, self.encoding))]
        object.__setattr__(self, "owners", tuple(owners))

    @property
    def columns(self) -> tuple[Column, ...]:
        return tuple(feature.column for feature in self.features)

    @property
    def categorical(self) -> tuple[int, ...]:
        """Indexes of the matrix's columns that hold category codes."""
        if self.encoding.one_hot:
            return ()
        return tuple(index for index, owner in enumerate(self.owners) if self.features[owner].column.kind == "categorical")

    def transform(self, frame: pl.DataFrame) -> Matrix:
        """The matrix of a frame that has at least these features, in any order. Raises PredictError naming cells that cannot be read."""
        return self.matrix(canonical(frame, self.columns))

    def matrix(self, frame: pl.DataFrame) -> Matrix:
        """The matrix of a canonical frame."""
        values = self.assemble(frame)
        if self.encoding.fill:
            values = np.where(np.isnan(values), np.asarray(self.fills), values)
        if self.encoding.scale:
            values = (values - np.asarray(self.centers)) / np.asarray(self.spreads)
        return Matrix(values, self.categorical)

    def assemble(self, frame: pl.DataFrame) -> Floats:
        """The columns of a canonical frame, before filling and scaling."""
        blocks = [_block(frame[feature.column.name], feature, self.encoding) for feature in self.features if not feature.dropped]
        return np.concatenate(blocks, axis=1) if blocks else np.empty((frame.height, 0))

    def to_json(self) -> dict[str, Any]:
        encoding = self.encoding
        return {
            "encoding": {
                "fill": encoding.fill,
                "one_hot": encoding.one_hot,
                "scale": encoding.scale,
                "most_categories": encoding.most_categories,
            },
            "features": [feature.to_json() for feature in self.features],
            "fills": list(self.fills),
            "centers": list(self.centers),
            "spreads": list(self.spreads),
        }

    @classmethod
    def from_json(cls, value: object) -> "Preprocessor":
        """The inverse of `to_json`. Raises ArtifactError naming the entry for anything else."""
        given = entries(value, "preprocessor", {"encoding", "features", "fills", "centers", "spreads"})
        encoding = _encoding_from_json(given["encoding"])
        features = listed(given["features"], "features", _learnt_from_json, MAX_FEATURES)
        names = [feature.column.name for feature in features]
        if not names or len(set(names)) < len(names):
            raise ArtifactError("features must be given and differ")
        fills, centers, spreads = (listed(given[name], name, number, MAX_COLUMNS) for name in ("fills", "centers", "spreads"))
        made = cls(encoding, features, fills, centers, spreads)
        width = len(made.owners)
        wanted = {"fills": width * encoding.fill, "centers": width * encoding.scale, "spreads": width * encoding.scale}
        for name, length in wanted.items():
            if len(getattr(made, name)) != length:
                raise ArtifactError(f"{name} must have {length} entries")
        if not 0 < width <= MAX_COLUMNS or any(spread <= 0 for spread in made.spreads):
            raise ArtifactError("the preprocessor has no, too many, or impossible columns")
        return made


def learn(
    frame: pl.DataFrame, columns: Sequence[Column], encoding: Encoding, options: PreprocessingOptions | None = None
) -> tuple[Preprocessor, Floats, tuple[str, ...]]:
    """The preprocessor of a training part, that part's matrix, and notes for people. Raises TrainingError naming the feature."""
    options = options or PreprocessingOptions()
    check_columns(columns)
    most = min(options.most_categories, encoding.most_categories)
    features = tuple(_learn_feature(frame[column.name], column, most, options.min_category_rows) for column in columns)
    notes = _notes(features)
    if all(feature.dropped for feature in features):
        raise TrainingError("features", "No feature varies in the training part, so there is nothing to learn from.")
    bare = Preprocessor(encoding, features)
    if len(bare.owners) > MAX_COLUMNS:
        raise TrainingError("features", f"The features become {len(bare.owners)} columns; at most {MAX_COLUMNS} are allowed.")
    values = bare.assemble(frame)
    fills: Floats = np.empty(0)
    centers: Floats = np.empty(0)
    spreads: Floats = np.empty(0)
    if encoding.fill:
        fills = np.nanmedian(values, axis=0)
        values = np.where(np.isnan(values), fills, values)
    if encoding.scale:
        centers, spreads = values.mean(axis=0), values.std(axis=0)
        spreads[~(spreads > 0)] = 1.0
        values = (values - centers) / spreads
    made = Preprocessor(encoding, features, tuple(fills.tolist()), tuple(centers.tolist()), tuple(spreads.tolist()))
    return made, values, notes


def check_columns(columns: Sequence[Column]) -> None:
    """Raises TrainingError for no, too many or unspeakable names."""
    if not columns:
        raise TrainingError("features", "There must be at least one feature.")
    if len(columns) > MAX_FEATURES:
        raise TrainingError("features", f"There are {len(columns)} features; at most {MAX_FEATURES} are allowed.")
    for column in columns:
        if not 0 < len(column.name) <= MAX_NAME or "\0" in column.name:
            raise TrainingError("features", f"A name must have 1 to {MAX_NAME} characters: {column.name[:60]!r}.")


def _learn_feature(series: pl.Series, column: Column, most: int, min_rows: int) -> Learnt:
    missing = series.null_count() > 0
    if series.null_count() == len(series):
        return Learnt(column, dropped="has no value in the training part", missing=True)
    if series.n_unique() == 1:
        return Learnt(column, dropped="is the same in every training row")
    match column.kind:
        case "numeric" | "boolean":
            if column.kind == "boolean":
                return Learnt(column, missing=missing)
            low, high = cast("float", series.min()), cast("float", series.max())
            return Learnt(column, missing=missing, low=float(low), high=float(high))
        case "categorical":
            counted = series.drop_nulls().alias("category").value_counts().sort(["count", "category"], descending=[True, False])
            kept = counted.filter(pl.col("count") >= min_rows).head(most)
            return Learnt(column, missing=missing, categories=tuple(kept["category"]), pooled=kept.height < counted.height)
        case "datetime":
            parts = tuple(part for part in PARTS if _part(series, part).n_unique() > 1)
            return Learnt(column, missing=missing, parts=parts)


def _notes(features: Sequence[Learnt]) -> tuple[str, ...]:
    notes = [f"{feature.column.name} {feature.dropped}; it is not used." for feature in features if feature.dropped]
    notes += [
        f"{feature.column.name}: all but {len(feature.categories)} categories are pooled as one." for feature in features if feature.pooled
    ]
    return tuple(notes)


def _width(feature: Learnt, encoding: Encoding) -> int:
    """How many columns of the matrix a feature takes."""
    if feature.dropped:
        return 0
    kind = feature.column.kind
    if kind == "categorical":
        return len(feature.categories) + feature.pooled + feature.missing if encoding.one_hot else 1
    return (len(feature.parts) if kind == "datetime" else 1) + (encoding.fill and feature.missing)


def _block(series: pl.Series, feature: Learnt, encoding: Encoding) -> Floats:
    """The columns of one feature: rows × `_width`."""
    match feature.column.kind:
        case "categorical":
            return _category_block(series, feature, encoding)
        case "datetime":
            parts = [_part(series, part).cast(pl.Float64).to_numpy() for part in feature.parts]
        case "numeric" | "boolean":
            parts = [np.clip(series.cast(pl.Float64).to_numpy(), -LARGEST, LARGEST)]
    if encoding.fill and feature.missing:
        parts.append(series.is_null().cast(pl.Float64).to_numpy())
    return np.column_stack(parts)


def _category_block(series: pl.Series, feature: Learnt, encoding: Encoding) -> Floats:
    unknown = len(feature.categories)
    ranks = {category: float(rank) for rank, category in enumerate(feature.categories)}
    codes = np.full(len(series), float(unknown))
    if ranks:
        codes = series.replace_strict(ranks, default=float(unknown), return_dtype=pl.Float64).to_numpy()
    codes = np.where(series.is_null().to_numpy(), np.nan, codes)
    if not encoding.one_hot:
        # Where nothing may be missing, a missing category is one more category.
        return (np.where(np.isnan(codes), unknown + 1.0, codes) if encoding.fill else codes)[:, np.newaxis]
    hot = [codes == code for code in range(unknown + feature.pooled)]
    if feature.missing:
        hot.append(np.isnan(codes))
    return np.column_stack(hot).astype(np.float64)


def _part(series: pl.Series, part: str) -> pl.Series:
    if part == "days":
        return series.dt.epoch("us") / _MICROSECONDS_PER_DAY
    found: pl.Series = getattr(series.dt, part)()
    return found


def _encoding_from_json(value: object) -> Encoding:
    given = entries(value, "encoding", {"fill", "one_hot", "scale", "most_categories"})
    return Encoding(
        fill=flag(given["fill"], "fill"),
        one_hot=flag(given["one_hot"], "one_hot"),
        scale=flag(given["scale"], "scale"),
        most_categories=whole(given["most_categories"], "most_categories", 1, MAX_CATEGORIES),
    )


def _learnt_from_json(value: object, name: str) -> Learnt:
    fields = {"name", "kind", "whole", "dropped", "missing", "categories", "pooled", "parts", "low", "high"}
    given = entries(value, name, fields)
    kind = cast("Kind", one_of(given["kind"], f"{name}.kind", KINDS))
    feature = Learnt(
        column=Column(text(given["name"], f"{name}.name"), kind, flag(given["whole"], f"{name}.whole")),
        dropped=text(given["dropped"], f"{name}.dropped"),
        missing=flag(given["missing"], f"{name}.missing"),
        categories=listed(given["categories"], f"{name}.categories", text, MAX_CATEGORIES),
        pooled=flag(given["pooled"], f"{name}.pooled"),
        parts=listed(given["parts"], f"{name}.parts", lambda part, path: one_of(part, path, PARTS), len(PARTS)),
        low=maybe(given["low"], number, f"{name}.low"),
        high=maybe(given["high"], number, f"{name}.high"),
    )
    if not 0 < len(feature.column.name) <= MAX_NAME or len(set(feature.categories)) < len(feature.categories):
        raise ArtifactError(f"{name} has an impossible name or names a category twice")
    if not feature.dropped and ((kind == "datetime" and not feature.parts) or (kind != "datetime" and feature.parts)):
        raise ArtifactError(f"{name}.parts do not fit its kind")
    return feature
