"""Requests per minute and principal, counted in this process: a shared counter would let a silent broker delay every request."""

import time
from threading import Lock
from typing import Any

from django.conf import settings
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from mlops import addresses
from mlops.tenancy.roles import Principal

WINDOW = 60
MOST_NAMES = 10_000

_counts: dict[str, int] = {}
_window = 0
_lock = Lock()


class PrincipalThrottle(BaseThrottle):
    """A fixed window of a minute per principal; THROTTLE_PER_MINUTE holds for each web process."""

    def allow_request(self, request: Request, view: Any) -> bool:
        """Count the request; False when the principal's minute is used up."""
        who = request.user
        self.now = time.time()
        return _allows(_name_of(who) if isinstance(who, Principal) else f"ip:{addresses.counted(request.META)}", self.now)

    def wait(self) -> float:
        """Seconds until the next window."""
        return WINDOW - self.now % WINDOW


def allows(principal: Principal) -> bool:
    """Count a request of the principal; False when its minute is used up."""
    return _allows(_name_of(principal), time.time())


def _name_of(principal: Principal) -> str:
    return f"{principal.customer_id}:{principal.kind}:{principal.name}"


def _allows(name: str, now: float) -> bool:
    return _count(name, window=int(now // WINDOW)) <= settings.THROTTLE_PER_MINUTE


def _count(name: str, *, window: int) -> int:
    global _window
    with _lock:
        if window != _window or len(_counts) > MOST_NAMES:
            _counts.clear()
            _window = window
        _counts[name] = _counts.get(name, 0) + 1
        return _counts[name]
