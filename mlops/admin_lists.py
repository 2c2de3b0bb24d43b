"""What the platform's lists in the admin share: nothing is written but by services, and a refusal is a message, not a defect."""

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import DateField, Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from unfold.admin import ModelAdmin
from unfold.decorators import display

from mlops.admin_site import principal_of
from mlops.errors import DomainError
from mlops.moments import when
from mlops.storable import LONGEST_SEARCH
from mlops.tenancy.roles import Forbidden, Principal, Role


def moment(name: str, description: str) -> Any:
    """A column that shows the row's moment in the viewer's own zone, or its day."""

    @display(description=description, ordering=name)
    def shown(row: Model) -> SafeString:
        return when(getattr(row, name), "full")

    return shown


@dataclass(frozen=True)
class Opening:
    """The sentence that a list begins with: what is so now. `tone`: `bad` or `open` where somebody should look, else empty."""

    sentence: str
    icon: str
    tone: str = ""


class PlatformAdmin(ModelAdmin):
    """A list whose pages answer what a service refuses with the service's own words."""

    list_fullwidth = True
    list_per_page = 50
    list_before_template = "tiltyard/_list_opening.html"
    show_full_result_count = False
    kept_for: Role | None = None
    """The least role that the pages are for, where they are not for everybody."""
    nothing_yet = ""
    """What an empty list says of itself: what would stand here, and what puts it there."""

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """The form; a refusal rolls back and leads back to it."""
        return self._refusals_said(super().changeform_view, request, *args, **kwargs)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """The question before a deletion; a refusal rolls back and leads back to it."""
        return self._refusals_said(super().delete_view, request, *args, **kwargs)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """The list and its actions; a refusal rolls back and leads back to it."""
        if any(len(words) > LONGEST_SEARCH for name in request.GET for words in request.GET.getlist(name)):
            self.message_user(request, f"Search and filter with at most {LONGEST_SEARCH} characters.", messages.ERROR)
            return HttpResponseRedirect(request.path)
        told = {"title": capfirst(str(self.opts.verbose_name_plural)), "opening": self.opening(request) if self._listed(request) else None}
        return self._refusals_said(super().changelist_view, request, {**told, **(extra_context or {})})

    def opening(self, request: HttpRequest) -> Opening | None:
        """What is so now, whatever the list is filtered by; None for a list with a head of its own."""
        return None

    def _listed(self, request: HttpRequest) -> bool:
        return request.method == "GET" and self.has_view_permission(request)

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Do what was chosen with the ticked rows; what no page ticks is a message."""
        key = self.model._meta.pk
        try:
            for ticked in request.POST.getlist(ACTION_CHECKBOX_NAME):
                key.to_python(ticked)
        except ValidationError:
            self.message_user(request, "What was ticked are no rows of this list. Nothing was done.", messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())
        answer: HttpResponse | None = super().response_action(request, queryset)
        return answer

    def get_list_display(self, request: HttpRequest) -> Any:
        """The columns; moments and days are written as on every other page."""
        return tuple(self._as_everywhere(name) for name in super().get_list_display(request))

    def principal(self, request: HttpRequest) -> Principal:
        """Who acts."""
        return principal_of(request)

    def _as_everywhere(self, name: Any) -> Any:
        field = _fields(self.model).get(name) if isinstance(name, str) else None
        return moment(field.name, capfirst(str(field.verbose_name))) if isinstance(field, DateField) else name

    def _why_closed(self, request: HttpRequest) -> str:
        """Which role it takes; empty where that is not what is missing."""
        role = self.principal(request).role
        if self.kept_for is None or role.includes(self.kept_for):
            return ""
        return f"The role {role.label} does not open this page: that takes the role {self.kept_for.label}."

    def _refusals_said(self, view: Any, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            answer: HttpResponse = view(request, *args, **kwargs)
        except (DomainError, Forbidden) as refusal:
            self.message_user(request, refusal.for_people if isinstance(refusal, Forbidden) else str(refusal), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())
        except PermissionDenied as refusal:
            raise PermissionDenied(str(refusal) or self._why_closed(request)) from refusal
        return answer


class ReadOnlyPlatformAdmin(PlatformAdmin):
    """A list and a page of facts; nobody adds, changes or deletes here."""

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """The facts; moments and days are written as on every other page."""
        return tuple(self._as_everywhere(name) for name in super().get_fields(request, obj))

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Never: services write."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: services write."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: services write."""
        return False


def _fields(model: type[Model]) -> dict[str, Any]:
    return {field.name: field for field in model._meta.get_fields()}
