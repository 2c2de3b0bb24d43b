"""Model versions: list, look, promote, archive, delete."""

from uuid import UUID

from django.core.management.base import CommandParser

from experiments.api.training.models import NO_REASON, StageBody, model_detail, model_row
from experiments.cli.checked import as_id, checked
from experiments.cli.frame import Act, ActsCommand, Call, page_of, paging_arguments
from experiments.cli.output import Column
from experiments.queries.origins import made_by
from experiments.queries.versions import find_version, statuses_in, versions
from experiments.services.predicting import STAGE_NAMES
from experiments.services.version_removal import delete_version
from mlops.database.reading import reading
from mlops.errors import InvalidField, NotFound
from registry.api.bodies import ActBody
from registry.api.moves import promotion_answer
from registry.models import ModelVersion
from registry.services.lookups import as_uuid, model_named, version_of
from registry.services.moves import archive
from registry.services.promotion import promote
from registry.states import VersionStatus

COLUMNS: list[Column] = [
    ("id", "id"),
    ("name", "name"),
    ("version", "version"),
    ("stage", "stage"),
    ("status", "status"),
    ("algorithm", "algorithm"),
    ("created", "created_at"),
    ("metrics", lambda row: dict(list(row["metrics"].items())[:4])),
]
FACTS = ("id", "name", "version", "stage", "status", "task", "algorithm", "experiment_id", "artifact_sha256", "created_by", "created_at")


def list_versions(call: Call) -> None:
    """Versions, newest first."""
    found = versions().filter(**call.given("status"))
    if call.options["name"] is not None:
        found = found.filter(model_name=call.options["name"])
    if call.options["stage"] is not None:
        found = found.filter(status__in=statuses_in(call.options["stage"]))
    if call.options["experiment_id"] is not None:
        found = found.filter(made_by(call.options["experiment_id"]))
    rows, count = page_of(call, found)
    call.out.rows([model_row(row) for row in rows], COLUMNS, count=count)


def read(call: Call) -> None:
    """One version."""
    detail = model_detail(_found(call))
    call.out.facts({name: detail[name] for name in FACTS} | detail["metrics"], detail)


def promote_version(call: Call) -> None:
    """Make it champion, or ask another manager to."""
    body = checked(StageBody, call.given("stage", "reason", "override"))
    if body.pop("stage") != "production":
        raise InvalidField("stage", "Must be production: a version is in staging until then, and archived by being archived.")
    outcome = promote(version_id=_id_of(call), by=call.by, at=call.at, **body)
    with reading():
        answered = promotion_answer(outcome).data
    call.out.done(str(answered["message"]), answered)


def archive_version(call: Call) -> None:
    """Reject or retire it, for good."""
    body = checked(ActBody, call.given("reason"))
    version = archive(version_id=_id_of(call), by=call.by, at=call.at, reason=body["reason"].strip() or NO_REASON)
    with reading():
        whole = model_detail(find_version(version.pk))
    call.out.done(f"{version} is archived.", whole)


def delete(call: Call) -> None:
    """Archive and hide it, with or without its file."""
    too, reason = call.options["delete_artifacts"], checked(ActBody, call.given("reason")).get("reason", "")
    version = delete_version(version_id=_id_of(call), by=call.by, at=call.at, delete_artifacts=too, reason=reason)
    call.out.done(
        f"{version} is deleted.", {"id": version.pk, "deleted": True, "artifacts_deleted": version.artifact_deleted_at is not None}
    )


def _id_of(call: Call) -> UUID:
    with reading():
        return _found(call).pk


def _found(call: Call) -> ModelVersion:
    """The version named by its id, or as NAME:VERSION. Raises NotFound."""
    reference: str = call.options["version"]
    identifier = as_uuid(reference)
    if identifier is not None:
        return find_version(identifier)
    name, _, label = reference.partition(":")
    if not label:
        raise NotFound(f"{reference} is neither an id nor NAME:VERSION.")
    return find_version(version_of(model_named(name), label).pk)


def _version(parser: CommandParser) -> None:
    parser.add_argument("version", metavar="VERSION", help="A version's id, or NAME:VERSION as in demand_forecast:v3.")


def _list_arguments(parser: CommandParser) -> None:
    parser.add_argument("--stage", choices=STAGE_NAMES)
    parser.add_argument("--status", choices=VersionStatus.values)
    parser.add_argument("--experiment-id", type=as_id, metavar="ID", help="The study that made it.")
    parser.add_argument("--name", help="The model's.")
    paging_arguments(parser)


def _promote_arguments(parser: CommandParser) -> None:
    _version(parser)
    parser.add_argument("--stage", choices=STAGE_NAMES, default="production")
    parser.add_argument("--reason", default="")
    parser.add_argument("--override", action="store_true", help="Go past failed gates where the policy enforces them; needs a reason.")


def _archive_arguments(parser: CommandParser) -> None:
    _version(parser)
    parser.add_argument("--reason", default="", help="It goes into the record, which says so where there is none.")


def _delete_arguments(parser: CommandParser) -> None:
    _version(parser)
    parser.add_argument("--reason", default="")
    parser.add_argument("--delete-artifacts", action="store_true", help="Delete the file too; its digest stays.")


class Command(ActsCommand):
    """`models list|read|promote|archive|delete`."""

    help = __doc__
    acts = (
        Act("list", "List versions, newest first.", list_versions, _list_arguments),
        Act("read", "Show one version.", read, _version),
        Act("promote", "Make a version champion, or ask another manager to.", promote_version, _promote_arguments, "write"),
        Act("archive", "Reject or retire a version, for good.", archive_version, _archive_arguments, "write"),
        Act("delete", "Archive and hide a version; administrators only.", delete, _delete_arguments, "write"),
    )
