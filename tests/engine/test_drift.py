from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from engine.drift import DriftRule, model_drift

FIRST = date(2024, 1, 1)
REFERENCE = (FIRST, FIRST + timedelta(days=89))
AS_OF = FIRST + timedelta(days=119)


def make_errors(*, worse: float = 1.0, since: int = 100, segments: int = 6, seed: int = 0, demand: float = 1.0) -> pl.DataFrame:
    """120 days of sums for six stores of 30 rows a day; the error of store S0 is `worse` times as large from day `since` on."""
    rng = np.random.default_rng(seed)
    rows = []
    for store in range(segments):
        for day in range(120):
            late = store == 0 and day >= since
            error = 30 * 2.0 * np.exp(rng.normal(0, 0.15)) * (worse if late else 1.0)
            actual = 30 * 5.0 * (demand if late else 1.0)
            rows.append(
                (
                    FIRST + timedelta(days=day),
                    "store_id",
                    f"S{store}",
                    30,
                    error,
                    actual,
                    actual - error * (0.2 if late and demand == 1 else 0.0),
                )
            )
    return pl.DataFrame(rows, schema=["date", "column", "value", "n", "sum_abs_error", "sum_actual", "sum_forecast"], orient="row")


def test_a_store_with_a_lasting_rise_is_named() -> None:
    verdict = model_drift(make_errors(worse=1.4), as_of=AS_OF, reference=REFERENCE)

    assert verdict.drifted
    assert [(found.column, found.value) for found in verdict.named] == [("store_id", "S0")]
    worst = verdict.segments[0]
    assert worst.mae_change_pct == pytest.approx(40, abs=15)
    assert worst.severity == "high"
    assert worst.p_adjusted is not None
    assert worst.p_adjusted < 0.01
    assert (worst.n_recent, worst.recent_days, worst.reference_days) == (210, 7, 90)
    assert 0.5 < verdict.score <= 1


def test_nothing_is_named_while_errors_stay_as_they_were() -> None:
    verdict = model_drift(make_errors(), as_of=AS_OF, reference=REFERENCE)

    assert not verdict.drifted
    assert verdict.named == ()
    assert verdict.severity == "low"
    assert verdict.fired_days == 0
    assert verdict.replayed_days == 23


def test_a_significant_but_small_rise_is_not_drift() -> None:
    verdict = model_drift(make_errors(worse=1.12, seed=3), as_of=AS_OF, reference=REFERENCE, rule=DriftRule(alpha=0.5))

    assert not verdict.drifted


def test_earlier_days_are_replayed() -> None:
    verdict = model_drift(make_errors(worse=1.6, since=100), as_of=AS_OF, reference=REFERENCE)

    # The window ending on day 100 + k holds k + 1 worse days; by day 106 all seven are.
    assert 10 <= verdict.segments[0].fired_days <= 19
    assert verdict.fired_days == verdict.segments[0].fired_days


def test_false_alarms_stay_below_the_stated_rate() -> None:
    fired = [
        model_drift(make_errors(seed=seed), as_of=AS_OF, reference=REFERENCE, rule=DriftRule(replay_days=0)).drifted for seed in range(100)
    ]

    assert np.mean(fired) <= 0.04


def test_error_that_only_grew_with_demand_is_at_most_medium() -> None:
    verdict = model_drift(make_errors(worse=1.8, demand=2.0), as_of=AS_OF, reference=REFERENCE)

    worst = verdict.segments[0]
    assert worst.drifted
    assert worst.severity == "medium"
    assert "grew with demand" in worst.reason
    assert worst.demand_change_pct == pytest.approx(100)


def test_a_short_reference_gives_no_verdict_but_says_so() -> None:
    verdict = model_drift(make_errors(worse=3.0), as_of=AS_OF, reference=(FIRST, FIRST + timedelta(days=20)))

    assert not verdict.drifted
    assert {found.p_value for found in verdict.segments} == {None}
    assert "reference weeks" in verdict.segments[0].reason


def test_overall_is_added_up_from_the_segments() -> None:
    verdict = model_drift(make_errors(), as_of=AS_OF, reference=REFERENCE)

    overall = next(found for found in verdict.segments if found.column == "overall")
    assert overall.n_recent == 6 * 210


def test_zero_errors_are_defined() -> None:
    silent = make_errors().with_columns(sum_abs_error=pl.lit(0.0), sum_actual=pl.lit(0.0), sum_forecast=pl.lit(0.0))

    verdict = model_drift(silent, as_of=AS_OF, reference=REFERENCE)

    assert not verdict.drifted
    assert verdict.score == 0.0
    assert verdict.segments[0].wape_recent is None


def test_recent_days_must_follow_the_reference() -> None:
    with pytest.raises(ValueError, match="reference period must end"):
        model_drift(make_errors(), as_of=REFERENCE[1], reference=REFERENCE)
