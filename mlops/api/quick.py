"""Answers to a key's plain GET without the machinery of Django and REST framework, which costs several times the read itself.

A view offers them as `quick`. Whatever is not plain (a session, another method, a role that may not read, a used-up minute, a refusal, an
outage) goes on to all the other middleware and the view, which answer it in full.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import structlog
from django.core.exceptions import DisallowedHost
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.security import SecurityMiddleware
from django.urls import Resolver404, resolve
from django.utils import timezone

from mlops import addresses
from mlops.api.content_policy import ContentPolicyMiddleware
from mlops.api.json import dumps
from mlops.api.middleware import counted, request_id_of
from mlops.api.problems import OUTAGES
from mlops.api.throttling import allows
from mlops.tenancy.principals import acting, principal_of_key

GetResponse = Callable[[HttpRequest], HttpResponse]
Quickly = tuple[Any, Mapping[str, str]] | None
"""A body and headers, or None for "ask the view"."""
Quick = Callable[[HttpRequest, Mapping[str, str]], Quickly]
"""What a view may offer: from a request and the names in its path to an answer."""
BEARER = "bearer "
LONGEST_PATH = 512
"""Of names alone no path is longer; remembering longer ones would let anybody fill the memory."""
log = structlog.get_logger(__name__)


class QuickMiddleware:
    """Outermost: asks the view's `quick` in place of all other middleware, and gives its answer the headers that these would give it.

    It shares their parts where they have a say in such an answer: allowed hosts, the way to HTTPS, request ids, keys, throttle, metrics.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self._security = SecurityMiddleware(get_response)
        self._worth_it = connection.vendor == "postgresql"  # the ways that views offer are statements for it
        self._dressers = (XFrameOptionsMiddleware(get_response), ContentPolicyMiddleware(get_response), self._security)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        plain = (
            self._worth_it and request.method == "GET" and not request.META.get("CONTENT_LENGTH") and len(request.path_info) <= LONGEST_PATH
        )
        if plain and request.META.get("HTTP_AUTHORIZATION", "")[: len(BEARER)].lower() == BEARER:
            try:
                answer = self._answer(request)
            except (DisallowedHost, *OUTAGES):
                answer = None
            if answer is not None:
                return answer
        return self.get_response(request)

    def _answer(self, request: HttpRequest) -> HttpResponse | None:
        offered = _offered(request.path_info)
        if offered is None:
            return None
        request.get_host()
        if self._security.process_request(request) is not None:
            return None
        secret = request.META["HTTP_AUTHORIZATION"][len(BEARER) :].strip()
        principal = principal_of_key(secret, at=timezone.now())
        if principal is None or not principal.may("read"):
            return None
        with acting(principal):
            found = offered.quick(request, offered.names)
        if found is None or not allows(principal):
            return None
        body, headers = found
        response = HttpResponse(dumps(body), content_type="application/json", headers={"Allow": offered.allow, **headers})
        response.headers["Content-Length"] = str(len(response.content))
        for dresser in self._dressers:
            dresser.process_response(request, response)
        identifier = request_id_of(request)
        log.info(
            "request_finished",
            code=200,
            request=f"GET {request.get_full_path()}",
            request_id=identifier,
            customer_id=str(principal.customer_id),
            ip=addresses.shown(request.META),
        )
        return counted(response, identifier)


class _Offer(NamedTuple):
    """A view's quick way, the names in the path, and the methods that the view names itself."""

    quick: Quick
    names: Mapping[str, str]
    allow: str


@lru_cache(maxsize=2048)
def _offered(path: str) -> _Offer | None:
    """What the view at this path offers; None where it has no quick way, or there is no view."""
    try:
        found = resolve(path)
    except Resolver404:
        return None
    view: Any = getattr(found.func, "cls", None)
    if not hasattr(view, "quick"):
        return None
    methods = (name.upper() for name in view.http_method_names if name == "head" or hasattr(view, name))  # Django lends it HEAD
    return _Offer(view.quick, found.kwargs, ", ".join(methods))
