"""The numbers behind a study's charts, as the browser's script wants them."""

import math
from typing import Any
from uuid import UUID

from engine.tuning.influence import FEWEST, influence
from engine.tuning.spaces import Choice, Range, Space
from experiments.models import Study, Trial
from experiments.screens import metric_words
from experiments.services.study_settings import space_of_study
from experiments.states import TrialState
from mlops.errors import InvalidField

SHOWN_BEST, SHOWN_LATEST = 150, 150
"""Trials whose parameters are drawn. All trials stand in the history, whatever their number."""
_FIELDS = ("number", "state", "value", "params")
_KEPT = 64
_known: dict[tuple[UUID, int], list[tuple[str, float]]] = {}


def drawn(study: Study) -> dict[str, Any]:
    """Everything the four charts of a study are made of. One query."""
    space = _space(study)
    names = sorted(space.searched)  # a database may keep the keys of an object in an order of its own
    rows = list(Trial.objects.filter(study=study).order_by("number").values_list(*_FIELDS))
    trials = [(number, state, _finite(value), params) for number, state, value, params in rows]
    chosen = _chosen(trials, maximize=study.direction == Study.Direction.MAXIMIZE)
    return {
        "metric": metric_words.label(study),
        "unit": metric_words.unit(study),
        "direction": study.direction,
        "total": max(study.n_trials, len(trials)),
        "params": [_axis(name, space.searched[name]) for name in names],
        "trials": [
            {"number": number, "state": state, "value": value, "params": [params.get(name) for name in names] if number in chosen else None}
            for number, state, value, params in trials
            if state != TrialState.WAITING
        ],
        "cut": len(chosen) < len([one for one in trials if one[2] is not None]),
        "importances": [{"name": name, "share": share} for name, share in _influence(study, space, trials)],
        "importances_missing": f"At least {FEWEST} complete trials are needed to say which parameters matter.",
    }


def seen(study: Study) -> str:
    """Changes whenever the charts of the study do."""
    return f"{study.finished_trials}-{study.last_trial_number}-{study.status}"


def _space(study: Study) -> Space:
    """The study's space; an empty one where it is older than today's limits: its history is drawn all the same."""
    try:
        return space_of_study(study)
    except InvalidField:
        return Space({})


def _chosen(trials: list[tuple[int, str, float | None, Any]], *, maximize: bool) -> set[int]:
    valued = [(value, number) for number, _, value, _ in trials if value is not None]
    best = sorted(valued, reverse=maximize)[:SHOWN_BEST]
    return {number for _, number in (*best, *valued[-SHOWN_LATEST:])}


def _axis(name: str, searched: Range | Choice) -> dict[str, Any]:
    if isinstance(searched, Choice):
        return {"name": name, "choices": [_word(one) for one in searched.choices]}
    return {"name": name, "low": searched.low, "high": searched.high, "log": searched.log}


def _word(value: Any) -> str:
    """A choice as the script writes it, so that `true` of a trial is found among the choices."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _influence(study: Study, space: Space, trials: list[tuple[int, str, float | None, Any]]) -> list[tuple[str, float]]:
    """Worked out once for each number of complete trials, for a page that is looked at every few seconds."""
    complete = [(value, params) for _, state, value, params in trials if state == TrialState.COMPLETE and value is not None]
    key = (study.pk, len(complete))
    if key not in _known:
        while len(_known) >= _KEPT:
            _known.pop(next(iter(_known)), None)
        _known[key] = influence(complete, space=space, maximize=study.direction == Study.Direction.MAXIMIZE)
    return _known[key]


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
