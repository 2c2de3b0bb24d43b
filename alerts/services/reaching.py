"""Which channels somebody may reach: shared ones, and their own."""

from uuid import UUID

from alerts.models import Channel
from mlops.errors import NotFound
from mlops.tenancy.roles import Principal


def shared_channel(channel_id: UUID) -> Channel:
    """A channel of the customer's that is nobody's own. Raises NotFound."""
    found = Channel.objects.filter(pk=channel_id, owner=None, deleted_at=None).first()
    if found is None:
        raise NotFound("There is no such channel.")
    return found


def usable_channel(channel_id: UUID, by: Principal) -> Channel:
    """The actor's own channel, or a shared one for those who manage them. Raises NotFound for another person's, Forbidden."""
    by.authorize("subscription.own")
    found = Channel.objects.select_related("owner").filter(pk=channel_id, deleted_at=None).first()
    if found is None or (found.owner_id is not None and found.owner_id != by.user_id):
        raise NotFound("There is no such channel.")
    if found.owner_id is None:
        by.authorize("channel.manage")
    return found
