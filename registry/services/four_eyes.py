"""Four eyes: who asked, who registered, and whether whoever approves may be one of them. The trail has the credential and the person."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from mlops.audit.models import AuditEvent
from mlops.errors import DomainError
from mlops.moments import iso
from mlops.tenancy.parties import common_adders, own
from mlops.tenancy.persons import Party
from mlops.tenancy.roles import Principal
from registry.models import ModelVersion, PolicyChangeRequest, PromotionRequest

ASKED = "You asked for this yourself: another manager has to approve it."
TRAINED = "You registered or trained this version: another manager has to approve it."


class OwnProposal(DomainError):
    """Four eyes: whoever trained, proposed or asked cannot approve."""

    status = 403
    code = "four_eyes"


class AlreadyDecided(DomainError):
    """Somebody else was first."""

    code = "already_decided"

    def __init__(self, request: PromotionRequest | PolicyChangeRequest) -> None:
        who = f" by {request.decided_by}" if request.decided_by else ""
        super().__init__(f"This request was {request.status}{who} already.")
        self.request = request

    def extra(self) -> dict[str, Any]:
        """Who decided what, and when."""
        decided_at = iso(self.request.decided_at) if self.request.decided_at else None
        return {"decided_by": self.request.decided_by, "decision": self.request.status, "decided_at": decided_at}


def refuse_own(request: PromotionRequest | PolicyChangeRequest, by: Principal) -> None:
    """Raise OwnProposal where the principal may be one of those who asked, or who made what is asked for."""
    for objection in objections([request], by).values():
        raise OwnProposal(objection)


def objections(requests: Sequence[PromotionRequest | PolicyChangeRequest], by: Principal) -> dict[UUID, str]:
    """Why the principal cannot approve, by request; those that it could are absent. At most three queries, for any number."""
    found = own(doers(requests), by)
    return {pk: text for text in (TRAINED, ASKED) for pk, said in found if said == text}


def doers(requests: Sequence[PromotionRequest | PolicyChangeRequest]) -> dict[tuple[UUID, str], list[Party]]:
    """Who made what each request asks for, and who asked, by request and objection: one query."""
    asked = {(_asking(one), str(one.pk)): _asker(one) for one in requests}
    versions = [one.version for one in requests if isinstance(one, PromotionRequest)]
    known = _in_the_trail(asked | {("version.registered", str(one.pk)): _registrar(one) for one in versions})
    found = {(one.pk, ASKED): known[_asking(one), str(one.pk)] for one in requests}
    made = {(one.pk, TRAINED): known["version.registered", str(one.version_id)] for one in requests if isinstance(one, PromotionRequest)}
    return found | made


def added_by_one_hand(request: PromotionRequest | PolicyChangeRequest, by: Principal) -> list[str]:
    """Who made members of both the asker and the principal: allowed, but an auditor should see it. At most three queries."""
    deed = (_asking(request), str(request.pk))
    return common_adders(_in_the_trail({deed: _asker(request)})[deed], by)


def whose_rollback(news: Mapping[str, Any]) -> Party:
    """Who made the emergency rollback that the event told of."""
    return Party.from_json(news.get("by") or {"actor": news.get("actor", "")})


def _asker(request: PromotionRequest | PolicyChangeRequest) -> Party:
    return Party(request.requested_by, account=str(request.requested_by_id or ""))


def _registrar(version: ModelVersion) -> Party:
    return Party(version.created_by, account=str(version.created_by_id or ""))


def _asking(request: PromotionRequest | PolicyChangeRequest) -> str:
    return "promotion_request.created" if isinstance(request, PromotionRequest) else "policy_request.created"


def _in_the_trail(deeds: Mapping[tuple[str, str], Party]) -> dict[tuple[str, str], list[Party]]:
    """Per action and object, whom its row shows and whom the trail names: the row has the person a key acted for, the trail the credential
    too. Ids are of one object alone, whatever its type."""
    found = {deed: [shown] for deed, shown in deeds.items()}
    if not found:
        return found
    actions, identifiers = {action for action, _ in found}, {identifier for _, identifier in found}
    types = [_OBJECTS[action] for action in actions]
    events = AuditEvent.objects.filter(action__in=actions, object_type__in=types, object_id__in=identifiers)
    for action, identifier, actor, person, after in events.values_list("action", "object_id", "actor", "on_behalf_of", "after"):
        if (action, identifier) in found:
            found[action, identifier].append(Party.from_json({**after, "actor": actor, "person": person}))
    return found


_OBJECTS = {
    "promotion_request.created": PromotionRequest._meta.label_lower,
    "policy_request.created": PolicyChangeRequest._meta.label_lower,
    "version.registered": ModelVersion._meta.label_lower,
}
