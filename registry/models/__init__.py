from registry.models.accuracy import Actual, ForecastAccuracy
from registry.models.backtest import BacktestResult, BacktestRun, BacktestSegment
from registry.models.dataset import Dataset, DatasetVersion
from registry.models.decision import DecisionRecord, PromotionRequest, Verdict
from registry.models.model import RegisteredModel
from registry.models.policy_change import PolicyChangeRequest
from registry.models.retraining import RetrainingRun
from registry.models.shadow import ShadowDay, ShadowPrediction
from registry.models.version import ModelVersion

__all__ = [
    "Actual",
    "BacktestResult",
    "BacktestRun",
    "BacktestSegment",
    "Dataset",
    "DatasetVersion",
    "DecisionRecord",
    "ForecastAccuracy",
    "ModelVersion",
    "PolicyChangeRequest",
    "PromotionRequest",
    "RegisteredModel",
    "RetrainingRun",
    "ShadowDay",
    "ShadowPrediction",
    "Verdict",
]
