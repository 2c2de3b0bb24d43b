"""What the platform's lists in the admin share: nothing is written but by services, and a refusal is a message, not a defect."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from unfold.admin import ModelAdmin

from mlops.admin_site import principal_of
from mlops.errors import DomainError
from mlops.tenancy.roles import Forbidden, Principal


class PlatformAdmin(ModelAdmin):
    """A list whose pages answer what a service refuses with the service's own words."""

    list_fullwidth = True
    list_per_page = 50
    show_full_result_count = False

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """The form; a refusal rolls back and leads back to it."""
        return self._refusals_said(super().changeform_view, request, *args, **kwargs)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """The question before a deletion; a refusal rolls back and leads back to it."""
        return self._refusals_said(super().delete_view, request, *args, **kwargs)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """The list and its actions; a refusal rolls back and leads back to it."""
        return self._refusals_said(super().changelist_view, request, extra_context)

    def principal(self, request: HttpRequest) -> Principal:
        """Who acts."""
        return principal_of(request)

    def _refusals_said(self, view: Any, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            answer: HttpResponse = view(request, *args, **kwargs)
        except (DomainError, Forbidden) as refusal:
            self.message_user(request, str(refusal), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())
        return answer


class ReadOnlyPlatformAdmin(PlatformAdmin):
    """A list and a page of facts; nobody adds, changes or deletes here."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Never: services write."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: services write."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: services write."""
        return False
