"""Moments of numbers of any size are what exact arithmetic says."""

from fractions import Fraction
from statistics import mean, pvariance

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.moments import Moments, quantiles

MOST = 1.7976931348623157e308
SIZES = [1.0, 1e150, 2.0**479, MOST]


def numbers(size: float) -> st.SearchStrategy[list[float]]:
    return st.lists(st.floats(-size, size), min_size=1, max_size=12)


@given(st.sampled_from(SIZES).flatmap(lambda size: st.tuples(st.just(size), numbers(size), numbers(size))))
def test_moments_are_those_of_exact_arithmetic_in_one_go_or_two(given_numbers: tuple[float, list[float], list[float]]) -> None:
    size, first, second = given_numbers
    both = [Fraction(value) / Fraction(size) for value in [*first, *second]]

    at_once = Moments.of(np.array([*first, *second]))
    merged = Moments.of(np.array(first)) + Moments.of(np.array(second))

    exact = pytest.approx((float(mean(both)), float(pvariance(both)) ** 0.5), abs=1e-7)
    assert (at_once.mean / size, at_once.spread / size) == exact
    assert (merged.count, (merged.mean / size, merged.spread / size)) == (len(both), exact)


def test_a_small_spread_beside_a_large_mean_survives_merging() -> None:
    parts = [Moments.of(np.array([1e15 + start, 1e15 + start + 1])) for start in (0, 2, 4)]

    merged = sum(parts, Moments())

    assert (merged.mean, merged.deviation) == (1e15 + 2.5, pytest.approx(3.5**0.5))


def test_a_deviation_that_no_float_holds_is_none() -> None:
    assert Moments.of(np.array([MOST, -MOST])).deviation is None
    assert Moments.of(np.array([MOST] * 3)) == Moments(3, MOST, 0.0)


def test_between_the_largest_numbers_lie_all_others() -> None:
    assert quantiles(np.array([MOST, -MOST]), (0.0, 0.25, 0.5, 1.0)) == [-MOST, -MOST / 2, 0.0, MOST]
