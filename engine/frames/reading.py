"""Read a data file into a Panel. In a serving or web process use `engine.formats.trial`, which does this in a disposable child."""

from pathlib import Path

from engine.frames.building import build
from engine.frames.limits import ReadLimits
from engine.frames.mapping import Mapping
from engine.frames.opening import open_table
from engine.frames.panel import Panel
from engine.frames.problems import Findings, Report
from engine.frames.shapes import read_lines
from engine.frames.wide import read_wide


def read_panel(source: Path, mapping: Mapping, *, limits: ReadLimits | None = None) -> tuple[Panel, Report]:
    """A CSV or Parquet file, or a folder of either, as a panel.

    Raises FrameError with every problem found if the file cannot be used under this mapping.
    """
    limits = limits or ReadLimits()
    findings = Findings()
    table = open_table(source, limits=limits, findings=findings, named=mapping.columns)
    read = read_wide if mapping.shape == "wide" else read_lines
    rows = read(table, mapping, limits=limits, findings=findings)
    built = build(rows, mapping, limits=limits, findings=findings)
    panel = built.panel
    trimmed = sum(built.left_out.values()) if mapping.shape == "long" and mapping.duplicates == "refuse" else 0
    report = Report(
        rows_read=rows.rows_read,
        rows_kept=rows.rows_kept - trimmed,
        left_out={**rows.left_out, **built.left_out},
        series=panel.series.height,
        days=(panel.last_day - panel.first_day).days + 1,
        panel_rows=panel.frame.height,
        first_day=panel.first_day,
        last_day=panel.last_day,
        closed_days=built.closed_days,
        filled_days=built.filled_days,
        source={**table.describe(), "date_format": rows.date_pattern},
        problems=tuple(findings.problems),
    )
    return panel, report
