"""Signatures of webhooks, as Standard Webhooks 1.0 describes them (https://www.standardwebhooks.com).

The secrets are not stored. Each is derived from SECRET_KEY and a random salt beside the receiver's row, so that a stolen database signs
nothing. Its fingerprint is kept as well: after SECRET_KEY has changed, a secret is found again through SECRET_KEY_FALLBACKS, or is known
to be lost instead of signing with another one.
"""

import base64
import hashlib
import hmac
import secrets
from datetime import datetime

from django.conf import settings
from django.utils.crypto import constant_time_compare, salted_hmac

PREFIX = "whsec_"
_PURPOSE = "mlops.outbound.signing"


class SecretLost(Exception):
    """SECRET_KEY has changed since the secret was made, and no fallback brings it back: the receiver needs a new one."""


def new_salt() -> str:
    """The random part of a secret; useless without SECRET_KEY."""
    return secrets.token_urlsafe(24)


def derive(*, receiver: str, salt: str, key: str = "") -> str:
    """The secret of a receiver, `whsec_` and 32 bytes in base64."""
    digest = salted_hmac(_PURPOSE, f"{receiver}:{salt}", secret=key or settings.SECRET_KEY, algorithm="sha256").digest()
    return PREFIX + base64.b64encode(digest).decode()


def fingerprint(secret: str) -> str:
    """What is kept to recognize the secret: SHA-256, hexadecimal. 256 bits of randomness need no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()


def recover(*, receiver: str, salt: str, expected: str) -> str:
    """The secret whose fingerprint is `expected`. Raises SecretLost."""
    for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        secret = derive(receiver=receiver, salt=salt, key=key)
        if constant_time_compare(fingerprint(secret), expected):
            return secret
    raise SecretLost("SECRET_KEY has changed: the signing secret is lost. Make a new one for this channel.")


def signed_headers(*, secret: str, message_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """The three headers of one attempt. The id stays the same over all attempts, so that receivers can drop repeats; the time does not."""
    timestamp = str(int(at.timestamp()))
    key = base64.b64decode(secret.removeprefix(PREFIX))
    digest = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return {"webhook-id": message_id, "webhook-timestamp": timestamp, "webhook-signature": f"v1,{base64.b64encode(digest).decode()}"}
