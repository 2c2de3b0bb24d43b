"""Every surface of the server. Literals come before names, names before ids."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import include, path, re_path

from mlops.api.docs import RedocView, SchemaView, SwaggerView
from mlops.api.errors import bad_request, forbidden, not_found, read_only, server_error
from mlops.api.problem_page import problems
from mlops.telemetry import health

SURFACES = {
    "models": "/api/v1/models",
    "datasets": "/api/v1/datasets",
    "experiments": "/api/v1/experiments",
    "splits": "/v1/splits",
    "studies": "/v1/experiments",
    "trained_models": "/v1/models",
    "predict": "/v1/predict",
    "importance": "/v1/importance",
    "alerts": "/api/v1/ml-alerts",
    "subscriptions": "/api/v1/subscriptions",
    "jobs": "/api/v1/jobs",
    "audit": "/api/v1/audit",
    "me": "/api/v1/me",
    "schema": "/api/schema",
    "docs": "/docs",
    "redoc": "/redoc",
    "admin": "/admin/",
    "health": "/health",
    "ready": "/ready",
    "metrics": "/metrics",
}


@read_only
def home(request: HttpRequest) -> HttpResponse:
    """The surfaces, for programs; the site (or its login), for browsers."""
    if "text/html" in request.headers.get("Accept", ""):
        return redirect("admin:index")
    return JsonResponse({"name": "Tiltyard", "surfaces": {name: request.build_absolute_uri(path) for name, path in SURFACES.items()}})


@read_only
def site(request: HttpRequest) -> HttpResponse:
    """The site as people type its address, without the slash."""
    return redirect("admin:index")


urlpatterns = [
    path("", home, name="home"),
    re_path(r"^health/?\Z", health.health, name="health"),
    re_path(r"^ready/?\Z", health.ready, name="ready"),
    re_path(r"^metrics/?\Z", health.metrics, name="metrics"),
    re_path(r"^api/schema/?\Z", SchemaView.as_view(), name="schema"),
    re_path(r"^docs/problems/?\Z", problems, name="problems"),
    re_path(r"^docs/?\Z", SwaggerView.as_view(url_name="schema"), name="swagger"),
    re_path(r"^redoc/?\Z", RedocView.as_view(url_name="schema"), name="redoc"),
    path("api/v1/", include("mlops.api.urls")),
    path("api/v1/", include("alerts.api.urls")),
    path("api/v1/", include("experiments.api.urls")),
    path("api/v1/", include("registry.api.urls")),
    path("v1/", include("experiments.api.training.urls")),
    re_path(r"^admin\Z", site),
    path("admin/", admin.site.urls),
]

handler400 = bad_request
handler403 = forbidden
handler404 = not_found
handler500 = server_error
