"""What the calls about studies accept. Shape only; what the values mean is the services' to judge."""

from collections.abc import Sequence
from typing import Any

from rest_framework import serializers

from engine.tuning.samplers import PRUNERS, SAMPLERS
from experiments.models import Split, Study
from experiments.services.study_settings import LARGEST_SEED, LONGEST_TIMEOUT, MOST_TRIALS, MOST_WORKERS

LONGEST_TEXT = 10_000


def _choice(choices: Sequence[Any], help_text: str) -> serializers.ChoiceField:
    """One of a few words, with or without labels; the refusal names them all."""
    words = [one if isinstance(one, str) else one[0] for one in choices]
    told: dict[str, Any] = {"invalid_choice": f"Must be one of: {', '.join(words)}."}
    return serializers.ChoiceField(choices=choices, required=False, help_text=help_text, error_messages=told)


class StudyChanges(serializers.Serializer[Any]):
    """What of a study may be changed."""

    name = serializers.CharField(required=False, max_length=200)
    description = serializers.CharField(required=False, allow_blank=True, max_length=LONGEST_TEXT)


class NewStudyBody(serializers.Serializer[Any]):
    """A study."""

    name = serializers.CharField(max_length=200)
    description = serializers.CharField(required=False, allow_blank=True, max_length=LONGEST_TEXT)
    split_id = serializers.UUIDField(required=False, help_text="Required, unless the task is forecast.")
    dataset_id = serializers.UUIDField(required=False, help_text="Of a forecast; the model's own where it is left out.")
    algorithm = _choice(Study.Algorithm.choices, "Default catboost; a forecast takes lightgbm.")
    task = _choice(Split.Task.choices, "The split's own where it is left out.")
    metric = serializers.CharField(required=False, max_length=40, help_text="Default by task: rmse, roc_auc, mae.")
    n_trials = serializers.IntegerField(required=False, min_value=1, max_value=MOST_TRIALS, help_text="Default 20; of a grid all points.")
    timeout_s = serializers.IntegerField(
        required=False,
        allow_null=True,
        min_value=1,
        max_value=LONGEST_TIMEOUT,
        help_text="So many seconds after the start no trial begins, and one that runs stops at its next intermediate value.",
    )
    sampler = _choice(SAMPLERS, "Default tpe.")
    pruner = _choice(PRUNERS, "Default median.")
    seed = serializers.IntegerField(required=False, min_value=0, max_value=LARGEST_SEED)
    workers = serializers.IntegerField(required=False, min_value=1, max_value=MOST_WORKERS, help_text="How many jobs share the search.")
    search_space = serializers.DictField(
        required=False, allow_null=True, help_text="Per parameter a range, choices or a fixed value; see the guide."
    )
    preprocessing = serializers.DictField(
        required=False, allow_null=True, help_text="most_categories, min_category_rows. Not for a forecast; see the guide."
    )
    postprocessing = serializers.DictField(
        required=False,
        allow_null=True,
        help_text="Classification: threshold. Regression: clip, low, high, factor, decimals, unit. Not for a forecast; see the guide.",
    )
    model_name = serializers.CharField(required=False, max_length=128, help_text="Made from the study's name where it is left out.")
    proposal_id = serializers.UUIDField(required=False, allow_null=True, help_text="The approved experiment it belongs to.")
    warm_start_from = serializers.UUIDField(required=False, allow_null=True, help_text="A study whose best trials are tried first.")
