"""What a forecaster learns from days held out of training: the blend of its boosters, its recent bias, its intervals."""

from dataclasses import dataclass

import numpy as np

from engine.forecasting.blend import Blend, Tail, daily_totals, learn_blend, recent_correction
from engine.forecasting.boosting import load_booster, score
from engine.forecasting.features import Rows
from engine.forecasting.forecaster import LightGBMForecaster
from engine.forecasting.grid import Floats, Grid
from engine.forecasting.intervals import Intervals, calibrate, error_scale, recent_level


@dataclass(frozen=True)
class Calibration:
    blend: Blend
    tail: Tail | None
    intervals: Intervals | None


def learn_calibration(twin: LightGBMForecaster, grid: Grid, rows: Rows, matrix: Floats, *, nominal: float) -> Calibration:
    """Learn from the twin's forecasts of `rows`, whose actuals are known and none of which it was trained on.

    Blend and correction are applied before the residuals are taken, so that intervals are those of the final forecast.
    """
    if not len(rows):
        return Calibration(Blend(), None, None)
    actual = grid.target[rows.series, rows.day].astype(np.float64)
    mean = score(load_booster(twin.mean_model), matrix)
    blend, blended = Blend(), mean
    if twin.typical_model is not None:
        typical = score(load_booster(twin.typical_model), matrix)
        blend = learn_blend(mean, typical, actual)
        blended = blend.apply(mean, typical)
    first_ordinal = grid.first.toordinal()
    tail = daily_totals(rows, actual, blended, first_ordinal=first_ordinal)
    origin = rows.day - rows.step
    factors = {int(moment): recent_correction(tail, origin=int(moment) + first_ordinal) for moment in np.unique(origin)}
    corrected = blended * np.asarray([factors[int(moment)] for moment in origin])
    _, deviation = recent_level(grid, rows)
    intervals = calibrate(actual - corrected, corrected, mean, error_scale(mean, deviation), nominal=nominal)
    return Calibration(blend, tail, intervals)
