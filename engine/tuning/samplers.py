"""Samplers and pruners by name.

A sampler is made anew for each trial, from the study's seed and the trial's number: what it draws depends on nothing but those and the
trials that are finished. So a study in one worker is reproducible, a killed worker's study goes on as if nothing had happened, and workers
that share a study never draw the same points.
"""

import random
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from engine.tuning.spaces import Space

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

SAMPLERS = ("tpe", "random", "cmaes", "grid")
PRUNERS = ("none", "median", "hyperband")
_STARTUP = 10
_PATIENCE = 5


def seed_of(seed: int, number: int) -> int:
    """The seed of one trial: 32 bits that say nothing about its neighbours'."""
    return int.from_bytes(blake2b(f"{seed}:{number}".encode(), digest_size=4).digest(), "big")


def sampler(
    name: str,
    *,
    seed: int,
    number: int,
    space: Space,
    n_trials: int = 100,
    workers: int = 1,
    queued: int = 0,
    tried: Sequence[Mapping[str, Any]] = (),
) -> "BaseSampler":
    """The sampler of trial `number`. `queued`: trials that were given their parameters beforehand; `tried`: the points of a grid that they
    are, so that no other trial has them."""
    from optuna.samplers import RandomSampler, TPESampler

    own = seed_of(seed, number)
    startup = max(1, min(_STARTUP, n_trials // 3))
    if name == "tpe":
        return TPESampler(seed=own, n_startup_trials=startup, multivariate=True, constant_liar=workers > 1)
    if name == "random":
        return RandomSampler(seed=own)
    if name == "cmaes":
        from engine.tuning.evolution import CmaSampler

        return CmaSampler(seed=own, n_startup_trials=1)
    if name == "grid":
        return grid_sampler(space, seed=seed, index=number - queued, tried=tried)
    raise ValueError(f"There is no sampler {name!r}.")


def grid_sampler(space: Space, *, seed: int, index: int, tried: Sequence[Mapping[str, Any]] = ()) -> "BaseSampler":
    """The sampler that gives one of the grid's points not tried yet, in an order shuffled by the seed, beginning again after the last."""
    from engine.tuning.grid import PointSampler

    points: list[dict[str, Any]] = list(space.grid())
    random.Random(seed).shuffle(points)  # noqa: S311 - an order, no secret
    gone = {key_of(point) for point in tried}
    points = [point for point in points if key_of(point) not in gone] or points
    return PointSampler(points[index % len(points)])


def key_of(point: Mapping[str, Any]) -> tuple[Any, ...]:
    """What tells one point from another; 1 and true are different."""
    return tuple((name, isinstance(value, bool), value) for name, value in sorted(point.items()))


def pruner(name: str, *, rounds: int) -> "BasePruner":
    """The pruner. `rounds`: the most steps a trial can report, which sets warm-up and resources."""
    from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner

    if name == "none":
        return NopPruner()
    if name == "median":
        return MedianPruner(n_startup_trials=_PATIENCE, n_warmup_steps=rounds // 10)
    if name == "hyperband":
        return HyperbandPruner(min_resource=max(1, rounds // 27), max_resource=max(1, rounds), reduction_factor=3)
    raise ValueError(f"There is no pruner {name!r}.")
