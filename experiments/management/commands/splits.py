"""Splits: data sets cut into train, validation and test."""

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser
from rest_framework import serializers

from engine.tabular.columns import PARTS, TASKS
from engine.tabular.splitting import STRATEGIES
from experiments.api.training.split_answers import split_detail, split_row
from experiments.api.training.split_bodies import DEFAULT_FRACTIONS, NewSplitBody, RecordsField, SplitChanges
from experiments.cli import following
from experiments.cli.checked import as_id, checked, json_value, readable, wrong
from experiments.cli.frame import Act, ActsCommand, Call, Refusal, page_of, paging_arguments
from experiments.cli.output import Column
from experiments.models import Split
from experiments.queries.splits import splits
from experiments.services import splitting
from experiments.states import SplitStatus
from mlops.database.reading import reading
from mlops.jobs.models import Job

COLUMNS: list[Column] = [
    ("id", "id"),
    ("name", "name"),
    ("status", "status"),
    ("task", "task"),
    ("target", "target"),
    ("strategy", "strategy"),
    ("rows", "rows"),
    ("created", "created_at"),
]
FACTS = ("id", "name", "description", "status", "task", "target", "strategy", "fractions", "seed", "rows", "created_by", "created_at")
PROFILE: list[Column] = [("column", "name"), ("role", "role"), ("kind", "kind"), ("missing", "missing"), ("distinct", "distinct")]
PLAN = ("name", "description", "target", "task", "strategy", "seed", "entity_column", "time_column", "features")


class _Plan(NewSplitBody):
    """A split without its source, which comes another way here."""

    records = None  # type: ignore[assignment]  # how REST framework drops an inherited field
    file = None  # type: ignore[assignment]
    uri = None  # type: ignore[assignment]

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """The parser has seen to it that there is one source."""
        return attrs


class _Rows(serializers.Serializer[Any]):
    records = RecordsField()


def create(call: Call) -> None:
    """Cut a table: records at once, a file or what a URI names by a job."""
    asked = call.given(*PLAN)
    if call.options["fractions"] is not None:
        asked["fractions"] = dict(zip(PARTS, call.options["fractions"], strict=True))
    body = checked(_Plan, asked)
    common: dict[str, Any] = {
        "name": body["name"],
        "description": body.get("description", ""),
        "plan": splitting.plan_of({"fractions": DEFAULT_FRACTIONS, **body}),
        "by": call.by,
        "at": call.at,
    }
    split = _from_source(call, common)
    if split.job_id and (call.options["wait"] or call.options["here"]):
        job = Job.objects.get(pk=split.job_id)
        if call.options["here"]:
            following.do_here([job])
        else:
            following.follow([job.pk])
        with reading():
            split = splitting.find_split(split.pk)
    _show(call, split)
    if split.status == SplitStatus.FAILED:
        problems = [{"field": one["column"] or "source", "message": one["message"]} for one in split.problems if one["severity"] == "error"]
        raise Refusal(f"{split} could not be made.", code="unreadable_file", errors=problems)


def _from_source(call: Call, common: dict[str, Any]) -> Split:
    if call.options["records"] is not None:
        rows = json_value(f"@{call.options['records']}", argument="--records")
        return splitting.split_records(records=checked(_Rows, {"records": rows})["records"], **common)
    if call.options["uri"] is not None:
        return splitting.split_uri(uri=call.options["uri"], **common)
    path = readable(call.options["file"], argument="--file")
    return splitting.split_file(path=path, file_name=path.name, **common)


def read(call: Call) -> None:
    """One split with the profile of its columns."""
    _show(call, splitting.find_split(call.options["id"]))


def list_splits(call: Call) -> None:
    """Splits, newest first."""
    found = splits().filter(**call.given("status", "task"))
    rows, count = page_of(call, found)
    call.out.rows([split_row(row) for row in rows], COLUMNS, count=count)


def update(call: Call) -> None:
    """Rename or describe."""
    changes = checked(SplitChanges, call.given("name", "description"))
    if not changes:
        raise wrong("--name", "Give a --name or a --description.")
    split = splitting.change_split(split_id=call.options["id"], changes=changes, by=call.by, at=call.at)
    call.out.done(f"{split} ({split.pk}) is changed.", split_row(split))


def delete(call: Call) -> None:
    """Hide it, with or without its files."""
    too = call.options["delete_artifacts"]
    splitting.delete_split(split_id=call.options["id"], by=call.by, at=call.at, delete_artifacts=too)
    call.out.done(f"Deleted {call.options['id']}.", {"id": call.options["id"], "deleted": True, "artifacts_deleted": too})


def _show(call: Call, split: Split) -> None:
    detail = split_detail(split)
    parts = {f"{name} rows": part["rows"] for name, part in detail["parts"].items()}
    call.out.facts({name: detail[name] for name in FACTS} | parts, detail)
    if not call.out.as_json and split.profile:
        call.out.rows(split.profile, PROFILE)
        for warning in split.warnings:
            call.out.tell(f"Warning: {warning['message']}")


def _id(parser: CommandParser) -> None:
    parser.add_argument("id", type=as_id, metavar="ID", help="The split's id.")


def _create_arguments(parser: CommandParser) -> None:
    parser.add_argument("--name", required=True)
    parser.add_argument("--description")
    parser.add_argument("--target", required=True, metavar="COLUMN", help="The column to predict.")
    parser.add_argument("--task", required=True, choices=TASKS)
    parser.add_argument("--strategy", choices=STRATEGIES, default="random")
    parser.add_argument("--fractions", nargs=3, type=float, metavar=("TRAIN", "VALIDATION", "TEST"), help="They sum to 1.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--entity-column", metavar="COLUMN")
    parser.add_argument("--time-column", metavar="COLUMN")
    parser.add_argument("--features", nargs="+", metavar="COLUMN", help="Default: every column but target, entity and time.")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--file", type=Path, metavar="PATH", help="CSV, gzipped CSV or Parquet on this machine.")
    source.add_argument("--uri", help="A path below an allowed root, or s3://, gs://, az://.")
    source.add_argument("--records", metavar="PATH", help="A JSON file with a list of objects.")
    following.working_arguments(parser)


def _list_arguments(parser: CommandParser) -> None:
    parser.add_argument("--status", choices=SplitStatus.values)
    parser.add_argument("--task", choices=TASKS)
    paging_arguments(parser)


def _update_arguments(parser: CommandParser) -> None:
    _id(parser)
    parser.add_argument("--name")
    parser.add_argument("--description")


def _delete_arguments(parser: CommandParser) -> None:
    _id(parser)
    parser.add_argument("--delete-artifacts", action="store_true", help="Delete the files too.")


class Command(ActsCommand):
    """`splits create|read|list|update|delete`."""

    help = __doc__
    acts = (
        Act("create", "Cut a table into train, validation and test.", create, _create_arguments, "write"),
        Act("read", "Show one split with the profile of its columns.", read, _id),
        Act("list", "List splits, newest first.", list_splits, _list_arguments),
        Act("update", "Rename or describe a split.", update, _update_arguments, "write"),
        Act("delete", "Hide a split; administrators only.", delete, _delete_arguments, "write"),
    )
