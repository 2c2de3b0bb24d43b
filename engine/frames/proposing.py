"""Propose a mapping for a file nobody has described, from names and contents. A person confirms or corrects it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from engine.frames.building import LOCATION_WORDS, location_key
from engine.frames.checks import bad_cells, collect, count_rows
from engine.frames.columns import Column, describe_columns
from engine.frames.limits import ReadLimits
from engine.frames.mapping import Mapping, Shape
from engine.frames.opening import FILE, ROW, RawTable, open_table
from engine.frames.problems import Findings, FrameProblem, be
from engine.frames.values import as_day, as_number, is_present, read_dates

SAMPLE_ROWS = 1_000_000
MAX_SEGMENTS = 60

# fmt: off
# In order of preference: the first that a column is called decides.
TARGET_NAMES = ("units_sold", "units", "quantity", "qty", "sales", "sold", "demand", "target", "y", "cnt", "count", "users", "flights",
                "orders", "volume", "value", "trips", "rides", "rentals", "visits", "calls", "passengers", "consumption", "load", "amount",
                "total")
# fmt: on
PRICE_WORDS = ("price", "unitprice", "preis", "prix", "precio")
PROMOTION_SUFFIXES = ("_promo", "_promotion", "_on_promotion")
PROMOTION_WORDS = ("promo", "promotion", "onpromotion", "promoted", "campaign", "discounted")
STOCK_WORDS = ("stock", "inventory", "onhand", "on_hand")
KNOWN_WORDS = ("snap", "holiday", "event", "workingday", "workday", "school", "festive", "weekend")
CALENDAR_WORDS = ("year", "yr", "month", "mnth", "day", "weekday", "wday", "week", "quarter", "season", "hour", "hr", "dayofweek", "dow")
MEASURE_WORDS = ("temp", "temperature", "hum", "humidity", "wind", "windspeed", "rain", "weather", "cost", "revenue", "profit")
DATE_WORDS = ("date", "day", "dteday", "ds", "datum", "fecha", "timestamp", "invoicedate")
ORDER_WORDS = ("invoice", "invoiceno", "order", "orderid", "receipt", "transaction", "ticket", "basket", "bill")
MEASURED_WORDS = (*PRICE_WORDS, *PROMOTION_WORDS, "onhand", "quantity", "qty", "units", "sales", "sold")
ITEM_WORDS = ("item", "sku", "product", "article", "stockcode", "material", "upc", "ean", "asin")

MISTAKES = 0.1
"""The share of a column's cells, or of a file's rows, that may be mistakes where the others say what it is. Reading names each of them,
so that a column is rather taken for what it nearly is than silently left out."""


@dataclass(frozen=True)
class Proposal:
    """`mapping` is None where no date or no target was found; `problems` then say so. `preview` holds the first rows as text."""

    mapping: Mapping | None
    rows: int
    columns: tuple[Column, ...]
    problems: tuple[FrameProblem, ...]
    preview: tuple[tuple[str | None, ...], ...]
    source: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {
            "mapping": None if self.mapping is None else self.mapping.to_json(),
            "rows": self.rows,
            "columns": [column.to_json() for column in self.columns],
            "problems": [problem.to_json() for problem in self.problems],
            "preview": [list(row) for row in self.preview],
            "source": self.source,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Proposal":
        return cls(
            mapping=None if value["mapping"] is None else Mapping.from_json(value["mapping"]),
            rows=int(value["rows"]),
            columns=tuple(Column.from_json(column) for column in value["columns"]),
            problems=tuple(FrameProblem.from_json(problem) for problem in value["problems"]),
            preview=tuple(tuple(row) for row in value["preview"]),
            source=dict(value["source"]),
        )


def propose(source: Path, *, limits: ReadLimits | None = None) -> Proposal:
    """Raises FrameError where the file is no readable table; what is doubtful comes back in `problems`.

    Up to a tenth of a column's cells may be unreadable as the dates, numbers or yes and no that the others are, and up to a tenth of
    the rows may share a day of their series with another. Columns that name things (items, places, orders) are taken at their word.
    """
    limits = limits or ReadLimits()
    findings = Findings()
    table = open_table(source, limits=limits, findings=findings)
    rows = count_rows(table, limits=limits)
    every = max(1, -(-rows // SAMPLE_ROWS))
    sample = collect((table.lazy.gather_every(every) if every > 1 else table.lazy).drop(ROW, FILE), table)
    preview = tuple(tuple(_cell(value) for value in row) for row in sample.head(5).iter_rows())
    tolerated = {name: MISTAKES for name in sample.columns if not _names_things(name)}
    columns, typed = describe_columns(sample, text=table.text, delimiter=table.delimiter, tolerated=tolerated)
    mapping = _propose(columns, typed, table, sampled=every > 1, findings=findings)
    return Proposal(mapping, rows, columns, tuple(findings.problems), preview, table.describe())


def _cell(value: object) -> str | None:
    return None if value is None else str(value)[:100]


def words(name: str) -> set[str]:
    """The words of a column name, and the whole of it: `UnitPrice` -> {"unit", "price", "unitprice"}."""
    spaced = "".join(f"_{letter.lower()}" if letter.isupper() and index and name[index - 1].islower() else letter.lower()
                     for index, letter in enumerate(name))  # fmt: skip
    parts = {part for part in "".join(letter if letter.isalnum() else "_" for letter in spaced).split("_") if part}
    return parts | {"_".join(part for part in spaced.split("_") if part), spaced.replace("_", "")}


def is_called(name: str, *vocabularies: tuple[str, ...]) -> bool:
    return any(word in words(name) for vocabulary in vocabularies for word in vocabulary)


def _propose(columns: tuple[Column, ...], typed: pl.DataFrame, table: RawTable, *, sampled: bool, findings: Findings) -> Mapping | None:
    day = _date_column(columns)
    numeric = [column for column in columns if column.kind == "number" and not _is_row_number(typed, column.name)]
    labels = [column for column in columns if column.kind in ("text", "flag_text") or _is_id(column)]
    order = next((column.name for column in columns if is_called(column.name, ORDER_WORDS) and column != day), None)
    numeric = [column for column in numeric if not _is_id(column) and column.name != order]
    wide = _wide_mapping(day, numeric, labels, columns) if day is not None else None
    if wide is not None:
        return wide
    target = _target_column(numeric)
    if day is None:
        _tell_no_date(columns, typed, table, findings)
    if target is None:
        _tell_no_target(columns, table, findings, alone=day is not None)
    if day is None or target is None:
        return None
    labels = [column for column in labels if column.name != order]
    return _line_mapping(day, target, numeric, labels, order, typed, columns, sampled=sampled, findings=findings)


def _date_column(columns: tuple[Column, ...]) -> Column | None:
    """The date column that is most complete; a name with "date" or "day" in it decides between equals."""
    dates = [column for column in columns if column.kind == "date"]
    named = [column for column in dates if is_called(column.name, DATE_WORDS)]
    return min(named or dates, key=lambda column: column.missing, default=None)


def _tell_no_date(columns: tuple[Column, ...], typed: pl.DataFrame, table: RawTable, findings: Findings) -> None:
    looks = [column for column in columns if is_called(column.name, DATE_WORDS)]
    dated = [column.name for column in columns if column.name.startswith(("19", "20", "d_")) and any(c.isdigit() for c in column.name)]
    if len(dated) > 10:
        findings.error("dates_in_columns", "The days stand in columns; the file needs one row per day.", examples=dated)
    elif looks:
        _tell_unread_dates(looks[0], typed, table, findings)
    else:
        findings.error("no_date_column", "No column holds dates.", examples=[column.name for column in columns])


def _tell_unread_dates(column: Column, typed: pl.DataFrame, table: RawTable, findings: Findings) -> None:
    """Which values are not written like most of them, where there is a way in which most are."""
    name = column.name
    given = is_present(name, table.schema[name])
    pattern = read_dates(typed[name].drop_nulls()).pattern if column.kind != "nested" else None
    if pattern is None:
        told = f"{name!r} could be the date, but its values are written in no known format."
        findings.error("unparsable_dates", told, column=name, examples=column.examples)
        return
    rows, examples = bad_cells(table, name, given & as_day(name, table.schema[name], pattern).is_null())
    told = (
        f"{name!r} could be the date, but {rows} of its {_count(table, given)} values {be(rows)} not written like the others ({pattern})."
    )
    findings.error("unparsable_dates", told, column=name, rows=rows, examples=examples)


def _tell_no_target(columns: tuple[Column, ...], table: RawTable, findings: Findings, *, alone: bool) -> None:
    """`alone`: whether to say so, too, where no column is called as if it were the demand."""
    named = [
        column for word in TARGET_NAMES for column in columns if column.kind in ("text", "flag_text") and is_called(column.name, (word,))
    ]
    looks = next((column for column in named if not _names_things(column.name)), None)
    if looks is None:
        if alone:
            findings.error("no_target_column", "No numeric column was found that could be the demand to forecast.")
        return
    name, dtype = looks.name, table.schema[looks.name]
    given = is_present(name, dtype)
    rows, examples = bad_cells(table, name, given & as_number(name, dtype, decimal=looks.decimal_of(columns)).is_null())
    told = f"{name!r} could be the demand to forecast, but {rows} of its {_count(table, given)} values cannot be read as numbers."
    findings.error("no_target_column", told, column=name, rows=rows, examples=examples)


def _count(table: RawTable, given: pl.Expr) -> int:
    return int(collect(table.lazy.select(given.sum()), table).item())


def _is_id(column: Column) -> bool:
    """Whole numbers that name something: store 1, item 4711."""
    return column.kind == "number" and column.whole and _is_called_like_an_id(column.name)


def _names_things(name: str) -> bool:
    """Whether a column's name says that its cells are names, however many of them are digits: 22423 beside 85123A."""
    if is_called(name, DATE_WORDS, MEASURED_WORDS):
        return False
    return _is_called_like_an_id(name) or is_called(name, ORDER_WORDS)


