"""Errors that never reach a view: problems for programs, plain pages for people."""

import sys
from collections.abc import Callable
from functools import wraps

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt

from mlops.api.problems import Problem, as_problem, http_response

View = Callable[[HttpRequest], HttpResponse]


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400: Django refused the request before any view saw it."""
    return answer(request, as_problem(exception) or Problem(400, "bad_request", "The request could not be understood."))


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403."""
    return answer(request, Problem(403, "forbidden", str(exception) or "Not allowed."))


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403: a form or call of a session without its token."""
    detail = f"The page is too old, or this did not come from it. Reload it and try again. {reason}".strip()
    return answer(request, Problem(403, "csrf_failed", detail))


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404: no such address."""
    words = "There is no page at this address. What it showed may have been deleted, or the address is mistyped."
    return answer(request, Problem(404, "not_found", "There is nothing at this address. GET / lists what there is."), words=words)


def server_error(request: HttpRequest) -> HttpResponse:
    """500: a defect of ours, found in the log by the request id; or what an outage is answered with when a middleware met it."""
    failure = sys.exc_info()[1]  # Django calls this while it handles the exception
    expected = as_problem(failure) if isinstance(failure, Exception) else None
    return answer(request, expected or Problem(500, "internal_error", "Something broke on our side. The request id finds it in the log."))


def read_only(view: View) -> View:
    """Decorator for plain views that only read: other methods are a 405 problem."""

    @csrf_exempt
    @wraps(view)
    def guarded(request: HttpRequest) -> HttpResponse:
        if request.method not in ("GET", "HEAD"):
            detail = f"The method {request.method} is not allowed here."
            return http_response(Problem(405, "method_not_allowed", detail, headers={"Allow": "GET, HEAD"}))
        return view(request)

    return guarded


def answer(request: HttpRequest, problem: Problem, *, words: str = "") -> HttpResponse:
    """The problem as a plain page for people, in `words` where its own are for programs; as its document for programs."""
    wants_page = "text/html" in request.headers.get("Accept", "") and not request.path_info.startswith(("/api/", "/v1/"))
    if not wants_page:
        return http_response(problem)
    page = render(request, "tiltyard/error.html", {"problem": problem, "words": words or problem.detail}, status=problem.status)
    for name, value in problem.headers.items():
        page[name] = value
    return page
