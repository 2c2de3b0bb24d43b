"""Errors that never reach a view: problems for programs, plain pages for people."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from mlops.api.problems import Problem, http_response


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400: Django refused the request before any view saw it."""
    return _answer(request, Problem(400, "bad_request", "The request could not be understood."))


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403."""
    return _answer(request, Problem(403, "forbidden", str(exception) or "Not allowed."))


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404: no such address."""
    return _answer(request, Problem(404, "not_found", "There is nothing at this address. GET / lists what there is."))


def server_error(request: HttpRequest) -> HttpResponse:
    """500: a defect of ours; the request id finds it in the log."""
    return _answer(request, Problem(500, "internal_error", "Something broke on our side. The request id finds it in the log."))


def _answer(request: HttpRequest, problem: Problem) -> HttpResponse:
    wants_page = "text/html" in request.headers.get("Accept", "") and not request.path_info.startswith("/api/")
    if not wants_page:
        return http_response(problem)
    return render(request, "tiltyard/error.html", {"problem": problem}, status=problem.status)
