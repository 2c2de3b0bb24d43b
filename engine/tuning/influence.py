"""Which searched parameters decide over the value: PED-ANOVA, small enough to run where a page is made.

Watanabe, Bansal & Hutter, "PED-ANOVA: efficiently quantifying hyperparameter importance in arbitrary subspaces" (IJCAI 2023): a parameter
matters as far as its distribution among the best trials differs from that among all, by the Pearson divergence. Densities are histograms
of Gaussian kernels with Scott's bandwidth on a grid; choices are counted. Optuna's evaluator of the name does the same with NumPy.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from engine.tuning.spaces import Choice, Range, Space

STEPS = 40
FEWEST = 8
"""Fewer complete trials say nothing: the best quarter would be one trial."""
MOST = 400
"""More trials than this are thinned evenly by rank, so that a page never takes long."""
BEST = 0.25
_PRIOR = 1.0


def influence(trials: Sequence[tuple[float, Mapping[str, Any]]], *, space: Space, maximize: bool) -> list[tuple[str, float]]:
    """Shares that add up to 1, largest first, from complete trials (value, parameters); empty for fewer than FEWEST of them."""
    finite = [(value, params) for value, params in trials if math.isfinite(value)]
    if len(finite) < FEWEST or not space.searched:
        return []
    ranked = [params for _, params in sorted(finite, key=lambda one: one[0], reverse=maximize)]
    if len(ranked) > MOST:
        ranked = [ranked[place * len(ranked) // MOST] for place in range(MOST)]
    best = ranked[: max(2, round(BEST * len(ranked)))]
    found = {name: _divergence(best, ranked, name, one) for name, one in space.searched.items()}
    total = sum(found.values())
    if total <= 0:
        return []
    return sorted(((name, value / total) for name, value in found.items()), key=lambda one: -one[1])


def _divergence(best: Sequence[Mapping[str, Any]], every: Sequence[Mapping[str, Any]], name: str, searched: Range | Choice) -> float:
    top, local = (_density([one[name] for one in many if name in one], searched) for many in (best, every))
    return sum(below * (above / below - 1) ** 2 for above, below in zip(top, local, strict=True))


def _density(values: Sequence[Any], searched: Range | Choice) -> list[float]:
    if isinstance(searched, Choice):
        counts = [_PRIOR / len(searched.choices) + sum(value == one for value in values) for one in searched.choices]
        return [count / sum(counts) for count in counts]
    return _smoothed([_place(float(value), searched) for value in values])


def _place(value: float, searched: Range) -> float:
    """Where the value lies between its bounds, from 0 to 1."""
    low, high, value = (math.log(one) if searched.log else one for one in (searched.low, searched.high, value))
    return min(max((value - low) / (high - low), 0.0), 1.0) if high > low else 0.5


def _smoothed(places: Sequence[float]) -> list[float]:
    """Shares of STEPS cells: a Gaussian on each place, cut off at the bounds, and a flat prior that weighs as much as one of them."""
    count = max(len(places), 1)
    mean = sum(places) / count
    spread = math.sqrt(sum((one - mean) ** 2 for one in places) / max(count - 1, 1))
    width = max(1.059 * spread * count**-0.2, 0.5 / STEPS) * math.sqrt(2)
    edges = [step / STEPS for step in range(STEPS + 1)]
    cells = [_PRIOR / STEPS] * STEPS
    for place in places:
        heights = [math.erf((edge - place) / width) for edge in edges]
        inside = heights[-1] - heights[0]
        for step in range(STEPS):
            cells[step] += (heights[step + 1] - heights[step]) / inside
    total = sum(cells)
    return [cell / total for cell in cells]
