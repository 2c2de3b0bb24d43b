"""What commands print: tables for people, JSON for programs. Text that others wrote cannot steer a terminal."""

import io
import os
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from shutil import get_terminal_size
from typing import Any

import orjson
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mlops.api import json

WIDE = 200
"""Columns where nobody looks: nothing is cut off for want of a terminal's edge."""

Column = tuple[str, str | Callable[[Mapping[str, Any]], Any]]
"""A heading, and the key of a row or what to make of the row."""


@dataclass(frozen=True)
class Output:
    """Standard output and error of one command."""

    write: Callable[[str], Any]
    tell: Callable[[str], Any]
    as_json: bool
    terminal: bool

    def value(self, value: Any) -> None:
        """A value as indented JSON, as the API would answer it."""
        self.write(as_json(value))

    def rows(self, rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], *, title: str = "", count: int | None = None) -> None:
        """Rows as a table; as JSON the rows whole, with how many there are."""
        if self.as_json:
            self.value({"count": len(rows) if count is None else count, "results": rows})
            return
        self._print(_table(rows, columns, title))
        if count is not None and count > len(rows):
            self.tell(f"{len(rows)} of {count}; --page and --limit show others.")

    def facts(self, facts: Mapping[str, Any], whole: Any = None, *, title: str = "") -> None:
        """One thing as lines of name and value; as JSON `whole`, or the facts."""
        if self.as_json:
            self.value(facts if whole is None else whole)
            return
        lines = [{"name": name, "value": value} for name, value in facts.items()]
        self._print(_table(lines, [("", "name"), (" ", "value")], title, heading=False))

    def done(self, sentence: str, whole: Any) -> None:
        """What was done, in a sentence; as JSON `whole`."""
        self.value(whole) if self.as_json else self.write(inert(sentence))

    def _print(self, table: Table) -> None:
        text = io.StringIO()
        width = get_terminal_size().columns if self.terminal else WIDE
        colors = self.terminal and "NO_COLOR" not in os.environ
        Console(file=text, width=width, force_terminal=self.terminal, no_color=not colors).print(table)
        self.write("\n".join(line.rstrip() for line in text.getvalue().rstrip("\n").split("\n")))


def as_json(value: Any) -> str:
    """Indented JSON without NaN."""
    return orjson.dumps(orjson.loads(json.dumps(value)), option=orjson.OPT_INDENT_2).decode()


def inert(text: str) -> str:
    """The text without control and direction characters, which a terminal would obey; lines stay."""
    return "".join("�" if unicodedata.category(one) in ("Cc", "Cf", "Cs") and one != "\n" else one for one in text)


def shown(value: Any) -> str:
    """A value in a cell."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {shown(one)}" for name, one in value.items()) or "–"
    if isinstance(value, list | tuple):
        return ", ".join(shown(one) for one in value) or "–"
    return inert(str(value))


def _table(rows: Iterable[Mapping[str, Any]], columns: Sequence[Column], title: str, *, heading: bool = True) -> Table:
    table = Table(box=box.SIMPLE_HEAD if heading else None, title=Text(inert(title)) if title else None, title_justify="left")
    table.show_header = heading
    for name, _ in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(shown(row[made] if isinstance(made, str) else made(row))) for _, made in columns))
    return table
