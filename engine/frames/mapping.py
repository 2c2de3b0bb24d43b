"""Which column of the user's file is what. Stored as JSON; checked in full whenever it comes back."""

import re
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from engine.frames.panel import COLUMNS

Shape = Literal["long", "wide", "transactions"]
MissingDays = Literal["zero", "unknown"]
Unpriced = Literal["not_offered", "keep"]
Negatives = Literal["refuse", "zero", "unknown"]
Duplicates = Literal["refuse", "sum"]
ClosedDays = Literal["detect", "keep"]
Decimal = Literal[".", ","]

CHOICES: dict[str, tuple[str, ...]] = {
    "shape": get_args(Shape),
    "missing_days": get_args(MissingDays),
    "unpriced": get_args(Unpriced),
    "negatives": get_args(Negatives),
    "duplicates": get_args(Duplicates),
    "closed_days": get_args(ClosedDays),
    "decimal": get_args(Decimal),
}
LISTS = ("keys", "attributes", "segments", "known", "items")
OPTIONAL_COLUMNS = ("target", "price", "promotion", "stock", "order")
MAX_NAME = 300
MAX_LIST = 5_000
MAX_KEYS = 8
MAX_SERIES_COLUMNS = 32
DATE_FORMAT = re.compile(r"[%A-Za-z0-9:/., -]{2,40}")


class MappingError(Exception):
    """The mapping contradicts itself. `field` names the entry at fault."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        super().__init__(f"{field}: {message}")


@dataclass(frozen=True)
class Mapping:
    """Column names are those of the file. Raises MappingError on construction, so an instance is always consistent.

    long: one row per series and day. wide: one column per item (`items`, or every column that has no other role);
    the item becomes the key `item_key`. transactions: order lines, summed per series and day; `target` is the quantity and
    `price` the unit price.
    """

    shape: Shape
    date: str
    target: str | None = None
    keys: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()
    price: str | None = None
    promotion: str | None = None
    stock: str | None = None
    known: tuple[str, ...] = ()
    missing_days: MissingDays = "zero"
    """What a day without a row means: nothing was sold, or nobody knows."""
    unpriced: Unpriced = "keep"
    """`not_offered`: a row with 0 units and no price is not a zero demand but an item that was not on sale."""
    date_format: str | None = None
    """A strftime pattern; None lets the reader find it."""
    decimal: Decimal = "."
    negatives: Negatives = "refuse"
    duplicates: Duplicates = "refuse"
    closed_days: ClosedDays = "detect"
    order: str | None = None
    """transactions: the column with the order's id."""
    cancel_prefix: str = "C"
    """transactions: orders whose id starts with this cancel an earlier one; empty switches the rule off."""
    items: tuple[str, ...] = ()
    item_key: str = "item"
    promotion_suffix: str | None = None
    """wide: `A_promo` beside `A` is said by "_promo"."""

    def __post_init__(self) -> None:
        _check_types(self)
        _check_roles(self)
        _check_shape(self)

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column of the file that is named here."""
        singles = (self.date, self.target, self.price, self.promotion, self.stock, self.order)
        return (*[name for name in singles if name is not None], *self.keys, *self.attributes, *self.known, *self.items)

    @property
    def panel_keys(self) -> tuple[str, ...]:
        """The key columns of the panel; a wide file's item names become one more."""
        keys = (*self.keys, self.item_key) if self.shape == "wide" else self.keys
        return tuple(panel_name(key) for key in keys)

    @property
    def panel_attributes(self) -> tuple[str, ...]:
        return tuple(panel_name(attribute) for attribute in self.attributes)

    @property
    def panel_segments(self) -> tuple[str, ...]:
        return tuple(panel_name(segment) for segment in self.segments)

    def to_json(self) -> dict[str, Any]:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, value: object) -> "Mapping":
        """Raises MappingError for anything but an object with known fields of the right types."""
        if not isinstance(value, dict):
            raise MappingError("mapping", "must be an object")
        names = {entry.name for entry in fields(cls)}
        for name in value:
            if name not in names:
                raise MappingError(str(name)[:80], "is not a field of a mapping")
        for name in ("shape", "date"):
            if name not in value:
                raise MappingError(name, "is required")
        for name in LISTS:
            if name in value and not isinstance(value[name], list | tuple):
                raise MappingError(name, "must be a list of column names")
        entries: dict[str, Any] = {name: tuple(entry) if name in LISTS else entry for name, entry in value.items()}
        return cls(**entries)


