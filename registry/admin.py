"""The registry's lists. Facts are read-only here; what changes, changes on the pages of `registry.screens`, by services."""

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Count, Prefetch, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from unfold.decorators import display

from mlops.admin_lists import Opening, ReadOnlyPlatformAdmin, moment
from mlops.moments import when
from mlops.sentences import counted, listed, some
from registry.models import (
    BacktestRun,
    Dataset,
    DatasetVersion,
    DecisionRecord,
    ForecastAccuracy,
    ModelVersion,
    PolicyChangeRequest,
    PromotionRequest,
    RegisteredModel,
    RetrainingRun,
    Verdict,
)
from registry.screens import actuals_form as actuals_form
from registry.screens import approvals as approvals
from registry.screens import datasets as datasets
from registry.screens import decision_page as decision_page
from registry.screens import decisions as decisions
from registry.screens import model_page as model_page
from registry.screens import model_settings as model_settings
from registry.screens import models as models
from registry.screens import overview as overview
from registry.screens import policy_requests as policy_requests
from registry.screens import version_form as version_form
from registry.screens.places import model_page_of
from registry.services.lookups import as_uuid
from registry.states import OPEN_RETRAININGS, SHADOWED, RetrainingStatus, VersionStatus
from registry.templatetags import tiltyard as words


class ReadOnlyAdmin(ReadOnlyPlatformAdmin):
    """A list and a page of facts whose status is an icon and a word."""

    actions = None

    @display(description="Status", ordering="status")
    def shown_status(self, row: Any) -> SafeString:
        """The status as icon and word."""
        return words.status(row.status)


MONTH = timedelta(days=30)
REGISTERED = moment("created_at", "Registered")
MADE = moment("created_at", "Made")


@display(description="Versions", ordering="last_version_number")
def version_count(row: Any) -> Any:
    """How many there have been: they are numbered without gaps."""
    return row.last_version_number


