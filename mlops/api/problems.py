"""Errors as RFC 9457 problems: one mapping from domain errors to answers, with stable codes."""

from http import HTTPStatus
from typing import Any

import structlog
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.core.exceptions import ValidationError as ModelValidationError
from django.db.utils import DataError, InterfaceError, OperationalError
from django.http import Http404, HttpResponse
from django.http.multipartparser import MultiPartParserError
from obstore.exceptions import BaseError
from psycopg_pool import PoolTimeout
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from mlops.api.json import dumps
from mlops.artifacts.storage import DigestMismatch, ObjectMissing
from mlops.errors import BROKEN, FULL, DomainError, InvalidField, InvalidFields
from mlops.telemetry.context import request_id
from mlops.tenancy.roles import Forbidden, IdentityMismatch

log = structlog.get_logger(__name__)

CONTENT_TYPE = "application/problem+json"
TYPE = "/docs/problems#"
OUTAGES = (OperationalError, InterfaceError, PoolTimeout)


class Problem(Exception):
    """An expected refusal, answered as a problem. `errors` name fields; `extra` are further members of the document."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: list[dict[str, str]] | None = None,
        headers: dict[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail
        self.errors, self.headers, self.extra = errors or [], headers or {}, extra


def document(problem: Problem) -> dict[str, Any]:
    """The problem's members."""
    return {
        "type": f"{TYPE}{problem.code}",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
        "errors": problem.errors,
        "request_id": request_id(),
        **problem.extra,
    }


def http_response(problem: Problem) -> HttpResponse:
    """The problem as an answer outside DRF."""
    return HttpResponse(dumps(document(problem)), status=problem.status, content_type=CONTENT_TYPE, headers=problem.headers)


def outage() -> Problem:
    """The database does not answer just now."""
    return Problem(
        503, "database_unavailable", "The database does not answer. Nothing was changed; try again.", headers={"Retry-After": "2"}
    )


def handler(failure: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler. Returns None for what is truly unexpected: Django answers and logs that one."""
    problem = as_problem(failure)
    if problem is None:
        return None
    if not _manages_its_own_transactions(context):
        set_rollback()
    response = Response(document(problem), status=problem.status, headers=problem.headers, content_type=CONTENT_TYPE)
    response.exception = True
    return response


def _manages_its_own_transactions(context: dict[str, Any]) -> bool:
    """Whether the view is outside ATOMIC_REQUESTS: an open transaction is then somebody else's, and not to be rolled back here."""
    match = getattr(context.get("request"), "resolver_match", None)
    return bool(getattr(match.func, "_non_atomic_requests", None)) if match else False


def as_problem(failure: Exception) -> Problem | None:  # noqa: C901 - one flat table, read top to bottom
    """The problem an exception stands for, or None."""
    match failure:
        case Problem():
            return failure
        case InvalidField():
            return Problem(
                400, failure.code, "Some fields are not valid.", errors=[_field_error(failure.field, str(failure), failure.code)]
            )
        case InvalidFields():
            return Problem(400, failure.code, str(failure), errors=failure.errors)
        case DomainError():
            return Problem(failure.status, failure.code, str(failure), **failure.extra())
        case Forbidden():
            return Problem(403, "forbidden", str(failure))
        case IdentityMismatch():
            return Problem(403, "identity_mismatch", str(failure))
        case DigestMismatch():
            log.error("artifact.digest_mismatch", detail=str(failure))
            return Problem(409, "artifact_digest_mismatch", "The stored artifact is not the one that was registered; it is refused.")
        case ObjectMissing():
            log.error("artifact.missing", detail=str(failure))
            return Problem(409, "artifact_missing", "The file that was registered is no longer in the storage.")
        case _ if (trouble := storage_trouble(failure)) is not None:
            log.error("storage.trouble", error=str(failure))
            return trouble
        case Http404():
            return Problem(
                404,
                "not_found",
                str(failure) if failure.args and "matches the given query" not in str(failure) else "There is no such object.",
            )
        case PermissionDenied():
            return Problem(403, "forbidden", str(failure) or "Not allowed.")
        case ModelValidationError():
            return Problem(400, "invalid", "Some fields are not valid.", errors=_model_errors(failure))
        case exceptions.ValidationError():
            return Problem(400, "invalid", "Some fields are not valid.", errors=list(_flatten(failure.detail)))
        case exceptions.APIException():
            return _api_exception(failure)
        case _ if isinstance(failure, OUTAGES):
            log.warning("database.unavailable", error=str(failure))
            return outage()
        case RequestDataTooBig():
            return Problem(413, "too_large", "The fields of the form are too large; only its file may be.")
        case SuspiciousOperation() | MultiPartParserError():
            return Problem(400, "bad_request", "The request could not be understood.")
        case DataError() | OverflowError():
            # The net under all checks of input: a value no column can take. Whoever reads this line in the log should add the check.
            log.error("database.value_refused", error=str(failure))
            return Problem(400, "invalid", "A value is too large, or holds characters that cannot be stored.")
    return None


def storage_trouble(failure: Exception) -> Problem | None:
    """Where files are kept there is no room, or something is not as it should be. Nothing was changed: acts commit after their files."""
    number = failure.errno if isinstance(failure, OSError) else None
    if number in FULL:
        detail = "There is no room to keep the file. Nothing was changed; try again later."
        return Problem(503, "storage_full", detail, headers={"Retry-After": "60"})
    if number in BROKEN or isinstance(failure, BaseError):
        detail = "The storage of files does not work as it should. Nothing was changed; try again."
        return Problem(503, "storage_unavailable", detail, headers={"Retry-After": "30"})
    return None


def _api_exception(failure: exceptions.APIException) -> Problem:
    headers = {}
    wait = getattr(failure, "wait", None)  # of Throttled
    if wait is not None:
        headers["Retry-After"] = str(max(int(wait + 0.999), 1))
    if isinstance(failure, exceptions.NotAuthenticated | exceptions.AuthenticationFailed):
        headers["WWW-Authenticate"] = 'Bearer realm="tiltyard"'
    codes = failure.get_codes()
    return Problem(failure.status_code, codes if isinstance(codes, str) else "error", str(failure.detail), headers=headers)


def _flatten(detail: Any, path: str = "") -> Any:
    if isinstance(detail, dict):
        for key, item in detail.items():
            if isinstance(key, int):  # a list's errors, by position
                name = f"{path}[{key}]"
            else:
                name = path if key == "non_field_errors" else f"{path}.{key}".lstrip(".")
            yield from _flatten(item, name)
    elif isinstance(detail, list):
        nested = any(isinstance(item, dict | list) for item in detail)
        for position, item in enumerate(detail):
            yield from _flatten(item, f"{path}[{position}]" if nested else path)
    else:
        yield _field_error(path or "body", str(detail), getattr(detail, "code", "invalid"))


def _model_errors(failure: ModelValidationError) -> list[dict[str, str]]:
    if hasattr(failure, "error_dict"):
        return [_field_error(name, message, "invalid") for name, messages in failure.message_dict.items() for message in messages]
    return [_field_error("body", message, "invalid") for message in failure.messages]


def _field_error(field: str, message: str, code: str) -> dict[str, str]:
    return {"field": field, "message": message, "code": code}
