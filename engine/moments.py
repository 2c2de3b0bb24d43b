"""Mean, deviation and quantiles of numbers of any size, up to the largest that a float holds, whose sums and squares none holds.

Numbers that large are counted in a unit: a power of two, so that dividing by it and multiplying changes no digit that counts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

_LARGE = 2.0**479
"""Up to here 2^64 squares of differences add up to a number."""
_UNIT = 2.0**600


def unit_of(values: Doubles) -> float:
    """What finite values are to be divided by before they are added up or squared: 1 unless there are very large ones."""
    return _UNIT if len(values) and max(float(values.max()), -float(values.min())) > _LARGE else 1.0


def quantiles(values: Doubles, shares: Sequence[float]) -> list[float]:
    """Of finite values, at least one, linear between neighbors."""
    unit = unit_of(values)
    return [float(value) * unit for value in np.quantile(values if unit == 1 else values / unit, shares)]


@dataclass(frozen=True)
class Moments:
    """Of `count` numbers the mean and the root mean square deviation from it; neither is larger than the largest number."""

    count: int = 0
    mean: float = 0.0
    spread: float = 0.0

    @classmethod
    def of(cls, values: Doubles) -> Self:
        """Of finite values."""
        if not len(values):
            return cls()
        unit = unit_of(values)
        scaled = values if unit == 1 else values / unit
        mean = float(scaled.mean())
        return cls(len(values), mean * unit, math.sqrt(float(((scaled - mean) ** 2).mean())) * unit)

    def __add__(self, other: "Moments") -> "Moments":
        """Of both together, merged as by Chan, Golub and LeVeque (1979), which does not cancel; in halves and shares, which do not
        overflow."""
        total = self.count + other.count
        if not self.count or not other.count:
            return self if self.count else other
        more, less = (self, other) if self.count >= other.count else (other, self)
        half = less.mean / 2 - more.mean / 2
        mean = more.mean + half * (2 * less.count / total)
        between = half * (2 * math.sqrt(self.count) * math.sqrt(other.count) / total)
        within = (one.spread * math.sqrt(one.count / total) for one in (self, other))
        return Moments(total, mean, math.hypot(*within, between))

    @property
    def deviation(self) -> float | None:
        """The sample's standard deviation; None of fewer than two numbers, and where it is larger than the largest number."""
        if self.count < 2:
            return None
        found = self.spread * math.sqrt(self.count / (self.count - 1))
        return found if math.isfinite(found) else None
