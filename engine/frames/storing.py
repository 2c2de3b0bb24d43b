"""The canonical panel file: one ordinary Parquet file, the panel's description in its key-value metadata.

Columns are all of `COLUMNS`, whether anything is known in them or not, the known columns as `known.<name>`, and the series' own as
`key.<name>` and `attribute.<name>`, repeated on every row, so that any tool can read the file without us. Repetition costs next to
nothing in dictionary pages.
"""

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import IO, Any

import orjson
import polars as pl

from engine.frames.mapping import Mapping, MappingError
from engine.frames.panel import COLUMNS, REQUIRED, Panel, optional_of

METADATA_KEY = "tiltyard.panel"
VERSION = 1


class PanelFileError(Exception):
    """The file is not a panel file that this version wrote."""


@dataclass(frozen=True)
class PanelFacts:
    """What the file says about itself; read without touching the rows."""

    mapping: Mapping
    keys: tuple[str, ...]
    attributes: tuple[str, ...]
    segments: tuple[str, ...]
    known: tuple[str, ...]
    rows: int
    series: int
    first_day: date
    last_day: date


def write_panel(panel: Panel, mapping: Mapping, destination: IO[bytes]) -> None:
    """Write the whole file to an open binary stream; making it appear at its place is the caller's part."""
    attributes = tuple(name for name in panel.series.columns if name not in ("series", *panel.keys))
    described: dict[str, Any] = {
        "version": VERSION,
        "mapping": mapping.to_json(),
        "keys": panel.keys,
        "attributes": attributes,
        "segments": panel.segments,
        "known": panel.known,
        "rows": panel.frame.height,
        "series": panel.series.height,
        "first_day": panel.first_day,
        "last_day": panel.last_day,
    }
    prefixed = {
        **{name: f"key.{name}" for name in panel.keys},
        **{name: f"attribute.{name}" for name in attributes},
    }
    codes = panel.series.select("series", *[pl.col(name).cast(pl.Categorical).alias(short) for name, short in prefixed.items()])
    known = {name: f"known.{name}" for name in panel.known}
    unknown = [pl.lit(None, dtype).alias(name) for name, dtype in COLUMNS.items() if name not in panel.frame.columns]
    frame = panel.frame.with_columns(unknown).select(*COLUMNS, *known).rename(known)
    # The series' columns are joined as small codes; as text they would multiply the memory of a long panel.
    whole = frame.join(codes, on="series", how="left", maintain_order="left") if prefixed else frame
    whole.write_parquet(destination, metadata={METADATA_KEY: orjson.dumps(described).decode()}, row_group_size=500_000)


def panel_facts(path: Path) -> PanelFacts:
    """Raises PanelFileError for any other file than one written by `write_panel`."""
    try:
        metadata = pl.read_parquet_metadata(path)
        value = orjson.loads(metadata[METADATA_KEY])
        if value["version"] != VERSION:
            raise PanelFileError(f"The panel file has version {value['version']}; this program reads {VERSION}.")
        keys, attributes, segments, known = (tuple(value[field]) for field in ("keys", "attributes", "segments", "known"))
        first_day, last_day = (date.fromisoformat(value[field]) for field in ("first_day", "last_day"))
        mapping = Mapping.from_json(value["mapping"])
        return PanelFacts(mapping, keys, attributes, segments, known, int(value["rows"]), int(value["series"]), first_day, last_day)
    except (KeyError, TypeError, ValueError, MappingError, OSError, pl.exceptions.PolarsError) as error:
        raise PanelFileError(f"{path.name} is not a panel file: {error}") from error


def load_panel(path: Path) -> Panel:
    """The panel in a canonical file. Raises PanelFileError for any other file."""
    facts = panel_facts(path)
    own = {f"key.{name}": name for name in facts.keys} | {f"attribute.{name}": name for name in facts.attributes}
    known = {f"known.{name}": name for name in facts.known}
    try:
        lazy = pl.scan_parquet(path, glob=False)
        dtypes: dict[str, Any] = {name: COLUMNS[name] for name in (*REQUIRED, *optional_of(lazy))}
        frame = lazy.select(*dtypes, *known).rename(known).collect()
        # Rows are sorted by series, so the first row of each run describes it.
        first = pl.col("series") != pl.col("series").shift(1).fill_null(pl.col("series") + 1)
        series = lazy.select("series", *own).filter(first).rename(own).cast(dict.fromkeys(own.values(), pl.String)).collect()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise PanelFileError(f"{path.name} cannot be read: {error}") from error
    if frame.height != facts.rows or series.height != facts.series:
        raise PanelFileError(f"{path.name} holds {frame.height} rows of {series.height} series, not {facts.rows} of {facts.series}.")
    if dict(frame.schema) != dtypes | dict.fromkeys(facts.known, pl.Float64):
        raise PanelFileError(f"{path.name} has columns of other types.")
    return Panel(frame.set_sorted("series"), series, facts.keys, facts.segments, facts.known)
