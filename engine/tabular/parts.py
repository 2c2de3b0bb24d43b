"""Whether something can be learnt from the parts as they were cut: train has to vary, and to know whatever validation asks."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from engine.frames.problems import Findings, shorten
from engine.tabular.columns import PARTS, PartName, Task

MOST = 1e150
"""Of a target: a hundred million squares of it still add up to a number."""
MOST_SINGLE = 3.4028234663852886e38
"""The largest number of single precision, in which the boosters hold a target, and models features."""
RARE = 2
"""Rows of a class in train from which on it is no rare one."""


@dataclass
class PartsSeen:
    """The targets of each part, and which features have not varied in train so far: batches in, findings out."""

    target: str
    task: Task
    features: Sequence[str]
    classes: dict[PartName, dict[Any, int]] = field(default_factory=lambda: {part: {} for part in PARTS})
    spans: dict[PartName, tuple[float, float]] = field(default_factory=dict)
    _same: list[str] = field(default_factory=list)
    _first: pl.DataFrame | None = None

    def add(self, part: PartName, frame: pl.DataFrame) -> None:
        """Take canonical rows of a part, each with its target."""
        if frame.is_empty():
            return
        if self.task == "classification":
            counts = self.classes[part]
            for value, count in frame[self.target].value_counts().iter_rows():
                counts[value] = counts.get(value, 0) + count
        else:
            self._span(part, frame[self.target])
        if part == "train":
            self._look(frame)

    def _span(self, part: PartName, target: pl.Series) -> None:
        ends: list[Any] = [target.min(), target.max()]
        low, high = self.spans.get(part, (ends[0], ends[1]))
        self.spans[part] = (min(low, ends[0]), max(high, ends[1]))

    def _look(self, frame: pl.DataFrame) -> None:
        """Drop the features that vary, a missing value among others included."""
        if self._first is None:
            self._same, self._first = list(self.features), frame.head(1)
        if self._same:
            both = pl.concat([self._first.select(self._same), frame.select(self._same)])
            counted = both.select(pl.all().n_unique()).row(0)
            self._same = [name for name, count in zip(self._same, counted, strict=True) if count == 1]

    def judge(self, findings: Findings, *, told: Sequence[str]) -> None:
        """Errors where every study would fail, warnings for the rest. `told`: features that never vary, told elsewhere."""
        if self._first is not None and len(self._same) == len(self.features):
            findings.error("constant_in_train", "No feature varies in train: there is nothing to learn from.", examples=self._same)
        elif same := [name for name in self._same if name not in set(told)]:
            for name in same:
                findings.warn("constant_in_train", f"{name!r} is the same in every row of train: nothing is learned from it.", column=name)
        if self.task == "classification":
            self._judge_classes(findings)
        else:
            self._judge_numbers(findings)

    def _judge_numbers(self, findings: Findings) -> None:
        largest = max((abs(end) for span in self.spans.values() for end in span), default=0)
        if largest > MOST:
            text = f"The target reaches {largest:.3g}: squares of its errors are beyond any number. Give it in a larger unit."
            findings.error("target_too_large", text, column=self.target)
            return
        if largest > MOST_SINGLE:
            text = f"The target reaches {largest:.3g}, and boosters compute in single precision, up to 3.4e+38. Give it in a larger unit."
            findings.warn("target_beyond_single", text, column=self.target)
        for part, (low, high) in self.spans.items():
            if low == high:
                self._tell_same(part, f"{low:g}", findings)

    def _judge_classes(self, findings: Findings) -> None:
        known = self.classes["train"]
        for part in PARTS:
            counts = self.classes[part]
            if len(counts) == 1:
                self._tell_same(part, repr(next(iter(counts))), findings)
            if unknown := [value for value in counts if value not in known]:
                self._tell_unknown(part, unknown, sum(counts[value] for value in unknown), findings)
        if rare := [value for value, count in known.items() if count < RARE]:
            text = f"{len(rare)} classes have a single row in train, from which little can be learned: {', '.join(shorten(rare))}."
            findings.warn("rare_in_train", text, column=self.target, rows=len(rare), examples=rare)

    def _tell_same(self, part: PartName, value: str, findings: Findings) -> None:
        if part == "train":
            text = f"The target is {value} in every row of train: there is nothing to learn."
            findings.error("constant_target", text, column=self.target)
            return
        text = f"The target is {value} in every row of {part}: metrics that compare rows of different targets have no value there."
        findings.warn("constant_target_in_part", text, column=self.target)

    def _tell_unknown(self, part: PartName, values: Sequence[Any], rows: int, findings: Findings) -> None:
        shown = ", ".join(shorten(values))
        if part == "validation":
            text = f"{rows} rows of validation have classes that train does not ({shown}): no model could be judged by them."
            findings.error("unknown_class", text, column=self.target, rows=rows, examples=values)
        else:
            text = f"{rows} rows of {part} have classes that train does not ({shown}): a model cannot be measured on {part}."
            findings.warn("unknown_class", text, column=self.target, rows=rows, examples=values)