def _is_called_like_an_id(name: str) -> bool:
    if is_called(name, MEASURED_WORDS):
        return False
    named = bool({"id", "nbr", "code", "number", "no", "nr"} & words(name))
    return named or is_called(name, ITEM_WORDS, LOCATION_WORDS, ("dept", "department", "family"))


def _is_row_number(typed: pl.DataFrame, name: str) -> bool:
    """A running number under a name that admits it; sales of a toy file may well rise by one a day."""
    named = is_called(name, ("instant", "index", "row", "rownumber", "id", "no", "nr", "unnamed", "column", "record"))
    return named and typed.height > 2 and bool((typed[name].diff().drop_nulls() == 1).all())


def _target_column(numeric: list[Column]) -> Column | None:
    for name in TARGET_NAMES:
        exact = [column for column in numeric if name in (column.name.lower(), column.name.lower().replace(" ", "_"))]
        if exact:
            return exact[0]
    excluded = (PRICE_WORDS, PROMOTION_WORDS, STOCK_WORDS, KNOWN_WORDS, CALENDAR_WORDS)
    free = [column for column in numeric if not is_called(column.name, *excluded) and column.distinct > 2]
    named = [column for column in free if is_called(column.name, TARGET_NAMES)]
    if named:
        return named[0]
    return free[-1] if free else None


