"""The one navigation of the site."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString


@dataclass(frozen=True)
class Entry:
    """A line of the navigation. `action`: shown to those who may do this; `badge`: the name of its count in `mlops.waiting`; `pages`: lists
    whose rows have their pages here, wherever the lists themselves stand."""

    title: str
    icon: str
    url_name: str
    action: str = "read"
    badge: str = ""
    pages: tuple[str, ...] = ()


REQUESTS = ("admin:registry_promotionrequest_changelist", "admin:registry_policychangerequest_changelist")
GROUPS: tuple[tuple[str, tuple[Entry, ...]], ...] = (
    (
        "Decide",
        (
            Entry("Overview", "dashboard", "admin:index"),
            Entry("Approvals", "how_to_vote", "admin:registry_approvals", badge="approvals", pages=REQUESTS),
            Entry("Alerts", "notifications", "admin:alerts_inbox", action="alert.read", badge="alerts"),
            Entry("Experiments", "science", "admin:experiments_board", badge="experiments"),
            Entry("Models", "swords", "admin:registry_registeredmodel_changelist", pages=("admin:registry_modelversion_changelist",)),
        ),
    ),
    (
        "Evidence",
        (
            Entry("Versions", "layers", "admin:registry_modelversion_changelist"),
            Entry("Data sets", "database", "admin:registry_dataset_changelist"),
            Entry("Splits", "content_cut", "admin:experiments_splits"),
            Entry("Studies", "manage_search", "admin:experiments_studies"),
            Entry("Decisions", "gavel", "admin:registry_decisionrecord_changelist"),
            Entry("Retrainings", "model_training", "admin:registry_retrainingrun_changelist"),
            Entry("Jobs", "progress_activity", "admin:jobs_job_changelist"),
            Entry("Audit", "history_edu", "admin:audit_auditevent_changelist"),
        ),
    ),
    (
        "Settings",
        (
            Entry("Members", "group", "admin:tenancy_membership_changelist", action="member.manage"),
            Entry("API keys", "key", "admin:tenancy_apikey_changelist", action="key.manage"),
            Entry("Channels", "campaign", "admin:alerts_channels", action="channel.manage"),
            Entry("Dead messages", "unsubscribe", "admin:alerts_dead", action="channel.manage"),
            Entry("Schedules", "schedule", "admin:jobs_scheduledtask_changelist"),
            Entry("API reference", "api", "swagger"),
        ),
    ),
)


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """The groups as the theme wants them, without what the viewer may not do and what no installed app serves."""
    groups = [{"title": title, "items": [shown for entry in entries if (shown := _shown(entry, request))]} for title, entries in GROUPS]
    return [group for group in groups if group["items"]]


def _shown(entry: Entry, request: HttpRequest) -> dict[str, Any] | None:
    principal = getattr(request, "principal", None)
    if principal is None or not principal.may(entry.action):
        return None
    try:
        link = reverse(entry.url_name)
    except NoReverseMatch:
        return None
    badge = {"badge": _badge(entry.badge, request), "badge_variant": "primary"} if entry.badge else {}
    return {"title": entry.title, "icon": entry.icon, "link": link, "active": _active(entry, link, request.path), **badge}


def _active(entry: Entry, link: str, path: str) -> bool:
    """Whether the viewer is at the entry, on a page below it, or on the page of a row that has it here."""
    if path == link or any(_below(name, path) for name in entry.pages):
        return True
    lent = any(entry.url_name in one.pages for _, entries in GROUPS for one in entries)
    return not lent and entry.url_name != "admin:index" and path.startswith(link)


def _below(url_name: str, path: str) -> bool:
    try:
        link = reverse(url_name)
    except NoReverseMatch:
        return False
    return path.startswith(link) and path != link


def _badge(name: str, request: HttpRequest) -> SafeString:
    """The count as the page's script finds it again to refresh it; without anything to count it is there, and not seen."""
    from mlops.waiting import shown, tallies  # not at the top: settings import this module before there are models

    count = shown(tallies(request).get(name, 0))
    return format_html('<span data-tally="{}" data-live="{}">{}</span>', name, reverse("admin:registry_live"), count)


SIDEBAR: dict[str, Any] = {"show_search": False, "show_all_applications": False, "navigation": "mlops.navigation.navigation"}
