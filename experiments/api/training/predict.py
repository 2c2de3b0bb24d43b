"""`/v1/predict` and `/v1/importance`."""

from typing import Any

from django.db import transaction
from django.urls import re_path
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from engine.tabular.asking import MAX_ROWS
from experiments.services.predicting import STAGE_NAMES, Answered, Selector, explain, predict
from registry.api.datasets import SlowView
from registry.states import STAGES, VersionStatus


class SelectorBody(serializers.Serializer[Any]):
    """Which model: `model_id`, `experiment_id`, or `model_name` with `stage` (production unless said otherwise) or `version`."""

    model_id = serializers.UUIDField(required=False, help_text="A version's id.")
    experiment_id = serializers.UUIDField(required=False, help_text="A study's id: the version it produced.")
    model_name = serializers.CharField(required=False, max_length=128)
    stage = serializers.ChoiceField(required=False, choices=STAGE_NAMES)
    version = serializers.CharField(required=False, max_length=64)


class PredictBody(SelectorBody):
    """What to predict for."""

    instances = serializers.ListField(child=serializers.DictField(), min_length=1, max_length=MAX_ROWS, help_text="One object a row.")


class ImportanceBody(SelectorBody):
    """What to explain."""

    instances = serializers.ListField(child=serializers.DictField(), required=False, max_length=MAX_ROWS, help_text="Rows to explain.")


class WhoAnswered(serializers.Serializer[Any]):
    """The version that answered."""

    model_id = serializers.UUIDField()
    model_name = serializers.CharField()
    version = serializers.CharField()
    model_version = serializers.CharField(help_text="As `version`.")
    stage = serializers.ChoiceField(choices=STAGE_NAMES)
    artifact_sha256 = serializers.CharField()
    notes = serializers.ListField(child=serializers.CharField(), help_text="Unseen categories, fields that were ignored.")


class PredictAnswer(WhoAnswered):
    """One prediction for each instance, in their order."""

    predictions = serializers.ListField(help_text="Numbers, or labels.")
    unit = serializers.CharField(required=False, help_text="Of the numbers, where the study's postprocessing named one.")
    probabilities = serializers.ListField(child=serializers.DictField(), required=False, help_text="Per label; classification only.")


class FeatureImportance(serializers.Serializer[Any]):
    """A feature's share; shares add up to 1."""

    feature = serializers.CharField()
    importance = serializers.FloatField()


class LocalExplanation(serializers.Serializer[Any]):
    """`base_value` plus the sum of `values` is `raw_prediction`."""

    base_value = serializers.FloatField()
    values = serializers.DictField(child=serializers.FloatField())
    raw_prediction = serializers.FloatField(help_text="Before the link function.")
    label = serializers.CharField(  # type: ignore[assignment]  # a field of this name hides one of DRF's own attributes
        allow_null=True, help_text="The class whose score is explained; null for regression."
    )
    link = serializers.CharField(help_text="How the raw prediction becomes the answer: identity, log, logit, softmax, share.")


class ImportanceAnswer(WhoAnswered):
    """Largest first."""

    method = serializers.ChoiceField(choices=["shap_native", "shap_tree", "linear_exact", "native"])
    importances = FeatureImportance(many=True)
    explanations = LocalExplanation(many=True, required=False)


class _Question(SlowView):
    """A POST that changes nothing: it takes no Idempotency-Key."""

    actions_by_method = {"POST": "model.predict"}
    takes_idempotency_key = False


class Predict(_Question):
    """Ask a model."""

    @extend_schema(operation_id="predict", request=PredictBody, responses=PredictAnswer)
    def post(self, request: Request) -> Response:
        """Predict for 1 to 1,000 objects. The order of their fields never matters; unknown fields are ignored and told in `notes`.

        A feature that is absent or of a wrong type is a 400 that names row and feature; `null` is a missing value. 409 `not_predictable`
        for a forecaster, which answers no rows, and for model files of other tools.
        """
        body = self.body(PredictBody, request)
        instances = body.pop("instances")
        found = predict(selector=Selector(**body), instances=instances, by=self.principal(request))
        told = {"predictions": found.answer["predictions"]}
        if found.answer["probabilities"] is not None:
            told["probabilities"] = found.answer["probabilities"]
        if found.answer.get("unit"):
            told["unit"] = found.answer["unit"]
        return Response({**told, **_who(found)})


class Importance(_Question):
    """Ask a model why."""

    @extend_schema(operation_id="importance", request=ImportanceBody, responses=ImportanceAnswer)
    def post(self, request: Request) -> Response:
        """The features a model goes by, largest first; with `instances` averaged over these, and each of them explained.

        A forecaster tells what it goes by, without `instances` alone.
        """
        body = self.body(ImportanceBody, request)
        instances = body.pop("instances", [])
        found = explain(selector=Selector(**body), instances=instances, by=self.principal(request))
        told = {"method": found.answer["method"], "importances": found.answer["importances"]}
        if instances:
            told["explanations"] = [
                {
                    "base_value": one["base_value"],
                    "values": one["values"],
                    "raw_prediction": one["raw"],
                    "label": one["label"],
                    "link": one["link"],
                }
                for one in found.answer["explanations"]
            ]
        return Response({**told, **_who(found)})


def _who(found: Answered) -> dict[str, Any]:
    version = found.version
    return {
        "model_id": version.pk,
        "model_name": version.model_name,
        "version": version.version,
        "model_version": version.version,
        "stage": STAGES[VersionStatus(version.status)],
        "artifact_sha256": version.artifact_sha256,
        "notes": found.answer["notes"],
    }


predict_urls = [
    re_path(r"^predict/?\Z", transaction.non_atomic_requests(Predict.as_view()), name="predict"),
    re_path(r"^importance/?\Z", transaction.non_atomic_requests(Importance.as_view()), name="importance"),
]
