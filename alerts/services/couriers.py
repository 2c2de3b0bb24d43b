"""One attempt to bring one message to its channel. Called outside any transaction; says what came of it and writes nothing."""

from dataclasses import dataclass
from datetime import datetime
from smtplib import SMTPException

from django.conf import settings
from django.core.mail import EmailMessage

from alerts.models import Channel, Delivery
from mlops.outbound import client, signing
from mlops.outbound.mailboxes import in_ascii
from mlops.outbound.targets import Refused, Unreachable
from mlops.tenancy.context import required
from mlops.tenancy.principals import membership_of

_NO_MAIL = "django.core.mail.backends.dummy.EmailBackend"
GONE = 410


@dataclass(frozen=True)
class Result:
    """What became of an attempt. Neither delivered nor final: it is worth another try."""

    delivered: bool = False
    final: bool = False
    disable: bool = False
    status: int | None = None
    error: str = ""
    retry_after_s: float | None = None


def send(delivery: Delivery, *, at: datetime) -> Result:
    """Bring the message to its channel, once. What cannot be put into the form of a message will not be in three days either."""
    channel = delivery.channel
    try:
        return _post(channel, delivery, at) if channel.kind == Channel.Kind.WEBHOOK else _mail(channel, delivery)
    except ValueError as failure:  # UnicodeError of an address, or a header that cannot be one
        return Result(final=True, error=f"This cannot be sent as it is: {failure}"[:500])


def _post(channel: Channel, delivery: Delivery, at: datetime) -> Result:
    body = delivery.body.encode()
    try:
        secret = signing.recover(receiver=str(channel.pk), salt=channel.secret_salt, expected=channel.secret_fingerprint)
        headers = signing.signed_headers(secret=secret, message_id=message_id(delivery), at=at, body=body)
        headers |= {"Content-Type": "application/json"}
        answer = client.post(channel.target, body=body, headers=headers, allowed_hosts=settings.WEBHOOK_ALLOWED_HOSTS)
    except (Unreachable, Refused, signing.SecretLost) as failure:  # an operator can mend each of these within three days
        return Result(error=str(failure))
    if answer.status == GONE:
        return Result(final=True, disable=True, status=GONE, error="The receiver answered 410 Gone: it wants no more messages.")
    error = "" if answer.accepted else str(answer)
    return Result(delivered=answer.accepted, status=answer.status, error=error, retry_after_s=answer.retry_after_s)


def _mail(channel: Channel, delivery: Delivery) -> Result:
    address = channel.target
    if channel.owner is not None:
        if not channel.owner.is_active or membership_of(channel.owner, required()) is None:
            return Result(final=True, disable=True, error=f"{channel.owner.email} is no member any more.")
        address = channel.owner.email
    if settings.EMAIL_BACKEND == _NO_MAIL:
        return Result(final=True, error="No e-mail leaves this server: the operator has not set EMAIL_URL.")
    address = in_ascii(address)
    domain = address.rpartition("@")[2]
    mail = EmailMessage(delivery.subject, delivery.body, to=[address], headers={"Message-ID": f"<{message_id(delivery)}@{domain}>"})
    try:
        mail.send()
    except (SMTPException, OSError) as failure:
        return Result(error=f"{type(failure).__name__}: {failure}"[:500])
    return Result(delivered=True)


def message_id(delivery: Delivery) -> str:
    """The same over all attempts, so that receivers can drop repeats."""
    return f"msg_{delivery.pk.hex}"
