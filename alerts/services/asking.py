"""Telling subscribers what waits for a manager under Approvals and is no alert: proposed experiments, looser policies."""

from dataclasses import dataclass
from datetime import datetime

from alerts.models import Channel, Delivery
from alerts.services.notifying import absolute, active, event_json, letter, write
from mlops.tenancy.spelling import one_spelling


@dataclass(frozen=True)
class Question:
    """Something that a manager has to decide."""

    kind: str
    """`experiment` or `policy_change`."""
    id: str
    title: str
    message: str
    asked_by: str
    action_url: str
    model_name: str = ""


def notify_approval(question: Question, *, at: datetime) -> int:
    """Write one message per channel with a subscription to approvals, at most one a day for the same question: a proposal that is edited is
    asked about again. Whoever asked is not told by their own e-mail. In the caller's transaction. Returns how many were written."""
    channels = {one.channel_id: one.channel for one in active(approvals=True).select_related("channel__owner")}
    key = f"approval:{question.kind}:{question.id}:{at:%Y-%m-%d}"
    told = set(Delivery.objects.filter(channel__in=channels, dedupe_key=key).values_list("channel_id", flat=True))
    written = 0
    for channel in channels.values():
        if channel.pk not in told and not _asked(channel, question):
            write(channel, kind=Delivery.Kind.APPROVAL, key=key, alert=None, at=at, **_texts(channel, question, at))
            written += 1
    return written


def _asked(channel: Channel, question: Question) -> bool:
    return channel.owner is not None and one_spelling(channel.owner.email) == one_spelling(question.asked_by)


def _texts(channel: Channel, question: Question, at: datetime) -> dict[str, str]:
    subject = f"[approval] {question.title}"
    if channel.kind == Channel.Kind.WEBHOOK:
        data = {
            "kind": question.kind,
            "id": question.id,
            "title": question.title,
            "message": question.message,
            "asked_by": question.asked_by,
            "model_name": question.model_name,
            "action_url": absolute(question.action_url),
        }
        return {"subject": subject, "body": event_json("approval.pending", at, data)}
    lines = [question.title, "", question.message, "", f"Asked by {question.asked_by}.", f"Decide: {absolute(question.action_url)}"]
    return {"subject": subject, "body": letter(lines)}