def panel_name(column: str) -> str:
    """`series` numbers the series in a panel, so a file's own column of that name goes by another."""
    return "series_name" if column == "series" else column


def _check_types(mapping: Mapping) -> None:
    for name, choices in CHOICES.items():
        if getattr(mapping, name) not in choices:
            raise MappingError(name, f"must be one of {', '.join(choices)}")
    _check_name("date", mapping.date)
    _check_name("item_key", mapping.item_key)
    for name in OPTIONAL_COLUMNS:
        if getattr(mapping, name) is not None:
            _check_name(name, getattr(mapping, name))
    for name in LISTS:
        entries = getattr(mapping, name)
        if len(entries) > MAX_LIST:
            raise MappingError(name, f"has more than {MAX_LIST} columns")
        for entry in entries:
            _check_name(name, entry)
    if not isinstance(mapping.cancel_prefix, str) or len(mapping.cancel_prefix) > 20:
        raise MappingError("cancel_prefix", "must be a short text")
    suffix = mapping.promotion_suffix
    if suffix is not None and (not isinstance(suffix, str) or not 0 < len(suffix) <= 40):
        raise MappingError("promotion_suffix", "must be a short text or null")
    pattern = mapping.date_format
    if pattern is not None and (not isinstance(pattern, str) or not DATE_FORMAT.fullmatch(pattern) or "%" not in pattern):
        raise MappingError("date_format", "must be a date pattern such as %d/%m/%Y")


def _check_name(field: str, value: object) -> None:
    if not isinstance(value, str) or not value or len(value) > MAX_NAME:
        raise MappingError(field, "must be a column name")


def _check_roles(mapping: Mapping) -> None:
    roles: dict[str, str] = {}
    single = {name: getattr(mapping, name) for name in ("date", *OPTIONAL_COLUMNS)}
    uses = [(role, column) for role, column in single.items() if column is not None]
    uses += [(role, column) for role in ("keys", "attributes", "known", "items") for column in getattr(mapping, role)]
    for role, column in uses:
        if column in roles:
            raise MappingError(role, f"{column!r} is already used as {roles[column]}")
        roles[column] = role
    if len(mapping.keys) > MAX_KEYS:
        raise MappingError("keys", f"at most {MAX_KEYS} columns")
    if len(mapping.attributes) > MAX_SERIES_COLUMNS:
        raise MappingError("attributes", f"at most {MAX_SERIES_COLUMNS} columns")
    for column in mapping.known:
        if column in COLUMNS:
            raise MappingError("known", f"{column!r} has a meaning of its own here; map it to its role or rename it in the file")
    in_panel = (*mapping.panel_keys, *mapping.panel_attributes)
    if len(set(in_panel)) != len(in_panel):
        raise MappingError("keys", "'series' and 'series_name' cannot both describe a series; rename one in the file")
    segments = mapping.panel_segments
    if len(set(segments)) != len(segments):
        raise MappingError("segments", "names a column twice")
    for column in segments:
        if column not in in_panel:
            raise MappingError("segments", f"{column!r} is neither a key nor an attribute")


def _check_shape(mapping: Mapping) -> None:
    if mapping.shape == "wide":
        if mapping.target is not None:
            raise MappingError("target", "a wide file has its target in the item columns")
        if mapping.item_key in (*mapping.keys, *mapping.attributes, mapping.date):
            raise MappingError("item_key", f"{mapping.item_key!r} is also a column of the file")
        for name in ("price", "promotion", "stock", "order"):
            if getattr(mapping, name) is not None:
                raise MappingError(name, "does not apply to a wide file")
        if mapping.duplicates != "refuse":
            raise MappingError("duplicates", "does not apply to a wide file")
        return
    if mapping.target is None:
        raise MappingError("target", "is required")
    for name in ("items", "promotion_suffix"):
        if getattr(mapping, name):
            raise MappingError(name, "applies to wide files only")
    if mapping.order is not None and mapping.shape != "transactions":
        raise MappingError("order", "applies to transactions only")
