"""A command of several acts: who acts, for which customer, what comes out, and the exit codes. The acts call the services of the API.

Exit codes: 0 done; 1 refused or failed; 2 an argument that cannot be used; 3 not found; 4 not allowed; 130 interrupted.
"""

import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID, uuid4

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.utils import InterfaceError, OperationalError
from django.utils import timezone
from obstore.exceptions import BaseError

from experiments.cli.output import Output, as_json, inert
from mlops.api.problems import storage_trouble
from mlops.artifacts.storage import DigestMismatch, ObjectMissing
from mlops.database.reading import reading
from mlops.errors import DomainError, InvalidField, InvalidFields, NotFound
from mlops.telemetry.context import COMMAND_LINE, ambient_request
from mlops.telemetry.quiet import warnings_only
from mlops.tenancy.management.arguments import customer_of
from mlops.tenancy.models import Customer, User
from mlops.tenancy.principals import acting, membership_of
from mlops.tenancy.roles import Forbidden, IdentityMismatch, Principal, Role, system
from mlops.tenancy.services import DEMO_CUSTOMER

REFUSED, USAGE, NOT_FOUND, NOT_ALLOWED, INTERRUPTED = 1, 2, 3, 4, 130
LONGEST_LIST = 1_000

Arguments = Callable[[CommandParser], None]


