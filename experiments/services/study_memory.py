"""What a study's fits take in a worker, and whether that is allowed.

Measured by `python -m benchmarks.training_memory`: the peak of a fit beyond an idle worker, in copies of 8 bytes per value of train and
validation of 100,000 rows, rounded up. They are the table, the matrix and what the library makes of it. The model is not counted.
"""

from collections.abc import Mapping
from typing import Any

from django.conf import settings as conf

from engine.tuning.limits import KIND, SKLEARN_KINDS
from experiments.models import Split
from experiments.services.study_settings import Settings
from mlops.errors import InvalidField

BYTES_PER_VALUE = 8
COPIES: Mapping[str, tuple[int, int]] = {
    "catboost": (4, 9),
    "xgboost": (5, 7),
    "lightgbm": (4, 7),
    "hist_gradient_boosting": (3, 6),
    "random_forest": (3, 6),
    "linear": (4, 4),
}
"""By algorithm, or kind of scikit-learn's: of a number, and of a category (of linear models, of each column that one becomes)."""
COPIES_PER_CLASS = 10
"""Of more than two classes: scores and their gradients, whatever the features are."""
LINEAR_CATEGORIES = 50
"""Of a feature, that become columns of their own."""


def check_memory(split: Split, settings: Settings) -> None:
    """Raise InvalidField where parts that a worker holds at once need more than it may take."""
    for together in (("train", "validation"), ("test",)):
        rows = sum(int(split.parts[part]["rows"]) for part in together if part in split.parts)
        wanted, allowed = rows * copies_of_row(split, settings) * BYTES_PER_VALUE, conf.TRAINING_MEMORY_BYTES
        if wanted > allowed:
            told = f"{rows:,} rows of {' and '.join(together)} × {len(split.features):,} features need about {wanted:,} bytes"
            raise InvalidField(
                "split_id",
                f"{told} with {_name(settings)}; {allowed:,} are allowed (TRAINING_MEMORY_BYTES). Make a split of fewer rows or features.",
            )


def copies_of_row(split: Split, settings: Settings) -> int:
    """How many values of 8 bytes a fit holds for each row."""
    name, profile = _name(settings), {column["name"]: column for column in split.profile}
    of_number, of_category = COPIES[name]
    total = 0
    for feature in split.features:
        column: dict[str, Any] = profile.get(feature, {})
        if column.get("kind") != "categorical":
            total += of_number
        else:
            total += of_category * (min(int(column["distinct"]), LINEAR_CATEGORIES) if name == "linear" else 1)
    classes = profile.get(split.target, {}).get("distinct", 0) if split.task == "classification" else 0
    return total + (COPIES_PER_CLASS * int(classes) if classes > 2 else 0)


def _name(settings: Settings) -> str:
    return str(settings.space.fixed.get(KIND, SKLEARN_KINDS[0])) if settings.algorithm == "sklearn" else settings.algorithm