class PagedAdmin(ReadOnlyAdmin):
    """Rows that have a page of their own: their address in the lists leads there."""

    page_name = ""

    def change_view(self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """To the page; 404 for what is no id."""
        identifier = as_uuid(object_id)
        if identifier is None:
            raise Http404
        return HttpResponseRedirect(reverse(self.page_name, args=[identifier]))


@admin.register(RegisteredModel)
class RegisteredModelAdmin(PagedAdmin):
    """Models."""

    page_name = "admin:registry_model_page"
    list_before_template = "registry/_list_models.html"
    list_display = ("shown_name", "champion", "task", "domain", "dataset", version_count, "scheduled", REGISTERED)
    list_filter = ("task", "model_type", "domain", "scheduled")
    search_fields = ("name", "display_name", "domain")
    list_select_related = ("dataset",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[RegisteredModel]:
        """With the champions, in one more query."""
        champions = ModelVersion.objects.filter(status="champion").only("model_id", "version", "number", "status")
        rows: QuerySet[RegisteredModel] = super().get_queryset(request)
        return rows.prefetch_related(Prefetch("versions", queryset=champions, to_attr="champions"))

    @display(description="Model", ordering="name", header=True)
    def shown_name(self, row: RegisteredModel) -> list[str]:
        """What people and what programs call it."""
        return [str(row), row.name]

    @display(description="Champion")
    def champion(self, row: Any) -> SafeString:
        """The version that serves."""
        return words.version(row.champions[0] if row.champions else None)


@admin.register(ModelVersion)
class ModelVersionAdmin(ReadOnlyAdmin):
    """Versions; each leads to its model's page, compared with the champion."""

    list_display = (
        "shown_version",
        "model_name",
        "shown_status",
        "mae",
        "trained_through",
        "shown_registered",
        moment("promoted_at", "Promoted"),
    )
    list_filter = ("status", "model_name", "algorithm")
    search_fields = ("model_name", "version", "created_by", "artifact_sha256")
    list_select_related = ("model",)
    ordering = ("-created_at", "pk")

    def opening(self, request: HttpRequest) -> Opening:
        """How many serve, compete, wait and are past."""
        status = VersionStatus
        found = dict(self.get_queryset(request).order_by().values_list("status").annotate(Count("pk")))
        if not found:
            return Opening("No version yet: a retraining, a study or the API registers one.", "layers", "open")
        serves, waits = found.get(status.CHAMPION, 0), found.get(status.CANDIDATE, 0)
        competes = sum(found.get(one, 0) for one in SHADOWED)
        past = found.get(status.DEPRECATED, 0) + found.get(status.ARCHIVED, 0)
        shares = [
            f"{some(serves, 'serves', 'serve')} as champion",
            some(competes, "competes", "compete"),
            some(waits, "is a candidate", "are candidates") if waits else "",
            f"{some(past, 'is', 'are')} past" if past else "",
        ]
        told = listed(share for share in shares if share)
        return Opening(f"{counted(sum(found.values()), 'version')}: {told}.", "layers", "" if serves else "open")

    def change_view(self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """To the model's page with this version chosen."""
        row = self.get_object(request, object_id)
        if row is None:
            answer: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
            return answer
        return HttpResponseRedirect(model_page_of(row))

    @display(description="Version", ordering="number", header=True)
    def shown_version(self, row: ModelVersion) -> list[str]:
        """Its label beside its color, and what it was trained with."""
        return [words.version(row), row.algorithm]

    @display(description="Registered", ordering="created_at", header=True)
    def shown_registered(self, row: ModelVersion) -> list[str]:
        """When, and by whom."""
        return [when(row.created_at, "full"), row.created_by]

    @display(description="MAE at registration")
    def mae(self, row: ModelVersion) -> SafeString:
        """The metric it was registered with."""
        value = row.metrics.get("mae")
        return words.num(value if isinstance(value, int | float) else None, 3)


@admin.register(Dataset)
class DatasetAdmin(PagedAdmin):
    """Data sets."""

    page_name = "admin:registry_dataset_page"
    list_before_template = "registry/_list_datasets.html"
    list_display = ("name", version_count, "created_by", MADE)
    search_fields = ("name", "created_by")


@admin.register(DatasetVersion)
class DatasetVersionAdmin(ReadOnlyAdmin):
    """Files that were received."""

    list_display = (
        "shown_name",
        "shown_status",
        "rows",
        "series",
        "first_day",
        "last_day",
        "shown_received",
    )
    list_filter = ("status",)
    search_fields = ("dataset__name", "source_name", "source_sha256")
    list_select_related = ("dataset",)

    @display(description="Data set version", header=True)
    def shown_name(self, row: DatasetVersion) -> list[str]:
        """Its name, and that of the file."""
        return [str(row), row.source_name]

    @display(description="Received", ordering="created_at", header=True)
    def shown_received(self, row: DatasetVersion) -> list[str]:
        """When, and from whom."""
        return [when(row.created_at, "full"), row.created_by]


@admin.register(PromotionRequest)
class PromotionRequestAdmin(PagedAdmin):
    """Every request there ever was; what waits stands under Approvals."""

    page_name = "admin:registry_request_page"
    list_display = (
        "__str__",
        "shown_status",
        "requested_by",
        moment("requested_at", "Asked"),
        "decided_by",
        moment("decided_at", "Decided"),
    )
    list_filter = ("status", "kind")
    search_fields = ("version__version", "model__name", "requested_by", "decided_by")
    list_select_related = ("version", "model")
    ordering = ("-requested_at", "pk")


@admin.register(PolicyChangeRequest)
class PolicyChangeRequestAdmin(PagedAdmin):
    """Every wish for a looser policy there ever was; what waits stands under Approvals."""

    page_name = "admin:registry_policy_request"
    list_display = (
        "model",
        "wanted",
        "shown_status",
        "requested_by",
        moment("requested_at", "Asked"),
        "decided_by",
        moment("decided_at", "Decided"),
    )
    list_filter = ("status",)
    search_fields = ("model__name", "requested_by", "decided_by", "reason")
    list_select_related = ("model",)
    ordering = ("-requested_at", "pk")

    @display(description="Settings")
    def wanted(self, row: PolicyChangeRequest) -> str:
        """The settings, before and after."""
        return "; ".join(f"{label}: {before} → {after}" for label, before, after in policy_requests.shown_settings(row))


@admin.register(DecisionRecord)
class DecisionRecordAdmin(PagedAdmin):
    """Evidence records: one per decision, with everything it rested on."""

    page_name = "admin:registry_decision"
    list_display = ("__str__", "proposer", "shown_approvers", "override", "emergency", "automatic", moment("decided_at", "Decided"))
    list_filter = ("kind", "override", "emergency", "automatic")
    search_fields = ("version__version", "model__name", "proposer", "rationale")
    list_select_related = ("version", "model")

    def opening(self, request: HttpRequest) -> Opening:
        """How many there are, how many went past a gate or the second pair of eyes, and the last."""
        rows = self.get_queryset(request).order_by("-decided_at", "pk")
        kept = rows.aggregate(all=Count("pk"), past=Count("pk", filter=Q(override=True)), emergencies=Count("pk", filter=Q(emergency=True)))
        last = rows.select_related("version").first()
        if last is None:
            return Opening("Nothing was decided yet: each promotion, rollback and rejection stands here with what it rested on.", "gavel")
        past, emergencies = kept["past"] or "none", kept["emergencies"] or "none"
        told = f"{counted(kept['all'], 'decision')}, {past} past a failed gate, {emergencies} in an emergency"
        return Opening(format_html("{}. The last, {}: {}.", told, when(last.decided_at), last), "gavel")

    @display(description="Approved by")
    def shown_approvers(self, row: DecisionRecord) -> str:
        """Who decided."""
        return ", ".join(row.approvers)


@admin.register(Verdict)
class VerdictAdmin(ReadOnlyAdmin):
    """What the arena said."""

    list_display = ("version", "against", "shown_passed", "summary", "trigger", moment("created_at", "Judged"))
    list_filter = ("passed", "trigger")
    search_fields = ("version__version", "version__model_name", "summary")
    list_select_related = ("version", "against")

    @display(description="Result", ordering="passed")
    def shown_passed(self, row: Verdict) -> SafeString:
        """Passed or failed, as icon and word."""
        return words.status("passed" if row.passed else "failed")


@admin.register(BacktestRun)
class BacktestRunAdmin(ReadOnlyAdmin):
    """Backtests."""

    list_display = ("version", "purpose", "mae", "window_start", "window_end", "horizon", "fits", "seconds", MADE)
    list_filter = ("purpose",)
    search_fields = ("version__version", "version__model_name")
    list_select_related = ("version",)

    @display(description="MAE")
    def mae(self, row: BacktestRun) -> SafeString:
        """Over the window."""
        return words.num(row.metrics.get("mae"), 3)


@admin.register(RetrainingRun)
class RetrainingRunAdmin(ReadOnlyAdmin):
    """The retraining log."""

    list_display = (
        "model_name",
        "trigger_type",
        "shown_status",
        "version_produced",
        "requested_by",
        moment("started_at", "Asked"),
        moment("completed_at", "Ended"),
    )
    list_filter = ("status", "trigger_type", "model_name")
    search_fields = ("model_name", "version_produced", "requested_by", "reason")

    def opening(self, request: HttpRequest) -> Opening:
        """What is under way, and what came of those of the last month."""
        recent = Q(started_at__gte=timezone.now() - MONTH)
        open_now = Q(status__in=OPEN_RETRAININGS)
        runs = (
            self.get_queryset(request)
            .filter(recent | open_now)
            .aggregate(
                open=Count("pk", filter=open_now),
                all=Count("pk", filter=recent),
                made=Count("pk", filter=recent & ~Q(version_produced="")),
                failed=Count("pk", filter=recent & Q(status=RetrainingStatus.FAILED)),
            )
        )
        now = f"{counted(runs['open'], 'retraining')} {'is' if runs['open'] < 2 else 'are'} under way"
        of_month = f"of {runs['all']:,} in the last 30 days {runs['made'] or 'none'} made a version and {runs['failed'] or 'none'} failed"
        told = f"{capfirst(now)}; {of_month if runs['all'] else 'none was asked for in the last 30 days'}."
        return Opening(told, "error" if runs["failed"] else "model_training", "bad" if runs["failed"] else "")


@admin.register(ForecastAccuracy)
class ForecastAccuracyAdmin(ReadOnlyAdmin):
    """Validated days."""

    list_display = ("model_name", "model_version", "forecast_date", "segment_column", "segment", "mae", "wape", "bias_pct", "coverage", "n")
    list_filter = ("model_name", "segment_column")
    search_fields = ("model_name", "model_version", "segment")
    ordering = ("-forecast_date", "pk")
