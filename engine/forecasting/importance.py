"""Which features a forecaster goes by, in the shape of `engine.tabular.asking.ask`."""

from typing import Any

from engine.forecasting.forecaster import LightGBMForecaster
from engine.forecasting.naive import SeasonalNaiveForecaster

BY_GAIN = (
    "Shares of the gain of all splits in training. They tell of the trees of the mean alone, not of what is blended in or corrected after."
)
BY_SEASON = "It repeats the last known value of the season before and goes by no features."


def told(forecaster: LightGBMForecaster | SeasonalNaiveForecaster) -> dict[str, Any]:
    """`method`, `importances` (shares that add up to 1, largest first; none of a seasonal naive), `explanations` (none) and `notes`."""
    shares = forecaster.importance() if isinstance(forecaster, LightGBMForecaster) else {}
    return {
        "method": "native",
        "importances": [{"feature": name, "importance": share} for name, share in shares.items()],
        "explanations": [],
        "notes": [BY_GAIN if shares else BY_SEASON],
    }
