from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.forecasting.features import FeatureSet, build_matrix, forecast_rows, learn_schema, training_rows
from engine.forecasting.grid import build_grid, targets_at
from engine.frames.panel import Panel
from tests.engine.panels import FIRST, make_panel, weekly_demand

FULL = FeatureSet(warmup=7)
PLAIN = FeatureSet(kind="plain", horizon=7, lags=(7, 14), windows=(7,), calendar=("weekday",), warmup=14)


def features_of(panel: Panel, features: FeatureSet, *, origin: int, horizon: int = 7) -> dict[str, np.ndarray]:
    grid = build_grid(panel, first=FIRST, last=FIRST + timedelta(days=origin + horizon))
    schema = learn_schema(panel, grid, features)
    matrix = build_matrix(panel, grid, features, schema, forecast_rows(grid, origins=[origin], horizon=horizon))
    return {name: matrix[:, index] for index, name in enumerate(schema.names)}


def test_values_are_taken_where_they_should_be() -> None:
    values = [float(day) for day in range(60)]
    panel = make_panel([values])

    found = features_of(panel, FULL, origin=40)

    np.testing.assert_allclose(found["step"], np.arange(1, 8))
    np.testing.assert_allclose(found["last"], 40)
    np.testing.assert_allclose(found["mean_7"], np.mean(values[34:41]))
    np.testing.assert_allclose(found["season_lag_0"], np.arange(34, 41))
    np.testing.assert_allclose(found["season_lag_7"], np.arange(27, 34))
    np.testing.assert_allclose(found["weekday_4"], [np.mean([day, day - 7, day - 14, day - 21]) for day in range(34, 41)])
    np.testing.assert_allclose(found["weekday"], [(FIRST + timedelta(days=day)).weekday() for day in range(41, 48)])
    np.testing.assert_allclose(found["age"], 40)


def test_steps_beyond_a_week_use_the_latest_known_same_weekday() -> None:
    panel = make_panel([[float(day) for day in range(60)]])

    found = features_of(panel, FeatureSet(horizon=14, warmup=7), origin=40, horizon=14)

    np.testing.assert_allclose(found["season_lag_0"], [*range(34, 41), *range(34, 41)])


def test_plain_features_are_lags_and_means_before_the_horizon() -> None:
    panel = make_panel([[float(day) for day in range(60)]])

    found = features_of(panel, PLAIN, origin=40)

    assert list(found) == ["lag_7", "lag_14", "mean_7", "weekday"]
    np.testing.assert_allclose(found["lag_14"], np.arange(27, 34))
    np.testing.assert_allclose(found["mean_7"], np.arange(31, 38))


def test_unknown_days_are_left_out_of_means() -> None:
    panel = make_panel([[2.0] * 20 + [None] * 3 + [8.0] * 4])

    assert features_of(panel, FULL, origin=26)["mean_7"][0] == pytest.approx(8.0)
    assert features_of(panel, FULL, origin=26)["mean_14"][0] == pytest.approx((7 * 2 + 4 * 8) / 11)


def test_hierarchy_is_the_mean_of_the_known_members() -> None:
    panel = make_panel([[1.0] * 30, [5.0] * 30, [3.0] * 30, [None] * 30])

    found = features_of(panel, FULL, origin=29)

    per_series = found["store_id_mean_7"].reshape(4, 7)[:, 0]
    np.testing.assert_allclose(per_series, [2.0, 5.0, 2.0, 5.0])
    np.testing.assert_allclose(found["all_mean_7"], 3.0)


