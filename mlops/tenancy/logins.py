"""Slowing down whoever guesses passwords, without letting a stranger lock anybody out.

Counted are failures of an account from an address, of an address over all accounts, and, gently, of an account from everywhere. Each
has some for free; from then on every further failure doubles the pause. An address from which the account's person has logged in before is
held up by its own failures only. An attempt counts before its password is looked at, so that many at once are no way around.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

import structlog
from django.db import transaction
from django.db.models import F, QuerySet

from mlops.errors import TooManyLogins
from mlops.tenancy.context import customer
from mlops.tenancy.models import LoginRecord, Membership, User
from mlops.tenancy.roles import system

log = structlog.get_logger(__name__)

FORGOTTEN = timedelta(hours=1)
"""Failures before a quiet time of this length count no more."""
KNOWN = timedelta(days=30)
MOST = 50_000
"""Rows that are kept at most; the longest untouched go first."""
SWEPT = 1_000


@dataclass(frozen=True)
class Rule:
    """`free` failures, then a pause of `first` seconds that doubles up to `longest`."""

    free: int
    first: float
    longest: float

    def pause(self, failures: int) -> timedelta | None:
        """How long nobody may try after so many failures."""
        over = failures - self.free
        return None if over < 0 else timedelta(seconds=min(self.first * 2 ** min(over, 20), self.longest))


@dataclass(frozen=True)
class Before:
    """What an attempt found and what it wrote, so that a success can take back what is still as it was left."""

    last_at: datetime
    blocked_until: datetime | None
    pause_until: datetime | None


RULES = {"pair": Rule(5, 2, 900), "address": Rule(50, 2, 900), "account": Rule(30, 1, 4)}


def attempt(*, email: str, address: str, at: datetime) -> dict[str, Before]:
    """Count an attempt as failed, in a transaction of its own; `succeeded` takes it back, given what this answers.

    Raises TooManyLogins, and counts nothing then.
    """
    names = _names(email, address)
    with transaction.atomic():
        rows = _locked(names, at)
        known = rows["pair"].known_until is not None and rows["pair"].known_until > at
        asked = ["pair"] if known else list(RULES)
        waits = [until - at for kind in asked if (until := rows[kind].blocked_until) is not None and until > at]
        if waits:
            raise TooManyLogins(ceil(max(waits).total_seconds()))
        found = {}
        for kind, row in rows.items():
            last_at, blocked_until = row.last_at, row.blocked_until
            row.failures = (row.failures if at - row.last_at < FORGOTTEN else 0) + 1
            pause = RULES[kind].pause(row.failures)
            row.last_at, row.blocked_until = at, at + pause if pause else None
            found[row.name] = Before(last_at, blocked_until, row.blocked_until)
        LoginRecord.objects.bulk_update(rows.values(), ["failures", "last_at", "blocked_until"])
        if rows["pair"].failures == RULES["pair"].free:
            _tell(email, address, at)
    return found


def succeeded(*, email: str, address: str, at: datetime, before: Mapping[str, Before]) -> None:
    """The password was right: the pair is known from now on, and the attempt was no failure of its account and address.

    `before`: what `attempt` answered. Neither the moment of the last failure nor a pause is of this attempt's making afterwards, unless
    another attempt came in between: its own stay.
    """
    names = _names(email, address)
    with transaction.atomic():
        LoginRecord.objects.filter(name=names["pair"]).update(failures=0, blocked_until=None, known_until=at + KNOWN)
        for name in sorted([names["account"], names["address"]]):
            found = before[name]
            row = LoginRecord.objects.filter(name=name)
            row.filter(failures__gt=0).update(failures=F("failures") - 1)
            if found.pause_until is not None:
                row.filter(blocked_until=found.pause_until).update(blocked_until=found.blocked_until)
            row.filter(last_at=at).update(last_at=found.last_at)


def forgotten(*, at: datetime) -> "QuerySet[LoginRecord]":
    """Records that mean nothing any more."""
    return LoginRecord.objects.filter(last_at__lt=at - FORGOTTEN).exclude(known_until__gt=at).order_by("last_at")


def _names(email: str, address: str) -> dict[str, str]:
    parts = {"pair": f"{email}\n{address}", "address": address, "account": email}
    return {kind: f"{kind}:{hashlib.sha256(part.encode('utf-8', 'replace')).hexdigest()}" for kind, part in parts.items()}


def _locked(names: dict[str, str], at: datetime) -> dict[str, LoginRecord]:
    """The rows by kind, locked in one order. One that upkeep takes away meanwhile is made anew."""
    found = LoginRecord.objects.filter(name__in=names.values())
    if found.count() < len(names):
        if LoginRecord.objects.count() >= MOST:
            longest_untouched = LoginRecord.objects.order_by("last_at").values_list("pk", flat=True)[:SWEPT]
            LoginRecord.objects.filter(pk__in=list(longest_untouched)).delete()
        fresh = [LoginRecord(name=name, last_at=at) for name in sorted(names.values())]
        LoginRecord.objects.bulk_create(fresh, ignore_conflicts=True)
    rows = {row.name: row for row in found.select_for_update(no_key=True).order_by("name")}
    return {kind: rows[name] for kind, name in names.items()} if len(rows) == len(names) else _locked(names, at)


def _tell(email: str, address: str, at: datetime) -> None:
    """Write into the trail of each customer of the account that its logins from an address are being slowed down."""
    from mlops.audit.services import record  # the trail stands on tenancy

    log.warning("login.throttled", address=address)
    user = User.objects.filter(email=email).first()
    for membership in Membership.objects.filter(user=user).order_by("customer_id") if user else []:
        with customer(membership.customer_id):
            after = {"address": address, "failures": RULES["pair"].free}
            record(action="login.throttled", target=membership.user, label=email, at=at, after=after, actor=system(membership.customer_id))
