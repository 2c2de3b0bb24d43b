"""Whoever asked for training counts as the trainer, so that four eyes bind them: the person, and whoever has the key it was asked with."""

from collections.abc import Mapping
from uuid import UUID

from mlops.tenancy.context import required
from mlops.tenancy.persons import Party
from mlops.tenancy.roles import Principal, Role

ASKED_BY = "asked_by"
"""Where a job's payload keeps `party_of` its requester."""


def trainer(payload: Mapping[str, object], *, name: str, user_id: UUID | None) -> Principal:
    """The platform in the place of whoever asked for a job. `name` and `user_id` are what the row says that it was asked for with."""
    kept = payload.get(ASKED_BY)
    party = Party.from_json(kept if isinstance(kept, Mapping) else {})
    key, named = (UUID(kept_id) if kept_id else None for kept_id in (party.key, party.named))
    return Principal("system", party.actor or name, Role.ADMIN, required(), user_id, party.person, key, named)
