"""From the text of a URL to the addresses that may be called. What is not plainly a public web address is refused, with the reason."""

import re
import socket
import threading
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import urlsplit

from mlops.outbound.addresses import refusal

LONGEST_URL = 2000
RESOLVE_SECONDS = 5.0
_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?")
_NUMERIC = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)")


class Refused(Exception):
    """The address is not one that this server calls. The message says why, for people."""


class Unreachable(Exception):
    """The call could not be made just now, or got no answer. The message says why, for people."""


@dataclass(frozen=True)
class Target:
    """A URL, taken apart."""

    scheme: str
    host: str
    port: int
    path: str
    allowed: bool
    """Whether the operator named this host: then it may be private, and spoken to without TLS."""

    @property
    def host_header(self) -> str:
        """What the `Host` header says."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == _PORTS[self.scheme] else f"{name}:{self.port}"


def parse(url: str, *, allowed_hosts: Collection[str]) -> Target:
    """Take a URL apart. Raises Refused for everything but a plain `https://host[:port]/path?query`.

    `allowed_hosts` are entries `host` or `host:port`; `http://` is for those alone.
    """
    if not 0 < len(url) <= LONGEST_URL or not re.fullmatch(r"[!-~]+", url) or "\\" in url:
        raise Refused(f"The address must be up to {LONGEST_URL} printable ASCII characters without spaces or backslashes.")
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError as malformed:
        raise Refused(f"The address cannot be read: {malformed}.") from None
    if parts.scheme not in _PORTS:
        raise Refused("The address must begin with https://.")
    if parts.username is not None or parts.password is not None:
        raise Refused("The address must not carry a user name or a password.")
    if parts.fragment or port == 0:
        raise Refused("The address must have no fragment, and a port from 1 to 65535.")
    _check_host(host, bracketed="[" in parts.netloc)
    port = port or _PORTS[parts.scheme]
    name = host.rstrip(".")
    allowed = not {name, f"{name}:{port}", f"[{name}]", f"[{name}]:{port}"}.isdisjoint(entry.strip().lower() for entry in allowed_hosts)
    if parts.scheme == "http" and not allowed:
        raise Refused("The address must begin with https://.")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, name, port, path, allowed)


def resolve(target: Target) -> list[str]:
    """The target's addresses, asked for once; the caller connects to these and never resolves again.

    Raises Refused when any of them is not public (a name with both kinds is an attack or a mistake), Unreachable when the name has none.
    """
    addresses = _look_up(target.host, target.port)
    if not target.allowed:
        for address in addresses:
            if refusal(address):  # neither the address nor its kind is said: that would map the inner network
                raise Refused(f"{target.host} leads to an address that is not on the public internet.")
    return addresses


def _check_host(host: str, *, bracketed: bool) -> None:
    try:
        if bracketed:
            IPv6Address(host)  # a zone, as in fe80::1%eth0, is let through here and refused with its address
            return
        if _NUMERIC.fullmatch(host.rstrip(".").rsplit(".", 1)[-1]):
            IPv4Address(host)  # 127.1, 0x7f.1 or 2130706433 mean different addresses to different programs
            return
    except ValueError:
        raise Refused("The host is neither a name nor an IP address in its usual form.") from None
    if len(host) > 253 or not _NAME.fullmatch(host):
        raise Refused("The host is not a name: write international ones in their ASCII form (xn--…).")


def _look_up(host: str, port: int) -> list[str]:
    """`getaddrinfo` within a time of our own: the system's may take half a minute."""
    found: list[str] = []
    failures: list[OSError] = []

    def ask() -> None:
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        except OSError as failure:
            failures.append(failure)
        else:
            found.extend(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in answers))

    asking = threading.Thread(target=ask, name="resolve", daemon=True)
    asking.start()
    asking.join(RESOLVE_SECONDS)
    if found:
        return list(found)
    why = failures[0].strerror if failures else f"no answer within {RESOLVE_SECONDS:.0f} s"
    raise Unreachable(f"{host} could not be resolved: {why}.")