def _wide_mapping(day: Column, numeric: list[Column], labels: list[Column], columns: tuple[Column, ...]) -> Mapping | None:
    """A file whose numeric columns are items: no column that is called a target, or `A` beside `A_promo`."""
    names = {column.name for column in columns}
    suffix = next(
        (mark for mark in PROMOTION_SUFFIXES if any(name.endswith(mark) and name.removesuffix(mark) in names for name in names)), None
    )
    items = [column for column in numeric if not (suffix and column.name.endswith(suffix))]
    covariates = [column for column in items if is_called(column.name, KNOWN_WORDS, CALENDAR_WORDS, PRICE_WORDS, STOCK_WORDS)]
    items = [column for column in items if column not in covariates]
    if suffix is None and (len(items) < 2 or any(column.name.lower() in TARGET_NAMES for column in items)):
        return None
    if suffix is None and any(is_called(column.name, MEASURE_WORDS, PROMOTION_WORDS) for column in items):
        return None
    if any(is_called(column.name, ITEM_WORDS) for column in labels):
        return None
    keys = tuple(column.name for column in labels if column.kind == "text" and is_called(column.name, LOCATION_WORDS))
    known = tuple(column.name for column in covariates if is_called(column.name, KNOWN_WORDS))
    return Mapping(
        shape="wide",
        date=day.name,
        keys=keys,
        segments=(*keys, "item") if len(items) <= MAX_SEGMENTS else keys,
        known=known,
        items=tuple(column.name for column in items),
        promotion_suffix=suffix,
        date_format=day.date_format,
        decimal=day.decimal_of(columns),
    )


