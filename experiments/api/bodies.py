"""What the calls about experiments accept. Shape only; what the values mean is the services' to judge."""

from typing import Any

from rest_framework import serializers

from experiments.states import Decision, ExperimentType
from registry.api.bodies import LONGEST_REASON, NumberField

LONGEST_TEXT = 10_000
_PERSON = "The person acting. People name only themselves; an admin key, or a key without a person, may name another one."


class ExperimentChanges(serializers.Serializer[Any]):
    """What of a proposal may be edited."""

    experiment_name = serializers.CharField(required=False, max_length=200)
    hypothesis = serializers.CharField(required=False, max_length=LONGEST_TEXT)
    experiment_type = serializers.ChoiceField(required=False, choices=ExperimentType.choices)
    model_name = serializers.CharField(required=False, allow_null=True, max_length=128, help_text="The model it is about.")
    user_id = serializers.CharField(required=False, allow_blank=True, max_length=254, help_text=_PERSON)


class NewExperiment(ExperimentChanges):
    """A proposal."""

    experiment_name = serializers.CharField(max_length=200)
    hypothesis = serializers.CharField(max_length=LONGEST_TEXT)
    experiment_type = serializers.ChoiceField(choices=ExperimentType.choices)
    proposed_by = serializers.CharField(required=False, allow_blank=True, max_length=254, help_text=_PERSON)


class StepBody(serializers.Serializer[Any]):
    """A step, why, and for whom."""

    rationale = serializers.CharField(required=False, allow_blank=True, max_length=LONGEST_REASON)
    user_id = serializers.CharField(required=False, allow_blank=True, max_length=254, help_text=_PERSON)


class ApproveBody(StepBody):
    """An approval."""

    approved_by = serializers.CharField(required=False, allow_blank=True, max_length=254, help_text="Another name of `user_id`.")


class RejectBody(StepBody):
    """A rejection; it needs a rationale."""

    rationale = serializers.CharField(max_length=LONGEST_REASON)
    rejected_by = serializers.CharField(required=False, allow_blank=True, max_length=254, help_text="Another name of `user_id`.")


class RollbackBody(StepBody):
    """The end of an experiment that is undone; it needs a rationale."""

    rationale = serializers.CharField(max_length=LONGEST_REASON)


class ShadowTestBody(StepBody):
    """A shadow test."""

    experimental_version = serializers.CharField(
        required=False, allow_blank=True, max_length=64, help_text="Label or id of the version to try; it is put into shadow."
    )


class ResultsBody(serializers.Serializer[Any]):
    """What was measured."""

    baseline_mae = NumberField()
    experimental_mae = NumberField()
    improvement_pct = NumberField(required=False, help_text="Recomputed from the two; may differ by 0.1.")

    def to_internal_value(self, data: Any) -> Any:
        """The numbers; nothing else may stand beside them."""
        unknown = sorted(set(data) - set(self.fields)) if isinstance(data, dict) else []
        if unknown:
            raise serializers.ValidationError({name[:100]: "Unknown field." for name in unknown[:20]})
        return super().to_internal_value(data)


class CompleteBody(serializers.Serializer[Any]):
    """The decision."""

    decision = serializers.ChoiceField(choices=Decision.choices)
    decision_rationale = serializers.CharField(max_length=LONGEST_REASON)
    results = ResultsBody(required=False, help_text="Needed for an adoption.")
    experimental_version = serializers.CharField(
        required=False, allow_blank=True, max_length=64, help_text="Label or id of a version; needed for an adoption."
    )
    model_name = serializers.CharField(
        required=False, max_length=128, help_text="Whose version it is, where the proposal named no model; default `demand_forecast`."
    )
    completed_by = serializers.CharField(required=False, allow_blank=True, max_length=254, help_text="Another name of `user_id`.")
    user_id = serializers.CharField(required=False, allow_blank=True, max_length=254, help_text=_PERSON)


class CommentBody(serializers.Serializer[Any]):
    """A contribution to the discussion."""

    body = serializers.CharField(max_length=LONGEST_TEXT)
    author = serializers.CharField(required=False, allow_blank=True, max_length=254, help_text="Another name of `user_id`.")
    user_id = serializers.CharField(required=False, allow_blank=True, max_length=254, help_text=_PERSON)
