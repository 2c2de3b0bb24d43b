"""Who may do what: the one table that decides, and the one function that asks it."""

from dataclasses import dataclass, replace
from typing import Literal
from uuid import UUID

from django.db.models import TextChoices


class Role(TextChoices):
    """Roles of people and keys. Each human role includes those before it; a service stands outside the ladder."""

    VIEWER = "viewer", "Viewer"
    DATA_SCIENTIST = "data_scientist", "Data scientist"
    ML_MANAGER = "ml_manager", "ML manager"
    ADMIN = "admin", "Administrator"
    SERVICE = "service", "Service"

    @classmethod
    def human_choices(cls) -> list[tuple[str, str]]:
        """Roles a person can have."""
        return [(role.value, str(role.label)) for role in cls if role is not cls.SERVICE]

    def includes(self, other: "Role") -> bool:
        """Whether this role may do what `other` may."""
        if Role.SERVICE in (self, other):
            return self is other
        return _LADDER.index(self) >= _LADDER.index(other)


_LADDER = [Role.VIEWER, Role.DATA_SCIENTIST, Role.ML_MANAGER, Role.ADMIN]

ACTIONS: dict[str, Role] = {
    # Whatever is not listed is refused.
    "read": Role.VIEWER,
    "job.cancel": Role.DATA_SCIENTIST,
    "dataset.write": Role.DATA_SCIENTIST,
    "dataset.delete": Role.ADMIN,
    "model.register": Role.DATA_SCIENTIST,
    "model.configure": Role.ML_MANAGER,
    "version.register": Role.DATA_SCIENTIST,
    "version.shadow": Role.DATA_SCIENTIST,
    "version.challenge": Role.DATA_SCIENTIST,
    "version.judge": Role.DATA_SCIENTIST,
    "version.promote": Role.ML_MANAGER,
    "version.rollback": Role.ML_MANAGER,
    "version.archive": Role.ML_MANAGER,
    "promotion_request.decide": Role.ML_MANAGER,
    "policy_request.decide": Role.ML_MANAGER,
    "model.retrain": Role.DATA_SCIENTIST,
    "model.actuals": Role.DATA_SCIENTIST,
    "alert.read": Role.VIEWER,
    "alert.act": Role.ML_MANAGER,
    "subscription.own": Role.VIEWER,
    "channel.manage": Role.ADMIN,
    "split.write": Role.DATA_SCIENTIST,
    "split.delete": Role.ADMIN,
    "study.run": Role.DATA_SCIENTIST,
    "study.delete": Role.ADMIN,
    "model.predict": Role.VIEWER,
    "version.delete": Role.ADMIN,
    "storage.clean": Role.ADMIN,
    "experiment.propose": Role.DATA_SCIENTIST,
    "experiment.comment": Role.DATA_SCIENTIST,
    "experiment.run": Role.DATA_SCIENTIST,
    "experiment.decide": Role.ML_MANAGER,
    "experiment.conclude": Role.ML_MANAGER,
    "audit.verify": Role.ML_MANAGER,
    "schedule.configure": Role.ADMIN,
    "member.manage": Role.ADMIN,
    "key.manage": Role.ADMIN,
}
SERVICE_ACTIONS = frozenset({"model.actuals"})
"""What a service key may do; it cannot even read the rest."""


class Forbidden(Exception):
    """The principal's role does not allow the action."""

    def __init__(self, action: str, role: Role) -> None:
        needed = ACTIONS.get(action)
        allowed = f"it needs the role {needed.value}" if needed else "nobody may"
        super().__init__(f"The role {role.value} may not {action.replace('.', ' ').replace('_', ' ')}: {allowed}.")
        self.action = action


class IdentityMismatch(Exception):
    """A body named another person than the one who is authenticated."""

    def __init__(self, named: str) -> None:
        super().__init__(
            f"You are authenticated as somebody else than {named}; only an admin key, or a key without a person, may name another one."
        )


@dataclass(frozen=True)
class Principal:
    """Whoever acts: a person in a browser, a key, or the system itself."""

    kind: Literal["user", "key", "system"]
    name: str
    role: Role
    customer_id: UUID
    user_id: UUID | None = None
    on_behalf_of: str = ""
    key_id: UUID | None = None

    def may(self, action: str) -> bool:
        """Whether the action is allowed."""
        if self.kind == "system":
            return True
        if self.role is Role.SERVICE:
            return action in SERVICE_ACTIONS
        needed = ACTIONS.get(action)
        return needed is not None and self.role.includes(needed)

    def authorize(self, action: str) -> None:
        """Raise Forbidden unless the action is allowed."""
        if not self.may(action):
            raise Forbidden(action, self.role)

    def naming(self, person: str) -> "Principal":
        """This principal acting for the person a body names.

        People, in a session or with a key of their own, name only themselves, by e-mail or account id. A key without a person is a
        programme's: it names whom it acts for, and so does an admin key; the key stays the recorded actor. Raises IdentityMismatch.
        """
        if not person or person.casefold() == self.name.casefold() or person == str(self.user_id):
            return self
        if self.kind == "key" and (self.user_id is None or self.role is Role.ADMIN):
            return replace(self, on_behalf_of=person)
        raise IdentityMismatch(person)


def system(customer_id: UUID, name: str = "system") -> Principal:
    """The principal of scheduled and automatic work."""
    return Principal(kind="system", name=name, role=Role.ADMIN, customer_id=customer_id)
