"""The admin site as Tiltyard's one site."""

from django.contrib.admin.apps import AdminConfig
from django.http import HttpRequest
from django.templatetags.static import static
from unfold.sites import UnfoldAdminSite


class TiltyardAdminSite(UnfoldAdminSite):
    """Open to every member; what a member sees and may do follows from the role."""

    def has_permission(self, request: HttpRequest) -> bool:
        """Whether somebody with a membership is logged in."""
        principal = getattr(request, "principal", None)
        return bool(request.user.is_active and principal is not None and principal.kind == "user")


class TiltyardAdminConfig(AdminConfig):
    """Makes the site above the default one."""

    default_site = "mlops.admin_site.TiltyardAdminSite"


def stylesheet(request: HttpRequest) -> str:
    """Our few rules on top of the theme."""
    return static("tiltyard/tiltyard.css")


def script(request: HttpRequest) -> str:
    """Local times, confirmations, live counts."""
    return static("tiltyard/tiltyard.js")