def _line_mapping(
    day: Column,
    target: Column,
    numeric: list[Column],
    labels: list[Column],
    order: str | None,
    typed: pl.DataFrame,
    columns: tuple[Column, ...],
    *,
    sampled: bool,
    findings: Findings,
) -> Mapping:
    others = [column for column in numeric if column.name != target.name]
    price = _first(others, PRICE_WORDS)
    promotion = _first(
        [column for column in columns if column.kind in ("number", "flag_text") and column.name not in (target.name, price)],
        PROMOTION_WORDS,
    )
    stock = _first([column for column in others if not is_called(column.name, ITEM_WORDS)], STOCK_WORDS)
    taken = {target.name, price, promotion, stock}
    known = tuple(c.name for c in others if c.name not in taken and is_called(c.name, KNOWN_WORDS) and c.distinct <= 50)
    labels = [column for column in labels if column.name not in taken]
    keys, unique = _find_keys(typed, day.name, labels)
    shape: Shape = "transactions" if order is not None or not unique else "long"
    attributes = _attributes(typed, keys, labels)
    _warn_leaks(typed, target.name, [column.name for column in others if column.name not in taken], findings)
    if sampled:
        findings.warn("sampled", "The proposal rests on a sample of the rows.")
    unpriced = price is not None and shape == "long" and bool(((typed[target.name] == 0) & typed[price].is_null()).any())
    return Mapping(
        shape=shape,
        date=day.name,
        target=target.name,
        keys=keys,
        attributes=attributes,
        segments=_segments(typed, keys, attributes),
        price=price,
        promotion=promotion,
        stock=stock,
        known=known,
        unpriced="not_offered" if unpriced else "keep",
        date_format=day.date_format,
        decimal=day.decimal_of(columns),
        order=order if shape == "transactions" else None,
    )


def _first(columns: list[Column], vocabulary: tuple[str, ...]) -> str | None:
    return next((column.name for column in columns if is_called(column.name, vocabulary)), None)


