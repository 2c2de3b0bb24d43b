"""Who is the same person: the one comparison behind every second pair of eyes. Values in, answer out; no database, no clock."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlops.tenancy.roles import Principal
from mlops.tenancy.spelling import one_spelling

PROGRAM = "key:"
"""What the name of a credential begins with that belongs to no person."""


@dataclass(frozen=True)
class Party:
    """Somebody who took part in an act: the credential it was done with, and the people it leads to."""

    actor: str
    """The credential's name: a person's e-mail address, or `key:<name>` of a program."""
    person: str = ""
    """Whom the credential named, a member by e-mail; empty where it spoke for itself."""
    account: str = ""
    """Id of the account; empty for a program's key."""
    key: str = ""
    """Id of the key it was done with; empty in a session."""
    key_makers: frozenset[str] = frozenset()
    """Who made that key, and so has seen its secret."""
    adders: frozenset[str] = frozenset()
    """Who made these people members, and who made those, up to the first."""
    named: str = ""
    """Id of that person's account; empty where the name is no member's."""

    @property
    def people(self) -> frozenset[str]:
        """Names and accounts of whoever acted, in one spelling; a program's own name where it named nobody."""
        named = {self.person, self.named, self.account}
        return _folded(named if self.vouches else named | {self.actor})

    @property
    def hands(self) -> frozenset[str]:
        """Everybody whose doing it may have been: the people, the credential, and whoever has seen its secret."""
        return self.people | _folded({self.actor}) | _folded(self.key_makers)

    @property
    def vouches(self) -> bool:
        """Whether a program, which is no person, names one."""
        return bool(self.person) and not self.account

    def to_json(self) -> dict[str, str]:
        """What is kept of an act. Makers are looked up when it counts: the trail that names them is never changed."""
        return {"account": self.account, "actor": self.actor, "person": self.person, "key": self.key, "named": self.named}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> "Party":
        """The party as it was kept, its makers unknown."""
        actor, person, account, key, named = (str(kept.get(name) or "") for name in ("actor", "person", "account", "key", "named"))
        return cls(actor, person, account, key, named=named)


def party_of(by: Principal) -> Party:
    """The principal as a party, its makers unknown."""
    return Party(by.name, by.on_behalf_of, str(by.user_id or ""), str(by.key_id or ""), named=str(by.named_id or ""))


def trace(by: Principal) -> dict[str, str]:
    """What an audit event has to keep beside actor and person, so that four eyes can tell later who held the credential."""
    known = {"account": str(by.user_id or ""), "key": str(by.key_id or ""), "named": str(by.named_id or "")}
    return {name: value for name, value in known.items() if value}


def same_person(one: Party, other: Party, *, vouching: bool = False) -> bool:
    """Whether both may be one human being. It does not matter which of the two asked and which approves.

    They are when they share a name, an account, a credential, or somebody who made the key of either; and when somebody who may stand
    behind one of them added the other as a member. With `vouching`, a program vouches for the people it names: it may bring what one
    of them asks and what another one answers, but never both for one.
    """
    if vouching and one.vouches and other.vouches:
        return bool(one.people & other.people)
    return bool(one.hands & other.hands or one.hands & _folded(other.adders) or _folded(one.adders) & other.hands)


def _folded(names: frozenset[str] | set[str]) -> frozenset[str]:
    return frozenset(one_spelling(name) for name in names if name)
