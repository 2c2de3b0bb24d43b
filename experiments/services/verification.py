"""Whether everything is as it was written: audit chain, versions and files of a customer, and what the database refuses by itself."""

from dataclasses import asdict, dataclass
from typing import Any

from django.db import DEFAULT_DB_ALIAS

from experiments.services import stored_files
from mlops.audit.services import verify
from mlops.database.checks import guards_are_installed
from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import system
from registry.services.facts import verify_versions


@dataclass(frozen=True)
class Verified:
    """What was found of one customer. `problems` are rows of customer, what and problem, for people."""

    customer_id: str
    name: str
    audit_intact: bool
    events: int
    head_digest: str
    versions: int
    files: int
    problems: list[dict[str, str]]

    def to_json(self) -> dict[str, Any]:
        """All but the problems, which are told of all customers together."""
        return {name: value for name, value in asdict(self).items() if name != "problems"}


def verify_customer(customer: Customer) -> Verified:
    """Walk the customer's audit chain, hold its versions against it, and read every file its rows name. Raises what the storage raises."""
    with acting(system(customer.pk)):
        trail = verify()
        versions, unfaithful = verify_versions()
        files, findings = stored_files.verify(digests=True)
    problems = [{"what": one.label, "problem": one.problem} for one in unfaithful]
    problems += [{"what": f"{one.what} ({one.path})", "problem": one.problem} for one in findings]
    if not trail.intact:
        problems.insert(0, {"what": f"audit trail, event {trail.first_bad_number}", "problem": trail.problem})
    named = [{"customer": customer.name, **one} for one in problems]
    return Verified(str(customer.pk), customer.name, trail.intact, trail.events, trail.head_digest, versions, files, named)


def missing_guards() -> list[str]:
    """What the database does not refuse although it should: triggers, policies, the role's limits."""
    return [str(message.msg) for message in guards_are_installed([DEFAULT_DB_ALIAS])]
