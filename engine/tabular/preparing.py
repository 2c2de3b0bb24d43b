"""From a foreign table to three parts: read, judge, cut, write. In a serving or web process use `engine.formats.tables`.

The table is walked two or three times (types of text, what decides the parts, everything), never held.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import polars as pl

from engine.frames.problems import Findings, FrameProblem
from engine.tabular.columns import PARTS, Column, PartName
from engine.tabular.grouping import grouped
from engine.tabular.leakage import Twins, constant, look_for_leaks
from engine.tabular.parts import PartsSeen
from engine.tabular.profiling import Profiler, shown_moment
from engine.tabular.sources import Format, Source, TableLimits, open_source
from engine.tabular.splitting import Assigned, SplitPlan, assign
from engine.tabular.tables import Converter, Reading, as_moments, read_columns

GROUP_ROWS, GROUP_CELLS, GROUP_BYTES = 131_072, 4_000_000, 32 << 20


@dataclass(frozen=True)
class Prepared:
    """What was made. `left_out`: reason -> rows; `boundaries`: per part its first and last time; `warnings`: nothing that stops."""

    rows: int
    parts: dict[PartName, int]
    features: tuple[str, ...]
    columns: tuple[Column, ...]
    boundaries: dict[str, Any]
    profile: list[dict[str, Any]]
    reading: dict[str, Any]
    left_out: dict[str, int]
    warnings: tuple[FrameProblem, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "parts": dict(self.parts),
            "features": list(self.features),
            "columns": [column.to_json() for column in self.columns],
            "boundaries": self.boundaries,
            "profile": self.profile,
            "reading": self.reading,
            "left_out": self.left_out,
            "warnings": [warning.to_json() for warning in self.warnings],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Prepared":
        return cls(
            rows=int(value["rows"]),
            parts={part: int(value["parts"][part]) for part in PARTS},
            features=tuple(str(name) for name in value["features"]),
            columns=tuple(Column.from_json(column) for column in value["columns"]),
            boundaries=dict(value["boundaries"]),
            profile=list(value["profile"]),
            reading=dict(value["reading"]),
            left_out={str(reason): int(rows) for reason, rows in value["left_out"].items()},
            warnings=tuple(FrameProblem.from_json(warning) for warning in value["warnings"]),
        )


def prepare(
    path: Path, plan: SplitPlan, outputs: Mapping[PartName, IO[bytes]], *, kind: Format = "auto", limits: TableLimits | None = None
) -> Prepared:
    """Cut the table in a file into three Parquet files, written to open streams. Raises FrameError with every problem found."""
    limits, findings = limits or TableLimits(), Findings()
    source = open_source(path, kind=kind, limits=limits, findings=findings)
    names = _wanted(source, plan, findings)
    readings = read_columns(source, findings=findings, wanted=names)
    readings = tuple(as_moments(one, source, findings=findings) if one.name == plan.time_column else one for one in readings)
    _check_kinds(source, readings, plan, findings)
    features = plan.features or tuple(name for name in names if name not in (plan.target, plan.entity_column, plan.time_column))
    _check_width(features, limits, findings)
    findings.stop_on_errors()
    assigned = _assigned(source, readings, plan, limits, findings)
    cut = _Cut(Converter(source, readings), assigned, plan, features, outputs)
    cut.walk()
    cut.converter.tell(findings)
    cut.judge(findings)
    findings.stop_on_errors()
    return Prepared(
        rows=assigned.rows,
        parts=cut.rows,
        features=features,
        columns=cut.converter.columns,
        boundaries=cut.boundaries(),
        profile=[one.to_json() | {"role": _role(one.name, plan, features)} for one in cut.profiler.profile()],
        reading=source.describe() | {"columns": [one.to_json() for one in readings]},
        left_out=assigned.left_out,
        warnings=grouped(problem for problem in findings.problems if problem.severity == "warning"),
    )


def _wanted(source: Source, plan: SplitPlan, findings: Findings) -> list[str]:
    """The columns to read, in the table's order: what the plan names, or all. Raises FrameError for names that are not there."""
    left_out = source.describe().get("left_out", [])
    named = {"target": plan.target, "entity_column": plan.entity_column, "time_column": plan.time_column}
    for role, name in (*named.items(), *(("features", feature) for feature in plan.features)):
        if name and name in left_out:
            findings.error("nested_column", f"{name!r} holds lists, structures or bytes; none of them can be a column here.", column=name)
        elif name and name not in source.schema:
            findings.error("no_column", f"There is no column {name!r} ({role}).", column=name, examples=list(source.schema)[:5])
    findings.stop_on_errors()
    if left_out and not plan.features:
        told = f"{len(left_out)} columns hold lists, structures or bytes and were left out."
        findings.warn("nested_column", told, examples=left_out)
    if not plan.features:
        chosen = list(source.schema)
    else:
        used = {*plan.features, *(name for name in named.values() if name)}
        chosen = [name for name in source.schema if name in used]
    if not set(chosen) - {plan.target, plan.entity_column, plan.time_column} and not plan.features:
        findings.error("no_features", "There is no column besides target, entity and time to learn from.")
        findings.stop_on_errors()
    return chosen


