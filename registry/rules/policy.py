"""The promotion policy of a model: what a challenger has to show."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from registry.rules.settings import SettingError, number_problem


class PolicyError(SettingError):
    """A policy that cannot be used."""


@dataclass(frozen=True)
class Policy:
    """Every setting has the documented default. Tolerances say how much worse than the champion still passes."""

    primary_metric: str = "mae"
    min_improvement_pct: float = 5.0
    """Least improvement of the primary metric, percent of the champion's value."""
    accuracy_tolerance_pct: float = 2.0
    """MAPE, WAPE, MASE and RMSSE may be worse by this many percent."""
    min_value_over_naive_pct: float = 0.0
    """Least improvement over the seasonal naive forecast of the same days by MAE, percent of the naive's; of the candidate alone."""
    bias_tolerance_pp: float = 1.0
    """|bias| may be larger by this many percentage points of the actual sum."""
    coverage_tolerance_pp: float = 0.0
    """The intervals' shortfall from their nominal coverage may be larger by this many percentage points."""
    nominal_coverage_pct: float = 90.0
    stock_tolerance_pp: float = 0.5
    """Stock-out miss rate and overstock rate may be higher by this many percentage points."""
    segment_tolerance_pct: float = 2.0
    """No segment's MAE may be worse by more than this many percent."""
    stability_tolerance_pct: float = 5.0
    """The MAE of the worst origin may be worse by this many percent."""
    max_p_value: float = 0.05
    auto_promote: bool = True
    enforce_gates: bool = False
    """Whether a manual promotion past a failed gate needs `override` and a reason."""
    four_eyes: bool = False
    backtest_days: int = 90
    horizon: int = 7
    backtest_retrain_days: int = 0
    """Inside a backtest the recipe is fitted again every so many days; 0 fits it once, at the start of the window."""

    def to_json(self) -> dict[str, Any]:
        """All settings."""
        return asdict(self)


RANGES: dict[str, tuple[float, float]] = {
    "min_improvement_pct": (0.0, 100.0),
    "accuracy_tolerance_pct": (0.0, 100.0),
    "min_value_over_naive_pct": (-100.0, 100.0),
    "bias_tolerance_pp": (0.0, 100.0),
    "coverage_tolerance_pp": (0.0, 100.0),
    "nominal_coverage_pct": (50.0, 99.9),
    "stock_tolerance_pp": (0.0, 100.0),
    "segment_tolerance_pct": (0.0, 1000.0),
    "stability_tolerance_pct": (0.0, 1000.0),
    "max_p_value": (0.000001, 1.0),
    "backtest_days": (14, 730),
    "horizon": (1, 60),
    "backtest_retrain_days": (0, 365),
}
Looser = Literal["higher", "lower", "on", "off", "other"]
LOOSER: dict[str, Looser] = {
    "primary_metric": "other",
    "min_improvement_pct": "lower",
    "accuracy_tolerance_pct": "higher",
    "min_value_over_naive_pct": "lower",
    "bias_tolerance_pp": "higher",
    "coverage_tolerance_pp": "higher",
    "nominal_coverage_pct": "lower",
    "stock_tolerance_pp": "higher",
    "segment_tolerance_pct": "higher",
    "stability_tolerance_pct": "higher",
    "max_p_value": "higher",
    "auto_promote": "on",
    "enforce_gates": "off",
    "four_eyes": "off",
    "backtest_days": "lower",
    "horizon": "other",
    "backtest_retrain_days": "other",
}
"""Which way a setting asks for less. Of some, another value compares on other ground: nobody can call that stricter, so it is not."""
PRIMARY_METRICS = ("mae", "rmse", "wape", "mase", "rmsse")


def parse(values: Mapping[str, Any]) -> Policy:
    """The policy with these settings over the defaults. Raises PolicyError naming the setting that is unknown or out of range."""
    known = {field.name: field.type for field in fields(Policy)}
    for name, value in values.items():
        if name not in known:
            raise PolicyError(name, f"Unknown setting. Known: {', '.join(known)}.")
        _check(name, value)
    return Policy(**values)


def _check(name: str, value: Any) -> None:
    default = getattr(Policy, name)
    if name == "primary_metric":
        if value not in PRIMARY_METRICS:
            raise PolicyError(name, f"Must be one of: {', '.join(PRIMARY_METRICS)}.")
    elif isinstance(default, bool):
        if not isinstance(value, bool):
            raise PolicyError(name, "Must be true or false.")
    else:
        low, high = RANGES[name]
        if problem := number_problem(value, low=low, high=high, whole=isinstance(default, int)):
            raise PolicyError(name, problem)


def loosened(before: Policy, after: Policy) -> list[str]:
    """Settings by which a version passes `after` that would not pass `before`, or passes with fewer eyes; in the policy's order."""
    return [name for name in LOOSER if _looser(name, getattr(before, name), getattr(after, name))]


def _looser(name: str, before: Any, after: Any) -> bool:
    match LOOSER[name]:
        case "higher":
            return bool(after > before)
        case "lower":
            return bool(after < before)
        case "on":
            return bool(after and not before)
        case "off":
            return bool(before and not after)
    return bool(before != after)
