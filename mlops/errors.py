"""Errors that services raise and doors answer. A class names its HTTP status and its stable code once."""

import errno
from typing import Any, ClassVar

FULL = (errno.ENOSPC, errno.EDQUOT)
BROKEN = (errno.EIO, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ESTALE)
"""What the system says of a folder of ours that is full, or that is not as it was: both pass, and are no defect of the program."""


class DomainError(Exception):
    """Base of expected refusals."""

    status: ClassVar[int] = 409
    code: ClassVar[str] = "conflict"

    def extra(self) -> dict[str, Any]:
        """Further members of the problem document."""
        return {}


class NotFound(DomainError):
    """There is no such object for this customer."""

    status = 404
    code = "not_found"


class Duplicate(DomainError):
    """The name is taken."""

    code = "duplicate"


class Stale(DomainError):
    """The object has changed since it was read."""

    status = 412
    code = "stale"


class InvalidField(DomainError):
    """A value that is refused; `field` names it."""

    status = 400
    code = "invalid"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class InvalidFields(DomainError):
    """Several problems at once, each with field, message and code."""

    status = 400
    code = "invalid"

    def __init__(self, message: str, errors: list[dict[str, str]]) -> None:
        super().__init__(message)
        self.errors = errors


class Busy(DomainError):
    """Everything that may do this kind of work is at it just now."""

    status = 503
    code = "busy"

    def extra(self) -> dict[str, Any]:
        """When to come again."""
        return {"headers": {"Retry-After": "10"}}


class TooManyLogins(DomainError):
    """Too many logins failed; `seconds` says when the next may be tried."""

    status = 429
    code = "too_many_logins"

    def __init__(self, seconds: int) -> None:
        super().__init__(f"Too many logins have failed. Try again in {seconds} seconds.")
        self.seconds = seconds

    def extra(self) -> dict[str, Any]:
        """When to try again."""
        return {"headers": {"Retry-After": str(self.seconds)}}
