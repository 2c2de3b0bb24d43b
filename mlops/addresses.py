"""Where a request comes from, for whatever counts senders: one answer for logins, bodies, throttles and the log."""

import ipaddress
from collections.abc import Mapping
from typing import Any

from django.conf import settings

LONGEST = 64


def shown(environ: Mapping[str, Any]) -> str:
    """The address of whoever is connected or, behind the trusted proxy, the last one that it appended."""
    forwarded = str(environ.get("HTTP_X_FORWARDED_FOR", "")) if settings.BEHIND_PROXY else ""
    return forwarded.rpartition(",")[2].strip()[:LONGEST] or str(environ.get("REMOTE_ADDR", ""))


def counted(environ: Mapping[str, Any]) -> str:
    """The same for counting: of IPv6 the network of a household, all of whose addresses are one sender's to use.

    IPv4 written as IPv6, as a socket for both has it, counts as IPv4: all of it lies in one such network.
    """
    text = shown(environ)
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False))
