"""Bounds on what one data file may cost. Each is checked on what was decoded, never on what the file says about itself."""

from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

LARGEST_VALUE = 1e15
"""Numbers beyond it, up or down, count nothing that is sold; their squares and sums would leave what a number can hold."""


@dataclass(frozen=True)
class ReadLimits:
    """Defaults fit a worker with 4 GB to spare; the trial adds hard limits on memory and time around them."""

    max_file_bytes: int = 2 << 30
    """Of one file as stored."""
    max_files: int = 1_000
    """In one folder."""
    max_text_bytes: int = 1 << 30
    """Of CSV text held in memory after unpacking or re-encoding; plain UTF-8 files are streamed instead."""
    max_rows: int = 30_000_000
    max_columns: int = 4_096
    max_nesting: int = 8
    """Depth of nested Parquet columns."""
    max_series: int = 500_000
    max_panel_rows: int = 20_000_000
    """Series × days after every gap is filled: one wrong date would otherwise multiply the file."""
    min_days: int = 28
    earliest_day: date = date(1950, 1, 1)
    latest_day: date = date(2100, 1, 1)
    """Dates outside the two are taken for mistakes. Callers with a clock set `latest_day` closer."""

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "earliest_day": self.earliest_day.isoformat(), "latest_day": self.latest_day.isoformat()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "ReadLimits":
        days = {name: date.fromisoformat(value[name]) for name in ("earliest_day", "latest_day")}
        return cls(**{**value, **days})
