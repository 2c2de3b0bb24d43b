"""CMA-ES as a sampler: a search that adapts a normal distribution to the best points of each generation.

N. Hansen, *The CMA Evolution Strategy: A Tutorial*, arXiv:1604.00772 (2016); the numbers in brackets are its equations. Nothing is kept
between trials: the distribution is replayed from the trials that are finished, so a killed worker's study goes on where it stood and
several workers share one search. Parameters that are no numbers, and the first trials, are drawn at random.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import TrialState

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

Vector = npt.NDArray[np.float64]
GENERATION, POINT = "cma:generation", "cma:point"
_FIRST_SIGMA = 1 / 6
_TRIES = 50


@dataclass
class Evolution:
    """The distribution points are drawn from, in the unit cube."""

    mean: Vector
    sigma: float
    covariance: npt.NDArray[np.float64]
    path_sigma: Vector
    path_covariance: Vector
    generation: int = 0

    @classmethod
    def start(cls, dimensions: int) -> "Evolution":
        """The middle of the cube, reaching its faces at three standard deviations."""
        zero = np.zeros(dimensions)
        return cls(np.full(dimensions, 0.5), _FIRST_SIGMA, np.eye(dimensions), zero.copy(), zero.copy())

    @property
    def population(self) -> int:
        """Points per generation [48]."""
        return 4 + math.floor(3 * math.log(len(self.mean)))

    def ask(self, rng: np.random.Generator) -> Vector:
        """A point [38-40]: drawn anew while it lies outside the cube, at last put onto its faces."""
        values, vectors = np.linalg.eigh(self.covariance)
        scale = np.sqrt(np.maximum(values, 1e-14))
        for _ in range(_TRIES):
            point: Vector = self.mean + self.sigma * (vectors @ (scale * rng.standard_normal(len(self.mean))))
            if np.all((point >= 0) & (point <= 1)):
                return point
        return np.clip(point, 0, 1)

    def tell(self, points: Sequence[Vector]) -> None:
        """Learn from a generation, the best point first."""
        n = len(self.mean)
        ranks = np.arange(1, len(points) // 2 + 1)
        weights = math.log((len(points) + 1) / 2) - np.log(ranks)  # [49], positive ones
        weights /= weights.sum()
        mass = 1 / np.square(weights).sum()  # [8]
        c_sigma = (mass + 2) / (n + mass + 5)  # [55]
        damping = 1 + 2 * max(0.0, math.sqrt((mass - 1) / (n + 1)) - 1) + c_sigma
        c_c = (4 + mass / n) / (n + 4 + 2 * mass / n)  # [56]
        c_1 = 2 / ((n + 1.3) ** 2 + mass)  # [57]
        c_mu = min(1 - c_1, 2 * (0.25 + mass + 1 / mass - 2) / ((n + 2) ** 2 + mass))  # [58]
        steps = (np.array(points[: len(weights)]) - self.mean) / self.sigma
        step = weights @ steps  # [41]
        values, vectors = np.linalg.eigh(self.covariance)
        whitened = vectors @ ((vectors.T @ step) / np.sqrt(np.maximum(values, 1e-14)))
        self.mean = self.mean + self.sigma * step  # [42]
        self.path_sigma = (1 - c_sigma) * self.path_sigma + math.sqrt(c_sigma * (2 - c_sigma) * mass) * whitened  # [43]
        length, expected = float(np.linalg.norm(self.path_sigma)), math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n))
        self.generation += 1
        calm = length / math.sqrt(1 - (1 - c_sigma) ** (2 * self.generation)) < (1.4 + 2 / (n + 1)) * expected
        self.path_covariance = (1 - c_c) * self.path_covariance + calm * math.sqrt(c_c * (2 - c_c) * mass) * step  # [45]
        lost = (1 - calm) * c_c * (2 - c_c)
        outer = (steps.T * weights) @ steps
        self.covariance = (
            (1 - c_1 - c_mu + c_1 * lost) * self.covariance + c_1 * np.outer(self.path_covariance, self.path_covariance) + c_mu * outer
        )  # [47]
        self.sigma = min(self.sigma * math.exp((c_sigma / damping) * (length / expected - 1)), 1.0)  # [44]


class CmaSampler(BaseSampler):
    """CMA-ES over the numeric parameters; everything that is random comes from the seed."""

    def __init__(self, *, seed: int, n_startup_trials: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._random = RandomSampler(seed=seed % 2**32)
        self._startup = n_startup_trials

    def infer_relative_search_space(self, study: "Study", trial: "FrozenTrial") -> dict[str, BaseDistribution]:
        """The numeric parameters of the finished trials, by name."""
        done = [one for one in study.get_trials(deepcopy=False) if one.state == TrialState.COMPLETE]
        if len(done) < self._startup:
            return {}
        numeric = {name: kind for name, kind in done[0].distributions.items() if isinstance(kind, FloatDistribution | IntDistribution)}
        return {name: kind for name, kind in sorted(numeric.items()) if not kind.single()}

    def sample_relative(self, study: "Study", trial: "FrozenTrial", search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        """A point of the current generation."""
        if not search_space:
            return {}
        evolution = replay(study, list(search_space))
        point = evolution.ask(self._rng)
        study._storage.set_trial_system_attr(trial._trial_id, GENERATION, evolution.generation)  # noqa: SLF001 - as Optuna's samplers do
        study._storage.set_trial_system_attr(trial._trial_id, POINT, point.tolist())  # noqa: SLF001
        pairs = zip(search_space.items(), point, strict=True)
        numeric = FloatDistribution | IntDistribution
        return {name: _from_unit(kind, float(value)) for (name, kind), value in pairs if isinstance(kind, numeric)}

    def sample_independent(self, study: "Study", trial: "FrozenTrial", param_name: str, param_distribution: BaseDistribution) -> Any:
        """A random value."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)


def replay(study: "Study", names: Sequence[str]) -> Evolution:
    """The distribution after every full generation of finished trials, those that finished first counting."""
    sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
    generations: dict[int, list[tuple[float, int, Vector]]] = {}
    done = (one for one in study.get_trials(deepcopy=False) if one.state == TrialState.COMPLETE and GENERATION in one.system_attrs)
    evolution = Evolution.start(len(names))
    for one in sorted(done, key=lambda one: (one.datetime_complete is None, one.datetime_complete, one.number)):
        point = np.asarray(one.system_attrs[POINT], dtype=np.float64)
        value = one.value
        if value is not None and len(point) == len(names):
            generations.setdefault(int(one.system_attrs[GENERATION]), []).append((sign * value, one.number, point))
    while len(told := generations.get(evolution.generation, [])) >= evolution.population:
        best = sorted(told[: evolution.population], key=lambda entry: entry[:2])
        evolution.tell([point for _, _, point in best])
    return evolution


def _from_unit(kind: FloatDistribution | IntDistribution, value: float) -> float | int:
    """The parameter at a place between 0 and 1. Whole numbers and steps have equal shares of the way, or of its logarithm."""
    low, high = float(kind.low), float(kind.high)
    if isinstance(kind, IntDistribution) or kind.step is not None:
        half = float(kind.step or 1) / 2
        low, high = low - half, high + half
    found = math.exp(math.log(low) + value * (math.log(high) - math.log(low))) if kind.log else low + value * (high - low)
    if isinstance(kind, IntDistribution) or kind.step is not None:
        step = kind.step or 1
        found = kind.low + step * round((found - kind.low) / step)
    found = min(max(found, kind.low), kind.high)
    return int(found) if isinstance(kind, IntDistribution) else float(found)
