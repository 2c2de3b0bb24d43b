"""Statistics over trailing windows of a (series, days) block. Each value at column d uses columns up to d only; NaN is unknown."""

import numpy as np
from numpy.typing import NDArray

from engine.forecasting.grid import Floats

Doubles = NDArray[np.float64]


class Trailing:
    """Cumulative sums of one block, from which every trailing window is one subtraction."""

    def __init__(self, values: Floats) -> None:
        known = ~np.isnan(values)
        self._values = values
        self._filled = np.where(known, values, np.float32(0))
        self._count = _cumulative(known)
        self._sum = _cumulative(self._filled)

    def mean(self, window: int) -> Floats:
        return _ratio(_difference(self._sum, window), _difference(self._count, window))

    def deviation(self, window: int) -> Floats:
        """Population standard deviation of the known values in the window."""
        count = _difference(self._count, window)
        mean = _ratio(_difference(self._sum, window), count)
        square = _ratio(_difference(_cumulative(self._filled.astype(np.float64) ** 2), window), count)
        return np.sqrt(np.maximum(square - mean * mean, 0.0)).astype(np.float32)

    def share_of_zeros(self, window: int) -> Floats:
        zeros = _cumulative(self._values == 0)
        return _ratio(_difference(zeros, window), _difference(self._count, window))

    def mean_of_positive(self, window: int) -> Floats:
        positive = _cumulative(self._values > 0)
        return _ratio(_difference(self._sum, window), _difference(positive, window))


def weekday_mean(values: Floats, weeks: int) -> Floats:
    """Mean of the values 0, 7, 14, … days back, `weeks` of them: the level of the same weekday."""
    rows, days = values.shape
    padded = np.full((rows, -(-days // 7) * 7), np.nan, dtype=np.float32)
    padded[:, :days] = values
    # One line per weekday: moving along it is moving by weeks.
    lines = padded.reshape(rows, -1, 7).transpose(0, 2, 1).reshape(rows * 7, -1)
    mean = Trailing(np.ascontiguousarray(lines)).mean(weeks)
    back = mean.reshape(rows, 7, -1).transpose(0, 2, 1).reshape(rows, -1)
    return np.ascontiguousarray(back[:, :days])


def days_since_positive(values: Floats, start: NDArray[np.int32]) -> Floats:
    """Days since the last positive value (0 on such a day), or since the series' first day before there is one."""
    column = np.arange(values.shape[1])
    last = np.maximum.accumulate(np.where(values > 0, column, -1), axis=1)
    return np.maximum(column - np.maximum(last, start[:, None]), 0).astype(np.float32)


def last_known(values: Floats, *, within: int) -> Floats:
    """The latest known value of the last `within` days."""
    column = np.arange(values.shape[1])
    last = np.maximum.accumulate(np.where(np.isnan(values), -1, column), axis=1)
    taken = np.take_along_axis(values, np.maximum(last, 0), axis=1)
    return np.where((last >= 0) & (column - last < within), taken, np.nan).astype(np.float32)


def _cumulative(values: Doubles | Floats | NDArray[np.bool_]) -> Doubles:
    out = np.zeros((values.shape[0], values.shape[1] + 1))
    np.cumsum(values, axis=1, dtype=np.float64, out=out[:, 1:])
    return out


def _difference(cumulative: Doubles, window: int) -> Doubles:
    out = cumulative[:, 1:].copy()
    out[:, window:] -= cumulative[:, 1:-window]
    return out


def _ratio(numerator: Doubles, denominator: Doubles) -> Floats:
    out = np.full(numerator.shape, np.nan, dtype=np.float32)
    np.divide(numerator, denominator, out=out, where=denominator > 0, casting="same_kind")
    return out
