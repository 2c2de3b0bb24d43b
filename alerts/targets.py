"""What is shown and kept of a channel's address: the URL of a webhook often carries a secret. Pure."""

import hashlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from alerts.models import Channel


def masked(kind: str, target: str) -> str:
    """The host of a webhook, or the domain of an e-mail address."""
    return f"{urlsplit(target).hostname}/…" if kind == Channel.Kind.WEBHOOK else f"…@{target.rpartition('@')[2]}"


def for_the_trail(kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """A channel's values as the trail keeps them, for good and for every viewer: of a webhook's URL the host, and the SHA-256 of the whole,
    which tells whether it is a known one. E-mail addresses stay."""
    if kind != Channel.Kind.WEBHOOK or "target" not in values:
        return dict(values)
    target = str(values["target"])
    return {**values, "target": masked(kind, target), "target_sha256": hashlib.sha256(target.encode()).hexdigest()}
