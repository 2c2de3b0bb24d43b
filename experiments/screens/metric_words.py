"""What a study's metric is called on screen, and the unit of its values."""

from experiments.models import Study
from experiments.services.study_settings import FORECAST

LABELS = {
    "mae": "MAE",
    "rmse": "RMSE",
    "median_ae": "Median absolute error",
    "mape": "MAPE",
    "wape": "WAPE",
    "mase": "MASE",
    "rmsse": "RMSSE",
    "rmsle": "RMSLE",
    "r2": "R²",
    "roc_auc": "ROC AUC",
    "log_loss": "Log loss",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "f1": "F1",
    "precision": "Precision",
    "recall": "Recall",
    "mcc": "MCC",
    "average_precision": "Average precision",
    "brier": "Brier score",
}
OF_THE_TARGET = ("mae", "rmse", "median_ae")


def label(study: Study) -> str:
    """The metric's name: `MAE` for `mae`."""
    return LABELS.get(study.metric, study.metric)


def unit(study: Study) -> str:
    """What its values are counted in; empty for a plain number. A WAPE is a fraction here, as it was searched for."""
    if study.metric in OF_THE_TARGET:
        return "units" if study.task == FORECAST else "units of the target"
    return {"mape": "%", "wape": "as a fraction"}.get(study.metric, "")
