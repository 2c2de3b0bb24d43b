"""Which addresses lie on the public internet. Our own list: `ipaddress.is_private` lets several inner ranges through.

Sources: the IANA registries of special-purpose IPv4 and IPv6 addresses (RFC 6890 and its updates), and the metadata services of clouds.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address

_V4 = [
    ("0.0.0.0/8", "unspecified"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "carrier-grade NAT"),
    ("127.0.0.0/8", "loopback"),
    ("168.63.129.16/32", "a cloud's inner service"),  # Azure's, in the middle of the public space
    ("169.254.0.0/16", "link-local"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "reserved for protocols"),
    ("192.0.2.0/24", "documentation"),
    ("192.31.196.0/24", "reserved for protocols"),
    ("192.52.193.0/24", "reserved for protocols"),
    ("192.88.99.0/24", "6to4 relay"),
    ("192.168.0.0/16", "private"),
    ("192.175.48.0/24", "reserved for protocols"),
    ("198.18.0.0/15", "benchmarking"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
]
_V6 = [
    ("::/128", "unspecified"),
    ("::1/128", "loopback"),
    ("::ffff:0:0/96", "IPv4-mapped"),
    ("::/96", "IPv4-compatible"),
    ("::ffff:0:0:0/96", "IPv4-translated"),
    ("64:ff9b::/96", "NAT64"),
    ("64:ff9b:1::/48", "NAT64"),
    ("100::/64", "discard-only"),
    ("2001::/32", "Teredo"),
    ("2001::/23", "reserved for protocols"),
    ("2001:db8::/32", "documentation"),
    ("2002::/16", "6to4"),
    ("2620:4f:8000::/48", "reserved for protocols"),
    ("3fff::/20", "documentation"),
    ("5f00::/16", "segment routing"),
    ("fc00::/7", "private"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local"),
    ("ff00::/8", "multicast"),
]
_REFUSED_V4 = [(IPv4Network(network), why) for network, why in _V4]
_REFUSED_V6 = [(IPv6Network(network), why) for network, why in _V6]
_GLOBAL_UNICAST = IPv6Network("2000::/3")
"""All that has been given out of IPv6; whatever lies outside is nobody's public address."""


def refusal(address: str) -> str:
    """Why the address is not called, in a word or two; empty for a public one. Raises ValueError for what is no address."""
    parsed: Address = ip_address(address)
    if isinstance(parsed, IPv4Address):
        return next((why for network, why in _REFUSED_V4 if parsed in network), "")
    if parsed.scope_id:
        return "link-local"
    named = next((why for network, why in _REFUSED_V6 if parsed in network), "")
    return named or ("" if parsed in _GLOBAL_UNICAST else "not public")
