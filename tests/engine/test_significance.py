import math

import numpy as np
import pytest
from scipy import stats

from engine.significance import block_bootstrap, diebold_mariano, holm, minimum_detectable_effect

RNG = np.random.default_rng(5)
NOISE = RNG.normal(0.0, 1.0, 90)
OTHER = RNG.normal(0.0, 1.0, 90)


def test_one_step_ahead_is_the_t_test_of_the_differences() -> None:
    found = diebold_mariano(NOISE, OTHER, horizon=1)

    expected = stats.ttest_1samp(NOISE - OTHER, 0.0)
    # With h = 1 the correction makes the variance estimate the unbiased one.
    assert found.statistic == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue)


def test_correction_follows_harvey_leybourne_newbold() -> None:
    difference, n, h = NOISE - OTHER, 90, 3
    centered = difference - difference.mean()
    covariance = [centered[lag:] @ centered[: n - lag] / n for lag in range(h)]
    plain = difference.mean() / math.sqrt((covariance[0] + 2 * sum(covariance[1:])) / n)

    found = diebold_mariano(NOISE, OTHER, horizon=h)

    assert found.statistic == pytest.approx(plain * math.sqrt((n + 1 - 2 * h + h * (h - 1) / n) / n))


@pytest.mark.parametrize("test", [diebold_mariano, block_bootstrap])
def test_a_clearly_better_model_is_found(test: object) -> None:
    found = test(NOISE + 1.0, NOISE * 0.9 + 2.0, alternative="less")  # type: ignore[operator]

    assert found.mean_difference < 0
    assert found.p_value < 0.01
    assert test(NOISE + 1.0, NOISE * 0.9 + 2.0, alternative="greater").p_value > 0.9  # type: ignore[operator]


@pytest.mark.parametrize("test", [diebold_mariano, block_bootstrap])
def test_false_alarms_stay_near_the_level(test: object) -> None:
    rng = np.random.default_rng(1)
    options = {} if test is diebold_mariano else {"draws": 199}
    alarms = [test(*rng.normal(0, 1, (2, 90)), **options).p_value < 0.05 for _ in range(300)]  # type: ignore[operator]

    assert 0.01 <= np.mean(alarms) <= 0.12


@pytest.mark.parametrize("test", [diebold_mariano, block_bootstrap])
def test_too_few_days_give_no_p_value_and_a_reason(test: object) -> None:
    found = test([1.0] * 13, [2.0, 3.0] * 6 + [1.0])  # type: ignore[operator]

    assert found.p_value is None
    assert found.n == 13
    assert "14 needed" in found.reason


def test_equal_losses_are_no_difference() -> None:
    assert diebold_mariano(NOISE, NOISE).p_value == 1.0
    assert diebold_mariano(NOISE, NOISE, alternative="less").p_value == 0.5


def test_a_difference_without_variance_has_no_test() -> None:
    found = diebold_mariano([2.0] * 30, [1.0] * 30)

    assert found.p_value is None
    assert "variance is zero" in found.reason


def test_unknown_days_are_left_out_in_pairs() -> None:
    first, second = NOISE.copy(), OTHER.copy()
    first[3], second[7] = np.nan, np.inf

    assert diebold_mariano(first, second).n == 88


def test_unpaired_losses_are_refused() -> None:
    with pytest.raises(ValueError, match="paired"):
        diebold_mariano([1.0], [1.0, 2.0])


def test_bootstrap_repeats_itself() -> None:
    assert block_bootstrap(NOISE, OTHER, draws=99) == block_bootstrap(NOISE, OTHER, draws=99)


def test_holm_adjusts_step_by_step() -> None:
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])


@pytest.mark.parametrize(("horizon", "days"), [(1, 28), (7, 182)])
def test_the_detectable_effect_is_found_about_as_often_as_its_power_says(horizon: int, days: int) -> None:
    rng = np.random.default_rng(11)
    weights = np.full(horizon, 1 / math.sqrt(horizon))  # errors of overlapping horizons hang together this long

    def noise(n: int) -> np.ndarray:
        return np.convolve(rng.normal(0.0, 1.0, n + horizon - 1), weights, mode="valid")

    effect = minimum_detectable_effect(noise(4000), days=days, horizon=horizon)
    assert effect is not None
    found = [diebold_mariano(noise(days) + effect, np.zeros(days), horizon=horizon).p_value < 0.05 for _ in range(400)]  # type: ignore[operator]

    assert 0.72 <= np.mean(found) <= 0.92


def test_with_one_step_the_detectable_effect_is_the_textbooks() -> None:
    difference = NOISE - OTHER
    quantiles = stats.t.ppf(0.975, 59) + stats.t.ppf(0.8, 59)

    effect = minimum_detectable_effect(difference, days=60, horizon=1)

    assert effect == pytest.approx(quantiles * difference.std() / math.sqrt(59))


def test_the_detectable_effect_shrinks_with_days_and_grows_with_power() -> None:
    effects = [minimum_detectable_effect(NOISE, days=days, power=power) for days, power in ((91, 0.8), (28, 0.8), (28, 0.95))]

    assert effects == sorted(effects)  # type: ignore[type-var]


@pytest.mark.parametrize(("pilot", "days"), [(NOISE[:13], 28), (NOISE, 13), (np.ones(90), 28), ([math.nan] * 90, 28), ([], 28)])
def test_no_effect_is_promised_without_noise_to_judge_by(pilot: object, days: int) -> None:
    assert minimum_detectable_effect(pilot, days=days) is None  # type: ignore[arg-type]
