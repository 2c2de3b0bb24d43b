from datetime import date

import numpy as np
import pytest

from engine.forecasting.blend import Blend, Tail, correction, learn_blend, recent_correction

RNG = np.random.default_rng(2)


def test_slow_movers_follow_the_quantile_and_never_wholly() -> None:
    level = np.repeat([0.1, 20.0], 2000)
    actual = RNG.poisson(level).astype(float)
    # The quantile is right for slow movers and nothing but noise for fast ones.
    typical = np.where(level < 1, 0.0, RNG.poisson(level))

    blend = learn_blend(level + RNG.normal(0, 1e-6, len(level)), typical, actual)

    slow, fast = blend.apply(np.array([0.1, 20.0]), np.array([0.0, 10.0]))
    assert slow == pytest.approx(0.025)
    assert fast == pytest.approx(20.0)


@pytest.mark.parametrize(
    ("actual", "forecast", "factor"), [(110.0, 100.0, 1.1), (300.0, 100.0, 1.15), (10.0, 100.0, 0.85), (5.0, 0.0, 1.0), (0.0, 0.0, 1.0)]
)
def test_correction_stays_within_bounds(actual: float, forecast: float, factor: float) -> None:
    assert correction(actual, forecast) == pytest.approx(factor)


def test_correction_looks_at_the_last_four_weeks_before_the_origin() -> None:
    origin = date(2024, 3, 1).toordinal()
    tail = Tail((origin - 28, origin - 27, origin, origin + 1), (900.0, 10.0, 12.0, 900.0), (100.0, 10.0, 10.0, 100.0))

    assert recent_correction(tail, origin=origin) == pytest.approx(22 / 20)


def test_a_blend_needs_a_weight_per_band() -> None:
    with pytest.raises(ValueError, match="one weight"):
        Blend.from_json({"edges": [1.0], "weights": [0.5]})