def test_price_of_the_day_ahead_is_known_and_lasts_after_the_panel() -> None:
    prices = [[1.0] * 30 + [2.0] * 5]
    panel = make_panel([[1.0] * 35], price=prices)

    assert list(features_of(panel, FULL, origin=27)["price"]) == [1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    assert set(features_of(panel, FULL, origin=34)["price"]) == {2.0}


def test_training_uses_each_known_day_once_after_the_warm_up() -> None:
    panel = make_panel([[1.0] * 50, [2.0] * 19 + [None]])
    grid = build_grid(panel)

    rows = training_rows(grid, FULL)

    assert list(rows.day[rows.series == 0]) == list(range(7, 50))
    assert list(rows.day[rows.series == 1]) == list(range(37, 49))
    assert set(rows.step) == set(range(1, 8))


def test_series_that_begin_after_the_origin_are_not_forecast() -> None:
    panel = make_panel([[1.0] * 50, [2.0] * 10])

    assert set(forecast_rows(build_grid(panel), origins=[30], horizon=7).series) == {0}


def test_a_panel_with_recent_history_only_gives_the_same_features() -> None:
    panel = make_panel(weekly_demand(series=4, days=700))
    recent = Panel(
        panel.frame.filter(pl.col("date") >= FIRST + timedelta(days=690 - FULL.lookback)), panel.series, panel.keys, panel.segments, ()
    )
    grids = [build_grid(some, last=FIRST + timedelta(days=699)) for some in (panel, recent)]
    schema = learn_schema(panel, grids[0], FULL)

    whole, part = (
        build_matrix(some, grid, FULL, schema, forecast_rows(grid, origins=[grid.index(FIRST + timedelta(days=690))], horizon=7))
        for some, grid in zip((panel, recent), grids, strict=True)
    )

    np.testing.assert_array_equal(whole, part)


def test_a_series_that_misses_a_day_is_refused() -> None:
    panel = make_panel([[1.0] * 20])
    holed = Panel(panel.frame.filter(pl.col("date") != FIRST + timedelta(days=5)), panel.series, panel.keys, panel.segments, ())

    with pytest.raises(ValueError, match="one row per calendar day"):
        build_grid(holed)


def test_targets_straight_from_the_rows_are_those_of_a_grid() -> None:
    panel = make_panel([[0.1, None, 3.3, 4.0, 5.0], [7.7, 8.8]], closed=[2])
    grid = build_grid(panel, last=FIRST + timedelta(days=6))
    series, column = (part.ravel() for part in np.meshgrid(grid.series, np.arange(grid.days), indexing="ij"))
    first = (FIRST - date(1970, 1, 1)).days

    found = targets_at(panel, series, (first + column).astype(np.int32))

    np.testing.assert_array_equal(found, grid.target.astype(np.float64).ravel())
    assert np.isnan(targets_at(panel, series, np.full(len(series), first - 1, dtype=np.int32))).all()


def test_lags_shorter_than_the_horizon_are_refused() -> None:
    with pytest.raises(ValueError, match="past the origin"):
        FeatureSet(kind="plain", horizon=7, lags=(6,))


demand = st.one_of(st.none(), st.integers(0, 50).map(float))
histories = st.lists(st.lists(demand, min_size=45, max_size=45), min_size=2, max_size=3)


@settings(max_examples=40, deadline=None)
@given(histories, st.integers(20, 40), st.lists(demand, min_size=45, max_size=45), st.sampled_from([FULL, PLAIN]))
def test_changing_the_future_changes_no_feature(
    history: list[list[float | None]], origin: int, future: list[float | None], features: FeatureSet
) -> None:
    changed = [[*values[: origin + 1], *future[origin + 1 :]] for values in history]
    history[0][10] = changed[0][10] = 1.0  # so that neither panel is wholly unknown

    past, other = make_panel(history), make_panel(changed)
    schema = learn_schema(past, build_grid(past), features)
    matrices = []
    for panel in (past, other):
        grid = build_grid(panel, last=FIRST + timedelta(days=50))
        learnt = training_rows(grid, features)
        learnt = learnt.pick(learnt.day <= origin)
        ahead = forecast_rows(grid, origins=list(range(15, origin + 1)), horizon=7)
        matrices.append((build_matrix(panel, grid, features, schema, learnt), build_matrix(panel, grid, features, schema, ahead)))

    np.testing.assert_array_equal(matrices[0][0], matrices[1][0])
    np.testing.assert_array_equal(matrices[0][1], matrices[1][1])
