"""Paths of experiments and of training, below /api/v1/."""

from django.urls import re_path

from experiments.api import experiments, retraining

_MODEL = r"^models/(?P<model_name>[^/]+)"
_EXPERIMENT = r"^experiments/(?P<experiment_id>[0-9a-fA-F-]{36})"

urlpatterns = [
    re_path(r"^experiments/?\Z", experiments.Experiments.as_view(), name="experiments"),
    re_path(rf"{_EXPERIMENT}/?\Z", experiments.ExperimentDetail.as_view(), name="experiment"),
    re_path(rf"{_EXPERIMENT}/approve/?\Z", experiments.Approve.as_view(), name="experiment-approve"),
    re_path(rf"{_EXPERIMENT}/reject/?\Z", experiments.Reject.as_view(), name="experiment-reject"),
    re_path(rf"{_EXPERIMENT}/start/?\Z", experiments.Start.as_view(), name="experiment-start"),
    re_path(rf"{_EXPERIMENT}/shadow-test/?\Z", experiments.ShadowTest.as_view(), name="experiment-shadow-test"),
    re_path(rf"{_EXPERIMENT}/complete/?\Z", experiments.Complete.as_view(), name="experiment-complete"),
    re_path(rf"{_EXPERIMENT}/rollback/?\Z", experiments.Rollback.as_view(), name="experiment-rollback"),
    re_path(rf"{_EXPERIMENT}/results/?\Z", experiments.Results.as_view(), name="experiment-results"),
    re_path(rf"{_EXPERIMENT}/comments/?\Z", experiments.Comments.as_view(), name="experiment-comments"),
    re_path(rf"{_MODEL}/retrain/?\Z", retraining.Retrain.as_view(), name="model-retrain"),
    re_path(rf"{_MODEL}/retraining/?\Z", retraining.Retrainings.as_view(), name="model-retraining"),
]
