"""The admin site as Tiltyard's one site: its lists, and the pages that apps add to it."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from django.contrib import admin
from django.contrib.admin.apps import AdminConfig
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.response import SimpleTemplateResponse
from django.templatetags.static import static
from django.urls import URLPattern, path
from unfold.sites import UnfoldAdminSite

from mlops.errors import DomainError, InvalidField, NotFound, Stale, TooManyLogins
from mlops.tenancy.roles import Forbidden, Principal

View = Callable[..., HttpResponse]


@dataclass(frozen=True)
class _Page:
    route: str
    name: str
    view: View


_pages: list[_Page] = []
_home: list[View] = []


def page(route: str, *, name: str, action: str = "", file_limit: str = "") -> Callable[[View], View]:
    """Decorator: serve the view below `/admin/` to members, as `admin:<name>`. Its app's `admin.py` has to import it.

    A form of more than 64 KB comes in only where `action` says what sending it needs, and a file only where `file_limit` names the setting
    that bounds it: `mlops.api.intake` reads both before it lets anything be received.
    """

    def register(view: View) -> View:
        guarded = _answering_refusals(view)
        guarded.action, guarded.file_limit = action, file_limit  # type: ignore[attr-defined]  # copied to whatever wraps the view
        _pages.append(_Page(route, name, guarded))
        return guarded

    return register


def home(view: View) -> View:
    """Decorator: the view is what `/admin/` shows."""
    _home[:] = [_answering_refusals(view)]
    return view


def show(request: HttpRequest, template: str, *, title: str, status: int = 200, **context: Any) -> HttpResponse:
    """A page in the site's frame. Rendered here, inside the view's transaction: row-level security hides every row from later queries."""
    values = {**admin.site.each_context(request), "title": title, "principal": principal_of(request), **context}
    return render(request, template, values, status=status)


def show_refusal(form: Form, refusal: DomainError) -> None:
    """Put what a service refused on the form, beside the field it names where there is one: `policy.horizon` is the field `horizon`,
    and `recipe.rounds` the field `recipe`."""
    named = refusal.field.split(".") if isinstance(refusal, InvalidField) else []
    form.add_error(next((part for part in reversed(named) if part in form.fields), None), str(refusal))


def keep_typed(form: Any, stale: Stale, *, revision: int) -> None:
    """Say on the form that the row has changed, and keep what was written for a second try on the row as it is now."""
    form.add_error(None, f"{stale} What you see below is what you wrote; nothing was saved.")
    form.data = form.data.copy()
    form.data["revision"] = str(revision)


def principal_of(request: HttpRequest) -> Principal:
    """Who acts on a page of the site; `has_permission` has let nobody else in."""
    return cast(Principal, getattr(request, "principal", None))


class TiltyardAdminSite(UnfoldAdminSite):
    """Open to every member; what a member sees and may do follows from the role."""

    def has_permission(self, request: HttpRequest) -> bool:
        """Whether somebody with a membership is logged in."""
        principal = getattr(request, "principal", None)
        return bool(request.user.is_active and principal is not None and principal.kind == "user")

    @transaction.non_atomic_requests  # what a failure counts has to stay, and to lock nobody else meanwhile
    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The login page; 429 with Retry-After where too many have failed."""
        try:
            page: HttpResponse = super().login(request, extra_context)
            return page.render() if isinstance(page, SimpleTemplateResponse) else page
        except TooManyLogins as refusal:
            from mlops.api.errors import answer  # this module is imported before there are any models
            from mlops.api.problems import Problem

            wait = {"Retry-After": str(refusal.seconds)}
            return answer(request, Problem(refusal.status, refusal.code, str(refusal), headers=wait))

    def get_urls(self) -> list[URLPattern]:
        """The apps' pages, before the lists, whose last pattern takes whatever is left."""
        pages = [path(one.route, self.admin_view(one.view), name=one.name) for one in _pages]
        urls: list[URLPattern] = [*pages, *super().get_urls()]
        return urls

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The page an app declared as home."""
        if _home:
            return _home[0](request)
        answer: HttpResponse = super().index(request, extra_context)
        return answer

    def admin_view(self, view: View, cacheable: bool = False) -> View:
        """Guard the view, and render what it answers before the request's transaction ends."""
        guarded = super().admin_view(view, cacheable)

        @functools.wraps(guarded)
        def rendered(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            response: HttpResponse = guarded(request, *args, **kwargs)
            return response.render() if isinstance(response, SimpleTemplateResponse) else response

        return rendered


class TiltyardAdminConfig(AdminConfig):
    """Makes the site above the default one."""

    default_site = "mlops.admin_site.TiltyardAdminSite"


def stylesheet(request: HttpRequest) -> str:
    """Our rules on top of the theme."""
    return static("tiltyard/tiltyard.css")


def script(request: HttpRequest) -> str:
    """Local times and numbers, confirmations, live parts."""
    return static("tiltyard/tiltyard.js")


def favicon(request: HttpRequest) -> str:
    """The sign in the browser's tab."""
    return static("tiltyard/icon.svg")


def _answering_refusals(view: View) -> View:
    @functools.wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except NotFound as missing:
            raise Http404(str(missing)) from missing
        except Forbidden as refusal:
            raise PermissionDenied(refusal.for_people) from refusal

    return guarded
