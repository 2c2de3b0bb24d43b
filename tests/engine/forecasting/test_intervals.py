import numpy as np
import pytest

from engine.forecasting.intervals import Intervals, calibrate, error_scale

RNG = np.random.default_rng(3)


def draw(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Level, scale and demand of days whose mean is the level."""
    level = np.exp(RNG.normal(0.5, 1.2, size))
    return level, error_scale(level, np.sqrt(level)), RNG.poisson(level).astype(float)


def test_coverage_on_new_days_is_at_least_nominal_at_every_level() -> None:
    level, scale, demand = draw(8000)
    intervals = calibrate(demand - level, level, level, scale, nominal=0.9)
    assert intervals is not None

    level, scale, demand = draw(8000)
    low, high = intervals.bounds(level, level, scale)

    inside = (demand >= low) & (demand <= high)
    assert 0.9 <= inside.mean() <= 0.96
    for part in np.array_split(np.argsort(level), 4):
        assert inside[part].mean() >= 0.87


def test_intervals_widen_with_the_scale_and_hold_the_forecast() -> None:
    level, scale, demand = draw(2000)
    intervals = calibrate(demand - level, level, level, scale, nominal=0.8)
    assert intervals is not None

    low, high = intervals.bounds(np.array([5.0, 5.0]), np.array([5.0, 5.0]), np.array([1.0, 3.0]))

    assert high[1] - low[1] > high[0] - low[0]
    assert (low <= 5.0).all()
    assert (low >= 0.0).all()
    assert (high >= 5.0).all()


def test_too_few_residuals_give_no_intervals() -> None:
    few = np.ones(19)

    assert calibrate(few, few, few, few) is None


def test_a_band_that_repeated_levels_leave_empty_takes_the_bounds_of_all() -> None:
    level = np.repeat([1.0, 4.0], [400, 1600])
    residual = RNG.normal(0.0, 2.0, 2000)
    one = np.ones(2000)

    intervals = calibrate(residual, level, level, one)

    pooled = calibrate(residual, level, np.ones(2000), one)
    assert intervals is not None
    assert pooled is not None
    assert intervals.edges == (1.0, 4.0)
    assert (intervals.lower[-1], intervals.upper[-1]) == (pooled.lower[-1], pooled.upper[-1])


@pytest.mark.parametrize("change", [{"edges": [2.0, 1.0]}, {"lower": [0.0]}, {"nominal": 1.5}, {"upper": [1.0, float("inf"), 2.0]}])
def test_impossible_intervals_are_refused(change: dict[str, object]) -> None:
    value = {"nominal": 0.9, "edges": [1.0, 2.0], "lower": [-1.0, -1.0, -1.0], "upper": [1.0, 1.0, 1.0]}
    Intervals.from_json(value)

    with pytest.raises(ValueError, match="intervals need"):
        Intervals.from_json({**value, **change})
