"""Paths of the registry, below /api/v1/. Literals come before names; names and labels may contain dots."""

from django.db import transaction
from django.urls import re_path

from registry.api import health, models, moves, policy_requests, requests, shadow, versions
from registry.api.datasets import dataset_urls

_MODEL = r"^models/(?P<model_name>[^/]+)"
_VERSION = rf"{_MODEL}/versions/(?P<version>[^/]+)"
_REQUEST = r"^models/promotion-requests/(?P<request_id>[0-9a-fA-F-]{36})"
_POLICY_REQUEST = r"^models/policy-requests/(?P<request_id>[0-9a-fA-F-]{36})"

model_urls = [
    re_path(r"^models/?\Z", models.Models.as_view(), name="models"),
    re_path(r"^models/health/?\Z", health.Health.as_view(), name="models-health"),
    re_path(r"^models/history/?\Z", health.History.as_view(), name="models-history"),
    re_path(r"^models/backtest/(?P<version>[^/]+)/?\Z", health.Backtest.as_view(), name="models-backtest"),
    re_path(r"^models/statistics/registry/?\Z", models.RegistryStatistics.as_view(), name="registry-statistics"),
    re_path(r"^models/promotion-requests/?\Z", requests.PromotionRequests.as_view(), name="promotion-requests"),
    re_path(rf"{_REQUEST}/?\Z", requests.PromotionRequestDetail.as_view(), name="promotion-request"),
    re_path(rf"{_REQUEST}/approve/?\Z", requests.Approve.as_view(), name="promotion-request-approve"),
    re_path(rf"{_REQUEST}/reject/?\Z", requests.Reject.as_view(), name="promotion-request-reject"),
    re_path(r"^models/policy-requests/?\Z", policy_requests.PolicyRequests.as_view(), name="policy-requests"),
    re_path(rf"{_POLICY_REQUEST}/?\Z", policy_requests.PolicyRequestDetail.as_view(), name="policy-request"),
    re_path(rf"{_POLICY_REQUEST}/approve/?\Z", policy_requests.Approve.as_view(), name="policy-request-approve"),
    re_path(rf"{_POLICY_REQUEST}/reject/?\Z", policy_requests.Reject.as_view(), name="policy-request-reject"),
    re_path(rf"{_MODEL}/?\Z", models.ModelDetail.as_view(), name="model"),
    re_path(rf"{_MODEL}/versions/?\Z", transaction.non_atomic_requests(versions.Versions.as_view()), name="model-versions"),
    re_path(rf"{_VERSION}/?\Z", versions.VersionDetail.as_view(), name="model-version"),
    re_path(rf"{_VERSION}/evidence/?\Z", versions.VersionEvidence.as_view(), name="version-evidence"),
    re_path(rf"{_VERSION}/lineage/?\Z", versions.VersionLineage.as_view(), name="version-lineage"),
    re_path(rf"{_VERSION}/promote/?\Z", moves.Promote.as_view(), name="version-promote"),
    re_path(rf"{_VERSION}/shadow/?\Z", moves.Shadow.as_view(), name="version-shadow"),
    re_path(rf"{_VERSION}/challenge/?\Z", moves.Challenge.as_view(), name="version-challenge"),
    re_path(rf"{_VERSION}/archive/?\Z", moves.Archive.as_view(), name="version-archive"),
    re_path(rf"{_VERSION}/rollback/?\Z", moves.Rollback.as_view(), name="version-rollback"),
    re_path(rf"{_VERSION}/judge/?\Z", moves.Judge.as_view(), name="version-judge"),
    re_path(rf"{_MODEL}/promote/(?P<version>[^/]+)/?\Z", moves.Promote.as_view(), name="model-promote"),
    re_path(rf"{_MODEL}/production/?\Z", health.Production.as_view(), name="model-production"),
    re_path(rf"{_MODEL}/shadow/?\Z", shadow.ShadowView.as_view(), name="model-shadow"),
    re_path(rf"{_MODEL}/compare/?\Z", models.Compare.as_view(), name="model-compare"),
    re_path(rf"{_MODEL}/deployment-history/?\Z", health.DeploymentHistory.as_view(), name="model-deployment-history"),
    re_path(rf"{_MODEL}/actuals/?\Z", models.Actuals.as_view(), name="model-actuals"),
    re_path(r"^models/(?P<version>[^/]+)/promote/?\Z", moves.PromoteAnywhere.as_view(), name="promote-anywhere"),
]

urlpatterns = [*dataset_urls, *model_urls]