class Refusal(CommandError):
    """An expected end that is not the one wished for."""

    def __init__(self, message: str, *, code: str, returncode: int = REFUSED, errors: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(message, returncode=returncode)
        self.code, self.errors = code, list(errors)

    def for_people(self) -> str:
        """The message, and a line for each thing that is wrong."""
        lines = [f"Error: {self}", *(f"  {one.get('field', '')}: {one.get('message', '')}" for one in self.errors)]
        return inert("\n".join(lines))

    def for_programs(self) -> str:
        """The same as one JSON object."""
        return as_json({"error": {"code": self.code, "detail": str(self), "errors": self.errors, "exit_code": self.returncode}})


@dataclass(frozen=True)
class Call:
    """One act as it was asked for."""

    by: Principal
    options: Mapping[str, Any]
    out: Output

    @property
    def at(self) -> datetime:
        """Now."""
        return timezone.now()

    def given(self, *names: str) -> dict[str, Any]:
        """Those of the options that were given."""
        return {name: self.options[name] for name in names if self.options.get(name) is not None}


@dataclass(frozen=True)
class Act:
    """A word (or two) after the command's name.

    `scope` is `read`: one reading transaction; `look`: reads that open their own; `write`: somebody acts, and `--as` says who; `nobody`: no
    customer is needed, there may be none.
    """

    name: str
    help: str
    do: Callable[[Call], None]
    arguments: Arguments = lambda _: None
    scope: Literal["read", "look", "write", "nobody"] = "read"


def shared_arguments(parser: CommandParser) -> None:
    """`--json`, `--customer`, `--as`."""
    json_argument(parser)
    parser.add_argument("--customer", type=UUID, metavar="UUID", help="For whom; by default the demo's customer, or the only one.")
    parser.add_argument("--as", dest="acting_as", metavar="EMAIL", help="The member who acts. Every act that changes something needs it.")


def json_argument(parser: CommandParser) -> None:
    """`--json`."""
    parser.add_argument("--json", dest="as_json", action="store_true", help="Print JSON, as the API answers it; refusals too.")


class ActsCommand(BaseCommand):
    """Base of the commands `splits`, `experiments`, `models`, `db` and `maintenance`."""

    acts: tuple[Act, ...] = ()
    shared: Callable[[CommandParser], None] = staticmethod(shared_arguments)
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """One parser for each act, with the arguments that all share."""
        add_acts(parser, self.acts, self.shared)

    def execute(self, *args: Any, **options: Any) -> Any:
        """Do the act; a refusal is told on standard error and by the exit code."""
        quiet = from_shell(self) and options["verbosity"] < 2
        with warnings_only() if quiet else nullcontext(), ended(self, options):
            return super().execute(*args, **options)

    def handle(self, *args: Any, **options: Any) -> None:
        """Find out who acts and for whom, then act."""
        act: Act = options["act"]
        out = output_of(self, as_json=options["as_json"])
        if act.scope == "nobody":
            act.do(Call(system(DEMO_CUSTOMER, name="command line"), options, out))
            return
        customer = _customer(options["customer"])
        by = _principal(options["acting_as"], customer, act)
        call = Call(by, options, out)
        with acting(by), ambient_request(f"{COMMAND_LINE}{uuid4()}"):
            if act.scope == "read":
                with reading():
                    act.do(call)
            else:
                act.do(call)


def add_acts(parser: CommandParser, acts: Sequence[Act], shared: Arguments) -> None:
    """A subparser for each act; acts of two words stand below a subparser of the first."""
    top = parser.add_subparsers(required=True, metavar="ACT", title="acts")
    groups: dict[str, Any] = {}
    for act in acts:
        *group, word = act.name.split()
        if group and group[0] not in groups:
            below = top.add_parser(group[0], help=f"{group[0]} …")
            groups[group[0]] = below.add_subparsers(required=True, metavar="ACT", title="acts")
        one = (groups[group[0]] if group else top).add_parser(word, help=act.help, description=act.help)
        act.arguments(one)
        shared(one)
        one.set_defaults(act=act)


def paging_arguments(parser: CommandParser) -> None:
    """`--limit`, `--page`."""
    parser.add_argument("--limit", type=whole(1, LONGEST_LIST), default=20, metavar="N", help=f"Rows a page, up to {LONGEST_LIST}.")
    parser.add_argument("--page", type=whole(1, 1_000_000), default=1, metavar="N", help="Which page; the first is 1.")


def whole(lowest: int, highest: int) -> Callable[[str], int]:
    """An argument's type: a whole number within bounds."""

    def number(text: str) -> int:
        value = int(text)
        if not lowest <= value <= highest:
            raise ValueError(text)
        return value

    number.__name__ = f"whole number from {lowest} to {highest}"
    return number


def page_of(call: Call, queryset: Any) -> tuple[list[Any], int]:
    """The rows of the page that was asked for, and how many there are on all pages."""
    start = (call.options["page"] - 1) * call.options["limit"]
    return list(queryset[start : start + call.options["limit"]]), queryset.count()


def output_of(command: BaseCommand, *, as_json: bool) -> Output:
    """The command's standard output and error."""
    return Output(command.stdout.write, command.stderr.write, as_json, terminal=command.stdout.isatty() and not as_json)


def from_shell(command: BaseCommand) -> bool:
    """Whether a shell runs the command, not Python: Django's own flag, which has no public name."""
    return bool(getattr(command, "_called_from_command_line", False))


@contextmanager
def ended(command: BaseCommand, options: Mapping[str, Any]) -> Iterator[None]:
    """What the services refuse, as exit codes. Called from Python instead of a shell, the Refusal itself is raised."""
    try:
        with refusals(options):
            yield
    except Refusal as refusal:
        if not from_shell(command):
            raise
        command.stderr.style_func = None
        command.stderr.write(refusal.for_programs() if options.get("as_json") else refusal.for_people())
        sys.exit(refusal.returncode)
    except KeyboardInterrupt:
        command.stderr.write("Interrupted.")
        sys.exit(INTERRUPTED)


@contextmanager
def refusals(options: Collection[str] = ()) -> Iterator[None]:
    """Turn every expected error into a Refusal that names the option where a service names a field."""
    try:
        yield
    except NotFound as missing:
        raise Refusal(str(missing), code=missing.code, returncode=NOT_FOUND) from None
    except InvalidField as wrong:
        errors = wrong.extra().get("errors") or [{"field": wrong.field, "message": str(wrong)}]
        raise Refusal("An argument cannot be used.", code=wrong.code, returncode=USAGE, errors=_as_options(errors, options)) from None
    except InvalidFields as wrong:
        raise Refusal(str(wrong), code=wrong.code, returncode=USAGE, errors=_as_options(wrong.errors, options)) from None
    except DomainError as refusal:
        raise Refusal(str(refusal), code=refusal.code, errors=refusal.extra().get("errors", ())) from None
    except (Forbidden, IdentityMismatch) as refusal:
        raise Refusal(str(refusal), code="forbidden", returncode=NOT_ALLOWED) from None
    except DigestMismatch as refusal:
        raise Refusal(str(refusal), code="artifact_digest_mismatch") from None
    except ObjectMissing as missing:
        raise Refusal(f"A file that was registered is no longer in the storage: {missing}", code="artifact_missing") from None
    except BrokenPipeError:
        raise  # whoever read has seen enough; `mlops.command_line` ends for it
    except (OSError, BaseError) as failure:
        trouble, cause = storage_trouble(failure), str(failure).splitlines()[0][:300] if str(failure) else type(failure).__name__
        said, code = (trouble.detail, trouble.code) if trouble else ("The system refused what was asked of it.", "system_error")
        raise Refusal(f"{said} The cause: {cause}", code=code) from failure
    except (OperationalError, InterfaceError) as failure:
        raise Refusal(f"The database does not answer: {str(failure).splitlines()[0]}", code="database_unavailable") from failure


def _as_options(errors: Sequence[Mapping[str, str]], options: Collection[str]) -> list[dict[str, str]]:
    """`search_space.num_leaves.low` of a service is `--search-space.num_leaves.low` here."""
    named = []
    for error in errors:
        head = re.split(r"[.\[]", error["field"], maxsplit=1)[0]
        option = f"--{head.replace('_', '-')}{error['field'][len(head) :]}" if head in options else error["field"]
        named.append({**error, "field": option})
    return named


def _customer(given: UUID | None) -> Customer:
    try:
        return customer_of(given)
    except CommandError as unclear:
        choice = given is None and Customer.objects.exists()
        raise Refusal(str(unclear), code="customer", returncode=USAGE if choice else NOT_FOUND) from None


def _principal(email: str | None, customer: Customer, act: Act) -> Principal:
    """The member who acts; for reads without a name, whoever can log in on this machine. Raises Refusal."""
    if email is None:
        if act.scope == "write":
            raise Refusal(f"{act.name} changes something: say who acts with --as EMAIL.", code="who_acts", returncode=USAGE)
        return system(customer.pk, name="command line")
    user = User.objects.filter(email=email.strip().lower()).first()
    membership = membership_of(user, customer.pk) if user is not None and user.is_active else None
    if user is None or membership is None:
        raise Refusal(f"{email} is no member of {customer.name}.", code="forbidden", returncode=NOT_ALLOWED)
    return Principal(kind="user", name=user.email, role=Role(membership.role), customer_id=customer.pk, user_id=user.pk)