def _check_kinds(source: Source, readings: Sequence[Reading], plan: SplitPlan, findings: Findings) -> None:
    kinds = {one.name: one.column.kind for one in readings if not one.empty}
    target = kinds.get(plan.target, "numeric")  # that no row has one is said later
    if plan.task == "regression" and target != "numeric":
        told = f"A regression needs numbers; {plan.target!r} is {target}."
        findings.error("target_not_numeric", told, column=plan.target, examples=_examples(source, plan.target))
    if plan.task == "classification" and target == "datetime":
        findings.error("target_is_a_time", f"{plan.target!r} holds moments, which are no classes.", column=plan.target)
    if plan.time_column and kinds.get(plan.time_column, "numeric") not in ("datetime", "numeric"):
        told = f"{plan.time_column!r} holds neither moments nor numbers, so rows have no order in time."
        findings.error("not_a_time", told, column=plan.time_column, examples=_examples(source, plan.time_column))


def _check_width(features: Sequence[str], limits: TableLimits, findings: Findings) -> None:
    if len(features) > limits.max_features:
        told = f"There are {len(features):,} features; {limits.max_features:,} can be learned from. Name those to use as features."
        findings.error("too_many_features", told, rows=0, examples=features[limits.max_features :])


def _examples(source: Source, name: str) -> list[Any]:
    batch = next(iter(source.batches([name])), None)
    return [] if batch is None else batch[name].drop_nulls().head(5).to_list()


def _assigned(source: Source, readings: Sequence[Reading], plan: SplitPlan, limits: TableLimits, findings: Findings) -> Assigned:
    by = {"random": None, "time": plan.time_column, "entity": plan.entity_column}[plan.strategy]
    deciding = Converter(source, tuple(one for one in readings if one.name in (plan.target, by)))
    assigned = assign(deciding.batches(), plan, max_classes=limits.max_classes, findings=findings)
    deciding.tell(findings)
    findings.stop_on_errors()
    if assigned is None:
        raise RuntimeError("A split that failed says why.")
    return assigned


def _role(name: str, plan: SplitPlan, features: Sequence[str]) -> str:
    roles = {plan.target: "target", plan.entity_column: "entity", plan.time_column: "time"}
    return roles.get(name) or ("feature" if name in features else "unused")