def _find_keys(typed: pl.DataFrame, day: str, labels: list[Column]) -> tuple[tuple[str, ...], bool]:
    """The fewest label columns that, with the day, tell every row apart; places and items come first. And whether they do, but for some
    days that stand there twice, which are mistakes and no lines to sum."""
    ranked = sorted(labels, key=lambda column: (_rank(column), -column.distinct))[:10]
    names = [column.name for column in ranked if column.distinct > 1]
    places = [name for name in names if is_called(name, LOCATION_WORDS)]
    items = [name for name in names if is_called(name, ITEM_WORDS)]
    candidates: list[tuple[str, ...]] = [(), *((place, item) for place in places for item in items)]
    candidates += [(name,) for name in names]
    candidates += [(one, two) for index, one in enumerate(names) for two in names[index + 1 :]]
    candidates += [
        (one, two, three) for i, one in enumerate(names[:6]) for j, two in enumerate(names[i + 1 : 6], i + 1) for three in names[j + 1 : 6]
    ]
    dated = typed.filter(pl.col(day).is_not_null())
    fewest, best = typed.height, candidates[0]
    for keys in candidates:
        repeated = int(dated.select(day, *keys).is_duplicated().sum())
        if not repeated:
            return keys, True
        if repeated < fewest:
            fewest, best = repeated, keys
    if fewest <= MISTAKES * dated.height:
        return best, True
    if (copied := _keys_of_copies(dated, day, candidates)) is not None:
        return copied, True
    return tuple(places[:1] + items[:1]) or tuple(names[:1]), False


def _keys_of_copies(dated: pl.DataFrame, day: str, candidates: list[tuple[str, ...]]) -> tuple[str, ...] | None:
    """The keys of a file that holds each row equally often: written twice, and no lines to sum. None where rows differ."""
    distinct = dated.group_by(dated.columns).len("times")
    if distinct["times"].n_unique() != 1:
        return None
    return next((keys for keys in candidates if not distinct.select(day, *keys).is_duplicated().any()), None)


def _rank(column: Column) -> int:
    if is_called(column.name, LOCATION_WORDS):
        return 0
    if is_called(column.name, ITEM_WORDS):
        return 1
    return 2 if "id" in words(column.name) else 3


def _attributes(typed: pl.DataFrame, keys: tuple[str, ...], labels: list[Column]) -> tuple[str, ...]:
    """Label columns that are constant within a series and shared between series."""
    others = [column.name for column in labels if column.name not in keys]
    if not keys or not others:
        return ()
    counts = typed.group_by(keys).agg(pl.col(others).drop_nulls().n_unique())
    distinct = {name: typed[name].n_unique() for name in others}
    return tuple(name for name in others if bool((counts[name] <= 1).all()) and 1 < distinct[name] < max(2, counts.height))


def _segments(typed: pl.DataFrame, keys: tuple[str, ...], attributes: tuple[str, ...]) -> tuple[str, ...]:
    """What errors are reported by: the finest group of items, and the place."""
    place = location_key(keys)
    items = [key for key in keys if key != place]
    groups: list[str] = []
    if items:
        per_item = typed.group_by(items).agg(pl.col(list(attributes)).drop_nulls().n_unique()) if attributes else None
        of_items = [name for name in attributes if per_item is not None and bool((per_item[name] <= 1).all())]
        sizes = {name: typed[name].n_unique() for name in (*of_items, *items)}
        fitting = [name for name in of_items if 1 < sizes[name] <= MAX_SEGMENTS] or [name for name in items if 1 < sizes[name] <= 30]
        groups += sorted(fitting, key=lambda name: -sizes[name])[:1]
    if place is not None and 1 < typed[place].n_unique() <= MAX_SEGMENTS * 4:
        groups.append(place)
    return tuple(groups)


def _warn_leaks(typed: pl.DataFrame, target: str, others: list[str], findings: Findings) -> None:
    """Columns that add up to the target hold the answer; they are left out and named."""
    names = others[:20]
    wanted = typed[target]
    for index, one in enumerate(names):
        for two in names[index + 1 :]:
            if bool((typed[one] + typed[two] == wanted).all()):
                told = f"{one!r} and {two!r} add up to {target!r}: they are known no earlier than it, and were not proposed."
                findings.warn("leaks_target", told, column=one, examples=[one, two])
                return
