"""Answers to a key's plain GET without REST framework's machinery, which costs more than the read itself.

A view offers them as `quick`. All middleware has run: the request has its id, its key was recognized, its customer is in scope. Whatever is
not plain (a session, another method, a role that may not read, a used-up minute, a refusal) goes on to the view, which answers it in full.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views import View

from mlops.api.json import dumps
from mlops.api.throttling import allows
from mlops.tenancy.roles import Principal

GetResponse = Callable[[HttpRequest], HttpResponse]
Quickly = tuple[Any, Mapping[str, str]] | None
"""A body and headers, or None for "ask the view"."""
Quick = Callable[[HttpRequest, Mapping[str, str]], Quickly]
"""What a view may offer: from a request and the names in its path to an answer."""


class QuickMiddleware:
    """Innermost: asks the view's `quick` before the request's transaction begins."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Any, _: Any, names: Mapping[str, str]) -> HttpResponse | None:
        """The answer, or None."""
        offered = getattr(view, "cls", None)
        quick: Quick | None = getattr(offered, "quick", None)
        principal: Principal | None = getattr(request, "principal", None)
        if quick is None or request.method != "GET" or principal is None or principal.kind != "key" or not principal.may("read"):
            return None
        found = quick(request, names)
        if found is None or not allows(principal):
            return None
        body, headers = found
        return HttpResponse(dumps(body), content_type="application/json", headers={"Allow": _allowed(offered), **headers})


@cache
def _allowed(offered: type[View]) -> str:
    """The view's methods, as it names them itself; Django lends it HEAD."""
    return ", ".join(name.upper() for name in offered.http_method_names if name == "head" or hasattr(offered, name))
