"""Who may do what: the one table that decides, and the one function that asks it."""

from dataclasses import dataclass
from typing import Literal, NamedTuple
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


class Action(NamedTuple):
    """Something that not everybody may do: the least role it takes, and what it is in words."""

    role: Role
    deed: str


ACTIONS: dict[str, Action] = {
    # Whatever is not listed is refused.
    "read": Action(Role.VIEWER, "read here"),
    "job.cancel": Action(Role.DATA_SCIENTIST, "cancel jobs"),
    "dataset.write": Action(Role.DATA_SCIENTIST, "upload or map data sets"),
    "dataset.delete": Action(Role.ADMIN, "delete data sets"),
    "model.register": Action(Role.DATA_SCIENTIST, "register models"),
    "model.configure": Action(Role.ML_MANAGER, "change a model's settings"),
    "version.register": Action(Role.DATA_SCIENTIST, "register versions"),
    "version.shadow": Action(Role.DATA_SCIENTIST, "put versions into shadow"),
    "version.challenge": Action(Role.DATA_SCIENTIST, "let versions compete"),
    "version.judge": Action(Role.DATA_SCIENTIST, "have versions judged"),
    "version.promote": Action(Role.ML_MANAGER, "promote versions"),
    "version.rollback": Action(Role.ML_MANAGER, "roll back to a former champion"),
    "version.archive": Action(Role.ML_MANAGER, "archive versions"),
    "promotion_request.decide": Action(Role.ML_MANAGER, "decide on promotion requests"),
    "policy_request.decide": Action(Role.ML_MANAGER, "decide on policy requests"),
    "model.retrain": Action(Role.DATA_SCIENTIST, "retrain models"),
    "model.actuals": Action(Role.DATA_SCIENTIST, "send actuals"),
    "alert.read": Action(Role.VIEWER, "mark alerts as read"),
    "alert.act": Action(Role.ML_MANAGER, "approve or dismiss alerts"),
    "subscription.own": Action(Role.VIEWER, "subscribe to alerts"),
    "channel.manage": Action(Role.ADMIN, "manage channels"),
    "split.write": Action(Role.DATA_SCIENTIST, "make or change splits"),
    "split.delete": Action(Role.ADMIN, "delete splits"),
    "study.run": Action(Role.DATA_SCIENTIST, "run studies"),
    "study.delete": Action(Role.ADMIN, "delete studies"),
    "model.predict": Action(Role.VIEWER, "ask models for predictions"),
    "version.delete": Action(Role.ADMIN, "delete versions"),
    "storage.clean": Action(Role.ADMIN, "clean the storage"),
    "experiment.propose": Action(Role.DATA_SCIENTIST, "propose experiments"),
    "experiment.comment": Action(Role.DATA_SCIENTIST, "comment on experiments"),
    "experiment.run": Action(Role.DATA_SCIENTIST, "run experiments"),
    "experiment.decide": Action(Role.ML_MANAGER, "decide on experiments"),
    "experiment.conclude": Action(Role.ML_MANAGER, "conclude experiments"),
    "audit.verify": Action(Role.ML_MANAGER, "verify the audit trail"),
    "schedule.configure": Action(Role.ADMIN, "change schedules"),
    "member.manage": Action(Role.ADMIN, "manage members"),
    "key.manage": Action(Role.ADMIN, "manage API keys"),
}
SERVICE_ACTIONS = frozenset({"model.actuals"})
"""What a service key may do; it cannot even read the rest."""


class Forbidden(Exception):
    """The principal's role does not allow the action. `for_people` calls the roles as screens do, `str` as the API does."""

    def __init__(self, action: str, role: Role) -> None:
        known = ACTIONS.get(action)
        told = "The role {} may not {}: that takes the role {}." if known else "Nobody may do this."
        super().__init__(told.format(role.value, known.deed, known.role.value) if known else told)
        self.for_people = told.format(role.label, known.deed, known.role.label) if known else told
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
    named_id: UUID | None = None
    """Account of `on_behalf_of`, where that is a member."""

    def may(self, action: str) -> bool:
        """Whether the action is allowed."""
        if self.kind == "system":
            return True
        if self.role is Role.SERVICE:
            return action in SERVICE_ACTIONS
        needed = ACTIONS.get(action)
        return needed is not None and self.role.includes(needed.role)

    def authorize(self, action: str) -> None:
        """Raise Forbidden unless the action is allowed."""
        if not self.may(action):
            raise Forbidden(action, self.role)

    @property
    def may_name_others(self) -> bool:
        """Whether bodies may name another person: by a program's key or an admin key."""
        return self.kind == "key" and (self.user_id is None or self.role is Role.ADMIN)


def system(customer_id: UUID, name: str = "system") -> Principal:
    """The principal of scheduled and automatic work."""
    return Principal(kind="system", name=name, role=Role.ADMIN, customer_id=customer_id)