@dataclass
class _Cut:
    """The last walk: every row to its part, and everything that is learned on the way."""

    converter: Converter
    assigned: Assigned
    plan: SplitPlan
    features: tuple[str, ...]
    outputs: Mapping[PartName, IO[bytes]]
    rows: dict[PartName, int] = field(default_factory=lambda: dict.fromkeys(PARTS, 0))
    spans: dict[PartName, tuple[Any, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.profiler = Profiler(self.converter.columns)
        time = [self.plan.time_column] if self.plan.time_column and self.plan.time_column not in self.features else []
        self.seen = PartsSeen(self.plan.target, self.plan.task, self.features)
        self.twins = Twins([*self.features, *time, self.plan.target])  # the same values at another time are another row

    def walk(self) -> None:
        """Write the three files."""
        writers = {part: PartWriter(self.outputs[part], self.converter.columns) for part in PARTS}
        start = 0
        for batch in self.converter.batches():
            numbers = self.assigned.assignment.parts(start, batch)
            start += batch.height
            for position, part in enumerate(PARTS):
                chosen = batch.filter(pl.Series(numbers == position))
                self.rows[part] += chosen.height
                self._widen(part, chosen)
                self.seen.add(part, chosen)
                writers[part].add(chosen)
            kept = numbers >= 0
            frame = batch.filter(pl.Series(kept))
            self.profiler.add(frame)
            self.twins.add(frame, numbers[kept])
        for writer in writers.values():
            writer.close()

    def _widen(self, part: PartName, chosen: pl.DataFrame) -> None:
        if self.plan.strategy != "time" or chosen.is_empty():
            return
        values = chosen[self.plan.time_column or ""]
        low, high = self.spans.get(part, (values.min(), values.max()))
        ends: list[Any] = [values.min(), values.max()]
        self.spans[part] = (min(low, ends[0]), max(high, ends[1]))

    def boundaries(self) -> dict[str, Any]:
        """Of a split by time: the first and last time of each part."""
        return {part: {"first": _shown(low), "last": _shown(high)} for part, (low, high) in self.spans.items()}

    def judge(self, findings: Findings) -> None:
        """Errors for what nothing can be learned from, warnings for what may leak."""
        profile = self.profiler.profile()
        for part in PARTS:
            if self.rows[part] == 0:
                findings.error("empty_part", f"{part} is empty.")
        known = [one for one in profile if one.name in self.features and one.missing < one.rows]
        if not known:
            findings.error("no_features", "No feature has a value in any row: there is nothing to learn from.")
        elif not findings.has_errors:
            self.seen.judge(findings, told=[one.name for one in profile if constant(one) or one.missing == one.rows])
        if not findings.has_errors:
            twins = self.twins.rows
            look_for_leaks(self.profiler.sample, profile, self.plan, self.features, twins=twins, rows=self.assigned.rows, findings=findings)


def _shown(value: Any) -> Any:
    return value if isinstance(value, int | float) else shown_moment(value)


class PartWriter:
    """One part, written row group by row group. The same rows in the same order give the same bytes."""

    def __init__(self, stream: IO[bytes], columns: Sequence[Column]) -> None:
        import pyarrow.parquet as pq

        empty = pl.DataFrame(schema={column.name: column.dtype for column in columns})
        self._schema = _arrow(empty).schema
        self._writer = pq.ParquetWriter(stream, self._schema, compression="zstd", write_page_index=False, store_schema=True)
        self._group = max(1_024, min(GROUP_ROWS, GROUP_CELLS // max(len(columns), 1)))
        self._waiting: list[pl.DataFrame] = []
        self._rows = self._bytes = 0

    def add(self, frame: pl.DataFrame) -> None:
        """Append rows."""
        if frame.is_empty():
            return
        self._waiting.append(frame)
        self._rows += frame.height
        self._bytes += int(frame.estimated_size())
        if self._rows >= self._group or self._bytes >= GROUP_BYTES:
            self._write()

    def _write(self) -> None:
        if self._rows:
            self._writer.write_table(_arrow(pl.concat(self._waiting)).cast(self._schema), row_group_size=self._rows)
        self._waiting, self._rows, self._bytes = [], 0, 0

    def close(self) -> None:
        """Write what waits, and the footer."""
        self._write()
        self._writer.close()


def _arrow(frame: pl.DataFrame) -> Any:
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())
