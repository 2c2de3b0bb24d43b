"""Which row goes to which part: by chance, by time or by entity. The same rows, plan and seed always give the same parts.

Nothing but one small number per row is ever in memory. Every strategy ends in two thresholds on a 64-bit key:

- random: a bijective hash of the row's number, so that no two rows tie and each class gets its exact quota (stratified sampling by
  ranks; Cochran, Sampling Techniques, 1977, ch. 5);
- time: the moment itself. Rows with equal times fall on one side;
- entity: a hash of the entity, so that all its rows fall into one part.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from engine.frames.problems import Findings, shorten
from engine.tabular.columns import PARTS, PartName, Task
from engine.tabular.keys import LEFT_OUT, Codes, KeyCounts, Keys, entity_keys, rank_thresholds, row_keys, time_keys
from engine.tabular.limits import MAX_CLASSES

Strategy = Literal["random", "time", "entity"]
Numbers = npt.NDArray[np.int8]

STRATEGIES: tuple[Strategy, ...] = ("random", "time", "entity")
TOLERANCE = 1e-9
MAX_SEED = 2**63 - 1
UNEVEN = 0.1


class PlanError(ValueError):
    """A plan that cannot be; `field` names what is wrong in it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True)
class SplitPlan:
    """What somebody asked for. `features` empty: every column but target, entity and time. Raises PlanError for what cannot be."""

    target: str
    task: Task
    strategy: Strategy = "random"
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15)
    seed: int = 0
    entity_column: str | None = None
    time_column: str | None = None
    features: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.fractions) != len(PARTS) or not abs(sum(self.fractions) - 1) <= TOLERANCE:
            raise PlanError("fractions", f"Must sum to 1; they sum to {sum(self.fractions):.12g}.")
        for part, fraction in zip(PARTS, self.fractions, strict=True):
            if not 0 < fraction < 1:
                raise PlanError(f"fractions.{part}", "Must be between 0 and 1: each part gets at least one row.")
        if not 0 <= self.seed <= MAX_SEED:
            raise PlanError("seed", f"Must be from 0 to {MAX_SEED}.")
        if self.strategy == "time" and not self.time_column:
            raise PlanError("time_column", "A split by time needs the column that tells it.")
        if self.strategy == "entity" and not self.entity_column:
            raise PlanError("entity_column", "A split by entity needs the column that names it.")
        special = [name for name in (self.target, self.entity_column, self.time_column) if name]
        if len(set(special)) < len(special):
            raise PlanError("target", "Target, entity and time are different columns.")
        if len(set(self.features)) < len(self.features):
            raise PlanError("features", "A feature is named twice.")
        if self.target in self.features:
            raise PlanError("features", "The target cannot be a feature.")

    def to_json(self) -> dict[str, Any]:
        return {
            "target": self.target,
            "task": self.task,
            "strategy": self.strategy,
            "fractions": dict(zip(PARTS, self.fractions, strict=True)),
            "seed": self.seed,
            "entity_column": self.entity_column,
            "time_column": self.time_column,
            "features": list(self.features),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "SplitPlan":
        fractions = value["fractions"]
        return cls(
            target=value["target"],
            task=value["task"],
            strategy=value["strategy"],
            fractions=(float(fractions["train"]), float(fractions["validation"]), float(fractions["test"])),
            seed=int(value["seed"]),
            entity_column=value.get("entity_column") or None,
            time_column=value.get("time_column") or None,
            features=tuple(value.get("features") or ()),
        )


def quotas(rows: int, fractions: tuple[float, float, float]) -> tuple[int, int, int]:
    """Rows per part that sum to `rows`, by largest remainder; train is served first where remainders tie."""
    ideal = [rows * fraction for fraction in fractions]
    whole = [int(share + TOLERANCE) for share in ideal]
    order = sorted(range(3), key=lambda part: (whole[part] - ideal[part], part))
    for part in order[: rows - sum(whole)]:
        whole[part] += 1
    return whole[0], whole[1], whole[2]


def class_quotas(counts: list[int], fractions: tuple[float, float, float]) -> list[tuple[int, int, int]]:
    """Each class's rows per part: as near to its fractions as whole rows can be, with the totals of all classes in mind.

    Every class trains. Remainders of many small classes would otherwise all be rounded the same way and empty a part.
    """
    done, given, seen = [], [0, 0, 0], 0
    for count in counts:
        seen += count
        due = quotas(seen, fractions)
        own = [max(0, min(count, wanted - have)) for wanted, have in zip(due, given, strict=True)]
        floors = [int(count * fraction + TOLERANCE) for fraction in fractions]
        own = [max(floor, min(part, floor + 1)) for floor, part in zip(floors, own, strict=True)]
        own[0] = max(own[0], 1)
        own = _levelled(own, count, fractions)
        given = [have + part for have, part in zip(given, own, strict=True)]
        done.append((own[0], own[1], own[2]))
    return done


def _levelled(own: list[int], count: int, fractions: tuple[float, float, float]) -> list[int]:
    """The same, changed by single rows until they sum to `count`."""
    while sum(own) != count:
        more = sum(own) < count
        wanting = [count * fraction - part for fraction, part in zip(fractions, own, strict=True)]
        able = range(3) if more else [part for part in range(3) if own[part] > (1 if part == 0 else 0)]
        chosen = max(able, key=lambda part: wanting[part]) if more else min(able, key=lambda part: wanting[part])
        own[chosen] += 1 if more else -1
    return own


@dataclass(frozen=True)
class Assignment:
    """Where each row goes. `lows` and `highs`: per class, the thresholds that train and validation end before (random) or at (others)."""

    plan: SplitPlan
    codes: Codes
    """Per row: its class (0 where there are none), or LEFT_OUT."""
    lows: Keys
    highs: Keys

    def parts(self, start: int, frame: pl.DataFrame) -> Numbers:
        """Per row of a batch that begins with row `start`: 0 train, 1 validation, 2 test, -1 nowhere."""
        codes = self.codes[start : start + frame.height]
        out = codes == LEFT_OUT
        classes = np.where(out, np.uint16(0), codes)
        if self.plan.strategy == "random":
            keys = row_keys(start, frame.height, self.plan.seed)
            numbers = (keys >= self.lows[classes]).astype(np.int8) + (keys >= self.highs[classes]).astype(np.int8)
        else:
            keys = keys_of(frame, self.plan)
            numbers = (keys > self.lows[classes]).astype(np.int8) + (keys > self.highs[classes]).astype(np.int8)
        numbers[out] = -1
        return numbers


def keys_of(frame: pl.DataFrame, plan: SplitPlan) -> Keys:
    """The keys of rows for a split by time or by entity."""
    if plan.strategy == "time":
        return time_keys(frame[plan.time_column or ""])
    return entity_keys(frame[plan.entity_column or ""], plan.seed)


@dataclass
class Classes:
    """The classes of a target, numbered as they appear."""

    limit: int
    numbers: dict[Any, int] = field(default_factory=dict)
    counts: list[int] = field(default_factory=list)

    def code(self, target: pl.Series) -> Codes | None:
        """The class of each row, LEFT_OUT where it is unknown; None once there are more than the limit."""
        for value in target.drop_nulls().unique(maintain_order=True):
            self.numbers.setdefault(value, len(self.numbers))
            if len(self.numbers) > self.limit:
                return None
        known = pl.DataFrame(
            {"value": pl.Series(list(self.numbers), dtype=target.dtype), "code": pl.Series(range(len(self.numbers)), dtype=pl.UInt16)}
        )
        found = target.alias("value").to_frame().join(known, on="value", how="left", maintain_order="left")["code"]
        codes = found.fill_null(int(LEFT_OUT)).to_numpy()
        self.counts += [0] * (len(self.numbers) - len(self.counts))
        for number, count in zip(*np.unique(codes[codes != LEFT_OUT], return_counts=True), strict=True):
            self.counts[int(number)] += int(count)
        return codes


@dataclass(frozen=True)
class Assigned:
    """How rows were assigned, and what is known of them by now. `classes`: rows per class of a classification's target."""

    assignment: Assignment
    rows: int
    left_out: dict[str, int]
    classes: dict[Any, int]


def assign(batches: Iterable[pl.DataFrame], plan: SplitPlan, *, max_classes: int, findings: Findings) -> Assigned | None:
    """Walk the canonical columns that decide (target, and time or entity) and say where each row goes.

    None, with the reasons among the findings, where the rows cannot be split so.
    """
    classes, counts = Classes(max_classes), KeyCounts()
    coded: list[Codes] = []
    low: float | None = None
    high: float | None = None
    no_target = no_time = no_entity = 0
    for batch in batches:
        target = batch[plan.target]
        codes = _codes_of(target, plan, classes)
        if codes is None:
            told = f"The target has more than {max_classes} different values: is this a regression?"
            findings.error("too_many_classes", told, column=plan.target, examples=list(classes.numbers)[:5])
            return None
        no_target += int((codes == LEFT_OUT).sum())
        if plan.task == "regression" and target.null_count() < target.len():
            least, most = float(target.min()), float(target.max())  # type: ignore[arg-type]  # numeric, checked by the caller
            low, high = least if low is None else min(low, least), most if high is None else max(high, most)
        if plan.strategy == "time":
            missing = batch[plan.time_column or ""].is_null().to_numpy() & (codes != LEFT_OUT)
            no_time += int(missing.sum())
            codes = np.where(missing, LEFT_OUT, codes)
        elif plan.strategy == "entity":
            no_entity += int((batch[plan.entity_column or ""].is_null().to_numpy() & (codes != LEFT_OUT)).sum())
        if plan.strategy != "random":
            counts.add(keys_of(batch, plan)[codes != LEFT_OUT])
        coded.append(codes)
    every = np.concatenate(coded) if coded else np.empty(0, dtype=np.uint16)
    kept = int((every != LEFT_OUT).sum())
    _tell_missing(plan, no_target, no_time, no_entity, findings)
    if not len(every):
        findings.error("no_rows", "The table has no row.")
        return None
    _check_target(plan, kept, classes, constant=low is not None and low == high, findings=findings)
    if findings.has_errors:
        return None
    counts.settle()
    thresholds = _thresholds(plan, every, kept, classes, counts, findings)
    if thresholds is None:
        return None
    assignment = Assignment(plan, every, *thresholds)
    left_out = {name: rows for name, rows in (("no_target", no_target), ("no_time", no_time)) if rows}
    return Assigned(assignment, kept, left_out, dict(zip(classes.numbers, classes.counts, strict=True)))


def _codes_of(target: pl.Series, plan: SplitPlan, classes: Classes) -> Codes | None:
    if plan.task == "classification":
        return classes.code(target)
    return np.where(target.is_null().to_numpy(), LEFT_OUT, np.uint16(0)).astype(np.uint16)


def _tell_missing(plan: SplitPlan, no_target: int, no_time: int, no_entity: int, findings: Findings) -> None:
    if no_target:
        findings.warn("no_target", f"{no_target} rows without a target were left out.", column=plan.target, rows=no_target)
    if no_time:
        findings.warn("no_time", f"{no_time} rows without a time were left out.", column=plan.time_column, rows=no_time)
    if no_entity:
        told = f"{no_entity} rows name no entity; they are kept together, as if they were one."
        findings.warn("no_entity", told, column=plan.entity_column, rows=no_entity)


def _check_target(plan: SplitPlan, kept: int, classes: Classes, *, constant: bool, findings: Findings) -> None:
    if kept == 0:
        findings.error("no_target", "No row has a target" + (" and a time." if plan.strategy == "time" else "."), column=plan.target)
        return
    if kept < len(PARTS):
        findings.error("too_few_rows", f"There are {kept} usable rows; {', '.join(PARTS)} need at least one each.", rows=kept)
        return
    if constant or (plan.task == "classification" and len(classes.counts) == 1):
        findings.error("constant_target", "Every row has the same target: there is nothing to learn.", column=plan.target)
        return
    single = [value for value, count in zip(classes.numbers, classes.counts, strict=True) if count == 1]
    if single:
        told = f"{len(single)} classes have a single member, which cannot be both learned and tested: {', '.join(shorten(single))}."
        if plan.strategy == "random":
            findings.error("single_member", told, column=plan.target, rows=len(single), examples=single)
        else:
            findings.warn("single_member", told, column=plan.target, rows=len(single), examples=single)


def _thresholds(
    plan: SplitPlan, codes: Codes, kept: int, classes: Classes, counts: KeyCounts, findings: Findings
) -> tuple[Keys, Keys] | None:
    if plan.strategy == "random":
        return _by_rank(plan, codes, kept, classes, findings)
    what = "times" if plan.strategy == "time" else "entities"
    if len(counts.keys) < len(PARTS):
        told = f"There are only {len(counts.keys)} different {what}; {', '.join(PARTS)} need at least one each."
        findings.error(
            "too_few_times" if plan.strategy == "time" else "too_few_entities", told, column=plan.time_column or plan.entity_column
        )
        return None
    first, second = counts.cut(plan.fractions)
    # As keys: numpy takes a list of plain numbers for floats here, which cannot tell neighbors apart.
    ends = np.searchsorted(counts.keys, np.array([first, second], dtype=np.uint64), side="right")
    reached = np.concatenate([[0], np.cumsum(counts.counts)])
    shares = np.diff([0, reached[ends[0]], reached[ends[1]], reached[-1]]) / reached[-1]
    if max(abs(shares - np.array(plan.fractions))) > UNEVEN:
        told = f"Keeping {what} whole gives shares of {', '.join(f'{share:.0%}' for share in shares)}, not those asked for."
        findings.warn("uneven_parts", told, column=plan.time_column if plan.strategy == "time" else plan.entity_column)
    number = max(len(classes.counts), 1)
    return np.full(number, first, dtype=np.uint64), np.full(number, second, dtype=np.uint64)


def _by_rank(plan: SplitPlan, codes: Codes, kept: int, classes: Classes, findings: Findings) -> tuple[Keys, Keys] | None:
    wanted = class_quotas(classes.counts, plan.fractions) if classes.counts else [quotas(kept, plan.fractions)]
    for position, part in enumerate(PARTS):
        if sum(one[position] for one in wanted) == 0:
            findings.error(
                "empty_part", f"{part} would be empty: {kept} rows are too few for its {plan.fractions[position]:.0%}.", rows=kept
            )
    if findings.has_errors:
        return None
    return rank_thresholds(codes, wanted, plan.seed)


def split(frame: pl.DataFrame, plan: SplitPlan, *, findings: Findings | None = None) -> dict[PartName, pl.DataFrame]:
    """A canonical frame in memory, cut as a file would be. Raises FrameError with what stands against it."""
    findings = findings or Findings()
    assigned = assign([frame], plan, max_classes=MAX_CLASSES, findings=findings)
    findings.stop_on_errors()
    if assigned is None:
        raise RuntimeError("A split that failed says why.")
    numbers = pl.Series(assigned.assignment.parts(0, frame))
    return {part: frame.filter(numbers == position) for position, part in enumerate(PARTS)}
