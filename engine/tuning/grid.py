"""A sampler that gives one point, for the trials of a grid."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial


class PointSampler(BaseSampler):
    """Each parameter has the point's value."""

    def __init__(self, point: Mapping[str, Any]) -> None:
        self._point = dict(point)

    def infer_relative_search_space(self, study: "Study", trial: "FrozenTrial") -> dict[str, BaseDistribution]:
        """Nothing is drawn together."""
        return {}

    def sample_relative(self, study: "Study", trial: "FrozenTrial", search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        """Nothing is drawn together."""
        return {}

    def sample_independent(self, study: "Study", trial: "FrozenTrial", param_name: str, param_distribution: BaseDistribution) -> Any:
        """The point's value."""
        return self._point[param_name]
