"""Is one model's loss smaller than another's by more than chance? Tests on paired daily losses of the same days."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Alternative = Literal["two-sided", "less", "greater"]
MIN_DAYS = 10


@dataclass(frozen=True)
class Comparison:
    """`p_value` is None where no test is possible, and `reason` says why; None must fail a gate closed."""

    p_value: float | None
    statistic: float | None
    n: int
    mean_difference: float | None
    """Mean of first minus second loss; negative: the first is better."""
    method: str
    reason: str = ""


def diebold_mariano(first: ArrayLike, second: ArrayLike, *, horizon: int = 7, alternative: Alternative = "two-sided") -> Comparison:
    """Diebold–Mariano test with the small-sample correction of Harvey, Leybourne and Newbold.

    Diebold & Mariano, "Comparing predictive accuracy", JBES 13 (1995); Harvey, Leybourne & Newbold, "Testing the equality
    of prediction mean squared errors", Int. J. Forecasting 13 (1997): the long-run variance of the loss differences uses
    `horizon` - 1 autocovariances, the statistic is scaled by sqrt((n + 1 - 2h + h(h - 1)/n) / n) and compared with
    Student's t with n - 1 degrees of freedom. Where that variance is not positive, Bartlett weights (Newey & West 1987)
    make it so. `alternative="less"` asks whether the first has the smaller loss.
    """
    method = f"Diebold-Mariano, Harvey-Leybourne-Newbold, h={horizon}"
    difference = _differences(first, second)
    n = len(difference)
    if refused := _refusal(difference, needed=max(MIN_DAYS, 2 * horizon)):
        return Comparison(None, None, n, _mean(difference), method, refused)
    mean = float(difference.mean())
    if not np.ptp(difference):
        return _constant(mean, n, method, alternative)
    variance = _long_run_variance(difference, lags=horizon - 1)
    factor = (n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n
    statistic = mean / math.sqrt(variance / n) * math.sqrt(factor)
    return Comparison(_student_p(statistic, n - 1, alternative), statistic, n, mean, method)


def block_bootstrap(
    first: ArrayLike, second: ArrayLike, *, block: int = 7, draws: int = 4999, seed: int = 0, alternative: Alternative = "two-sided"
) -> Comparison:
    """Circular block bootstrap of the mean loss difference, centered on the hypothesis of none.

    Politis & Romano, "A circular block-resampling procedure for stationary data" (1992). The p-value counts the observed
    sample among the draws, so it is never 0. The statistic is the mean difference in units of its bootstrap deviation.
    """
    method = f"circular block bootstrap, block={block}, draws={draws}"
    difference = _differences(first, second)
    n = len(difference)
    if refused := _refusal(difference, needed=max(MIN_DAYS, 2 * block)):
        return Comparison(None, None, n, _mean(difference), method, refused)
    mean = float(difference.mean())
    if not np.ptp(difference):
        return _constant(mean, n, method, alternative)
    starts = np.random.default_rng(seed).integers(0, n, size=(draws, -(-n // block)))
    index = (starts[:, :, None] + np.arange(block)).reshape(draws, -1)[:, :n] % n
    null = (difference - mean)[index].mean(axis=1)
    extreme = {"two-sided": np.abs(null) >= abs(mean), "less": null <= mean, "greater": null >= mean}[alternative]
    deviation = float(null.std())
    return Comparison((1 + int(extreme.sum())) / (draws + 1), mean / deviation if deviation else None, n, mean, method)


def difference_interval(
    first: ArrayLike, second: ArrayLike, *, block: int = 7, draws: int = 1999, seed: int = 0, level: float = 0.95
) -> tuple[float, float] | None:
    """Percentile interval of the mean loss difference, first minus second, by the circular block bootstrap (Politis & Romano 1992).

    In the units of the losses. None with fewer than `MIN_DAYS` or two blocks of days.
    """
    difference = _differences(first, second)
    n = len(difference)
    if _refusal(difference, needed=max(MIN_DAYS, 2 * block)):
        return None
    starts = np.random.default_rng(seed).integers(0, n, size=(draws, -(-n // block)))
    index = (starts[:, :, None] + np.arange(block)).reshape(draws, -1)[:, :n] % n
    low, high = np.quantile(difference[index].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def minimum_detectable_effect(
    differences: ArrayLike, *, days: int, horizon: int = 7, alpha: float = 0.05, power: float = 0.8
) -> float | None:
    """The smallest mean daily loss difference that `diebold_mariano`, two-sided at `alpha` over `days`, finds with chance `power`.

    `differences` are daily loss differences of a pilot, from which only their noise is taken; the answer is in their units. Bloom, "Minimum
    detectable effects", Evaluation Review 19 (1995): the effect is (t(1 - alpha/2) + t(power)) standard errors, with the degrees of freedom
    of the test. The standard error is that of the test: long-run variance with `horizon` - 1 autocovariances, over the correction of
    Harvey, Leybourne and Newbold for `days`. None where the pilot or the plan is too short for the test, or the pilot has no noise.
    """
    from scipy.special import stdtrit

    pilot = np.asarray(differences, dtype=np.float64).ravel()
    pilot = pilot[np.isfinite(pilot)]
    needed = max(MIN_DAYS, 2 * horizon)
    if min(len(pilot), days) < needed or not np.ptp(pilot):
        return None
    factor = (days + 1 - 2 * horizon + horizon * (horizon - 1) / days) / days
    error = math.sqrt(_long_run_variance(pilot, lags=horizon - 1) / days / factor)
    return float(stdtrit(days - 1, 1 - alpha / 2) + stdtrit(days - 1, power)) * error


def holm(p_values: list[float]) -> list[float]:
    """Holm's step-down adjustment (Scand. J. Statistics 6, 1979): compare each with the level the whole family may have."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, largest = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _differences(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    one, two = np.asarray(first, dtype=np.float64).ravel(), np.asarray(second, dtype=np.float64).ravel()
    if one.shape != two.shape:
        raise ValueError("losses must be paired: one of each model for every day")
    difference = one - two
    return difference[np.isfinite(difference)]


def _refusal(difference: NDArray[np.float64], *, needed: int) -> str:
    return f"{len(difference)} days, {needed} needed" if len(difference) < needed else ""


def _mean(difference: NDArray[np.float64]) -> float | None:
    return float(difference.mean()) if len(difference) else None


def _constant(mean: float, n: int, method: str, alternative: Alternative) -> Comparison:
    """The same difference every day: no noise to test against, so nothing (equal losses) or no answer."""
    if mean == 0.0:
        return Comparison(0.5 if alternative != "two-sided" else 1.0, 0.0, n, mean, method, "the losses are equal on every day")
    return Comparison(None, None, n, mean, method, "the difference is the same on every day: its variance is zero")


def _long_run_variance(difference: NDArray[np.float64], *, lags: int) -> float:
    centered = difference - difference.mean()
    n = len(centered)
    covariance = [float(centered[lag:] @ centered[: n - lag]) / n for lag in range(lags + 1)]
    variance = covariance[0] + 2 * sum(covariance[1:])
    if variance <= 1e-12 * covariance[0]:
        variance = covariance[0] + 2 * sum((1 - lag / (lags + 1)) * value for lag, value in enumerate(covariance[1:], 1))
    return max(variance, 1e-12 * covariance[0])


def _student_p(statistic: float, degrees: int, alternative: Alternative) -> float:
    from scipy.special import stdtr

    if alternative == "two-sided":
        return min(1.0, 2.0 * float(stdtr(degrees, -abs(statistic))))
    return float(stdtr(degrees, statistic if alternative == "less" else -statistic))
