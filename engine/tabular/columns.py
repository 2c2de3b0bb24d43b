"""Words that everything about tables shares: what a column holds, what is learnt, which parts there are.

A canonical table holds each kind in exactly one type: numbers as Float64 or Int64, categories as String, flags as Boolean, moments as
Datetime("us") without a zone, in UTC. Whoever reads a part may rely on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import polars as pl

Kind = Literal["numeric", "categorical", "boolean", "datetime"]
Task = Literal["regression", "classification"]
PartName = Literal["train", "validation", "test"]

KINDS: tuple[Kind, ...] = get_args(Kind)
TASKS: tuple[Task, ...] = get_args(Task)
PARTS: tuple[PartName, ...] = get_args(PartName)
MOMENT = pl.Datetime("us")


@dataclass(frozen=True)
class Column:
    """A column of a canonical table. `whole`: a numeric column held as Int64."""

    name: str
    kind: Kind
    whole: bool = False

    @property
    def dtype(self) -> pl.DataType:
        """Its type in a canonical table."""
        match self.kind:
            case "numeric":
                return pl.Int64() if self.whole else pl.Float64()
            case "categorical":
                return pl.String()
            case "boolean":
                return pl.Boolean()
            case "datetime":
                return MOMENT

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "kind": self.kind, "whole": self.whole}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Column":
        return cls(str(value["name"]), kind_named(value["kind"]), bool(value["whole"]))


def kind_named(value: object) -> Kind:
    """The kind of that name. Raises ValueError."""
    for kind in KINDS:
        if kind == value:
            return kind
    raise ValueError(f"There is no kind of column called {value!r}.")


def column_of(name: str, dtype: pl.DataType) -> Column | None:
    """The column a canonical type stands for; None where the type is not canonical."""
    if isinstance(dtype, pl.Int64):
        return Column(name, "numeric", whole=True)
    if isinstance(dtype, pl.Float64):
        return Column(name, "numeric")
    if isinstance(dtype, pl.String):
        return Column(name, "categorical")
    if isinstance(dtype, pl.Boolean):
        return Column(name, "boolean")
    if dtype == MOMENT:
        return Column(name, "datetime")
    return None


def columns_of(frame: pl.DataFrame, names: Sequence[str] | None = None) -> tuple[Column, ...]:
    """The columns of a canonical frame, or those of `names` in their order.

    Raises KeyError for a name that is not there and ValueError for a type that no canonical table has.
    """
    found = []
    schema = frame.schema  # asked once: it is built anew each time, which for 10,000 columns takes minutes
    for name in frame.columns if names is None else names:
        column = column_of(name, schema[name])
        if column is None:
            raise ValueError(f"Column {name!r} is {schema[name]}, which no canonical table holds.")
        found.append(column)
    return tuple(found)
