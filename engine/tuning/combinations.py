"""Parameters that do not go together: what a library refuses in every trial, or in some, is refused before the first.

Every point of a space has to be one that trains, as parameters are searched independently of each other. The rules are those of CatBoost
1.2, LightGBM 4 and scikit-learn 1; a test tries each on its library.
"""

from dataclasses import dataclass

from engine.tuning.limits import KIND
from engine.tuning.spaces import Choice, Scalar, Space, SpaceError


@dataclass(frozen=True)
class Needs:
    """`name` trains only where `other` has one of `allowed`; a study that leaves `other` out has `otherwise`, None for nothing at all.

    `values`: those of `name` it is true of; of any where there are none.
    """

    name: str
    other: str
    allowed: tuple[Scalar, ...]
    otherwise: Scalar | None
    values: tuple[Scalar, ...] = ()


_SUBSAMPLE = ("Bernoulli", "MVS")
RULES: dict[str, tuple[Needs, ...]] = {
    "catboost": (
        Needs("max_leaves", "grow_policy", ("Lossguide",), "SymmetricTree"),
        Needs("subsample", "bootstrap_type", _SUBSAMPLE, "MVS"),
        Needs("bagging_temperature", "bootstrap_type", ("Bayesian", "MVS"), "MVS"),
        Needs("boosting_type", "grow_policy", ("SymmetricTree",), "SymmetricTree", ("Ordered",)),
        Needs("scale_pos_weight", "auto_class_weights", (), None),
    ),
    "lightgbm": (Needs("scale_pos_weight", "is_unbalance", (False,), False),),
    "random_forest": (Needs("max_samples", "bootstrap", (True,), True),),
}
"""By algorithm, or by kind of scikit-learn's."""
_OF_MANY_CLASSES: dict[str, tuple[Needs, ...]] = {"catboost": (Needs("subsample", "bootstrap_type", _SUBSAMPLE, "Bayesian"),)}
_OF_TWO_CLASSES = {"catboost": ("scale_pos_weight",)}


def check(space: Space, algorithm: str) -> None:
    """Raise SpaceError for parameters of which some values, or all, do not go together."""
    for rule in RULES.get(str(space.fixed.get(KIND, algorithm)), ()):
        _check(space, rule)


def check_many_classes(space: Space, algorithm: str, classes: int) -> None:
    """Raise SpaceError for what does not go with a target of more than two classes."""
    for name in _OF_TWO_CLASSES.get(algorithm, ()):
        if name in space.searched or name in space.fixed:
            raise SpaceError(name, f"Is for two classes; the target has {classes}. For more there is auto_class_weights.")
    for rule in _OF_MANY_CLASSES.get(algorithm, ()):
        _check(space, rule)


def _check(space: Space, rule: Needs) -> None:
    had = _values(space, rule.name)
    if had is None or (rule.values and not set(rule.values) & set(had)):
        return
    given = _values(space, rule.other)
    if rule.otherwise is None:
        if given is not None:
            raise SpaceError(rule.name, f"Does not go together with {rule.other}; leave one of them out.")
        return
    wrong = [one for one in ([rule.otherwise] if given is None else given) if one not in rule.allowed]
    if wrong:
        subject = f"{', '.join(map(_word, rule.values))} needs" if rule.values else "Needs"
        has = f"left out, it is {_word(wrong[0])}" if given is None else f"here it can be {', '.join(map(_word, wrong))}"
        raise SpaceError(rule.name, f"{subject} {rule.other} to be {' or '.join(map(_word, rule.allowed))} in every trial; {has}.")


def _values(space: Space, name: str) -> list[Scalar] | None:
    """What a parameter can be, as far as it is a choice or fixed; None where the space does not have it."""
    if name in space.fixed:
        return [space.fixed[name]]
    one = space.searched.get(name)
    if one is None:
        return None
    return list(one.choices) if isinstance(one, Choice) else []


def _word(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
