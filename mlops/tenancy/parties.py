"""Looking up who stands behind a credential, in the audit trail: it outlives keys, memberships and accounts."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from django.db.models import Q

from mlops.audit.models import AuditEvent
from mlops.tenancy.context import required
from mlops.tenancy.models import ApiKey
from mlops.tenancy.persons import PROGRAM, Party, party_of, same_person
from mlops.tenancy.roles import Principal
from mlops.tenancy.spelling import one_spelling

Deed = TypeVar("Deed", bound=Hashable)


def own(doers: Mapping[Deed, Sequence[Party]], by: Principal, *, vouching: bool = False) -> set[Deed]:
    """Which of the deeds may have been the principal's own doing: the question of all four eyes. At most two queries, for any number."""
    pairs = [(deed, party) for deed, parties in doers.items() for party in parties]
    me, *known = with_makers([party_of(by), *(party for _, party in pairs)])
    return {deed for (deed, _), party in zip(pairs, known, strict=True) if same_person(party, me, vouching=vouching)}


def is_own(doers: Sequence[Party], by: Principal, *, vouching: bool = False) -> bool:
    """Whether one of the doers may be the principal."""
    return bool(own({"it": doers}, by, vouching=vouching))


def with_makers(parties: Sequence[Party]) -> list[Party]:
    """The parties with whoever made their keys and added their people. At most two queries, whatever their number."""
    named = _programs({party.actor for party in parties if not party.key} | {party.person for party in parties})
    made, added = _makers({party.key for party in parties if party.key} | {key for keys in named.values() for key in keys})
    found = []
    for party in parties:
        keys = {party.key} | named.get(party.actor, set()) | named.get(party.person, set())
        makers = frozenset(name for key in keys for name in made.get(key, set()))
        held = replace(party, key_makers=makers)
        found.append(replace(held, adders=frozenset(_ancestors(held.hands, added))))
    return found


def common_adders(doers: Sequence[Party], by: Principal) -> list[str]:
    """Who added both the principal and one of the doers as members: no reason to refuse, but worth seeing."""
    me, *others = with_makers([party_of(by), *doers])
    return sorted({name for other in others for name in me.adders & other.adders})


def _programs(names: Iterable[str]) -> dict[str, set[str]]:
    """Keys without a person under each of the names; what is older than the record of keys is known by its name alone."""
    programs = {name.removeprefix(PROGRAM) for name in names if name.startswith(PROGRAM)}
    found: dict[str, set[str]] = {}
    if programs:
        for name, key in ApiKey.objects.filter(customer_id=required(), user=None, name__in=programs).values_list("name", "pk"):
            found.setdefault(PROGRAM + name, set()).add(str(key))
    return found


def _makers(keys: set[str]) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """Who made each of the keys, and who made each person a member, addresses in one spelling: one query. Those whom the platform's own
    commands added have nobody."""
    keyed = Q(action="key.created", object_type="tenancy.apikey", object_id__in=keys)
    joined = Q(action="member.set", object_type="tenancy.membership", before={})
    events = AuditEvent.objects.filter(keyed | joined if keys else joined).exclude(actor_kind="system")
    made: dict[str, set[str]] = {}
    added: dict[str, set[str]] = {}
    for action, key, person, actor in events.values_list("action", "object_id", "object_label", "actor"):
        if action == "key.created":
            made.setdefault(key, set()).add(actor)
        else:
            added.setdefault(one_spelling(person), set()).add(one_spelling(actor))
    return made, added


def _ancestors(people: Iterable[str], added: Mapping[str, set[str]]) -> set[str]:
    """Whoever added one of the people, and whoever added those."""
    found: set[str] = set()
    ahead = list(people)
    while ahead:
        new = added.get(ahead.pop(), set()) - found
        found |= new
        ahead += new
    return found
