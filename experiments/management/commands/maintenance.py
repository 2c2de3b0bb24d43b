"""Upkeep by hand: everything that can be verified, demo data, files that belong to nobody, a report of metrics."""

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import CommandError, CommandParser
from obstore.exceptions import BaseError as StorageError

from experiments.cli.checked import wrong
from experiments.cli.frame import NOT_FOUND, Act, ActsCommand, Call, Refusal, whole
from experiments.cli.output import Column, as_json
from experiments.queries.metrics_report import metrics_report
from experiments.services import stored_files, verification
from mlops.api.exports import quoted
from mlops.artifacts.storage import DigestMismatch, Entry
from mlops.tenancy.models import Customer

FINDINGS: list[Column] = [("path", "path"), ("belongs to", "what"), ("problem", "problem")]
VERIFIED: list[Column] = [
    ("customer", "name"),
    ("events", "events"),
    ("head", "head_digest"),
    ("intact", "audit_intact"),
    ("versions", "versions"),
    ("files", "files"),
]
PROBLEMS: list[Column] = [("customer", "customer"), ("what", "what"), ("problem", "problem")]
FILES: list[Column] = [("path", "path"), ("bytes", "size"), ("changed", "modified_at")]
LONGEST_AGE = 24 * 365


def verify_everything(call: Call) -> None:
    """Audit chains, what versions were registered with, the digest of every file, of all customers or of one; and the database's guards."""
    given = call.options["customer"]
    customers = Customer.objects.filter(**({"pk": given} if given else {})).order_by("id")
    if given and not customers:
        raise Refusal(f"There is no customer {given}.", code="customer", returncode=NOT_FOUND)
    with _storage_answers():
        stored_files.probe()
        found = [verification.verify_customer(customer) for customer in customers]
    guards = verification.missing_guards()
    problems = [
        *({"customer": "", "what": "database", "problem": guard} for guard in guards),
        *(row for one in found for row in one.problems),
    ]
    if call.out.as_json:
        call.out.value(
            {"intact": not problems, "guards_missing": guards, "customers": [one.to_json() for one in found], "problems": problems}
        )
    else:
        call.out.rows([one.to_json() for one in found], VERIFIED)
        call.out.done("The database's guards are not all in place." if guards else "The database's guards are in place.", None)
        if problems:
            call.out.rows(problems, PROBLEMS)
    if problems:
        raise Refusal(f"{len(problems)} things are not as they were written.", code="not_intact")


def verify_storage(call: Call) -> None:
    """Whether the storage answers and holds what the customer's rows name."""
    with _storage_answers():
        stored_files.probe()
        looked_at, findings = stored_files.verify(digests=call.options["digests"])
    rows = [vars(one) for one in findings]
    if call.out.as_json:
        call.out.value({"writable": True, "files": looked_at, "digests_checked": call.options["digests"], "findings": rows})
    else:
        checked = "there and unchanged" if call.options["digests"] else "there"
        call.out.done(f"The storage answers. {looked_at - len(findings)} of {looked_at} files are {checked}.", None)
        if rows:
            call.out.rows(rows, FINDINGS)
    if findings:
        raise Refusal(f"{len(findings)} of {looked_at} files are not as they were registered.", code="storage_damaged")


@contextmanager
def _storage_answers() -> Iterator[None]:
    try:
        yield
    except (StorageError, DigestMismatch, OSError) as failure:
        raise Refusal(f"The storage does not keep what it is given: {str(failure)[:500]}", code="storage_unavailable") from failure


def seed_demo_data(call: Call) -> None:
    """The demo's data, people and models. What it says on its way goes to standard error, and nothing of it where JSON is wanted."""
    path: Path | None = call.options["data"]
    if path is not None and not path.exists():
        raise wrong("--data", f"{path} does not exist.")
    try:
        call_command("seed_demo", as_json=call.out.as_json, stdout=call.out, **call.given("data", "sundays"))
    except CommandError as failure:
        raise Refusal(str(failure), code="demo_failed") from failure


def cleanup_artifacts(call: Call) -> None:
    """Files that no row names: shown, or removed with `--delete`."""
    age = timedelta(hours=call.options["older_than_hours"])
    deletes = call.options["delete"]
    call.by.authorize("storage.clean")
    found: list[Entry] = (
        stored_files.remove_orphans(by=call.by, at=call.at, age=age) if deletes else stored_files.orphans(at=call.at, age=age)
    )
    size = sum(entry.size for entry in found)
    rows = [vars(entry) for entry in found]
    if call.out.as_json:
        call.out.value({"dry_run": not deletes, "files": len(found), "bytes": size, "results": rows})
        return
    if rows:
        call.out.rows(rows, FILES)
    told = f"{len(found)} files of {size:,} bytes belong to nobody"
    call.out.done(f"{told} and were removed." if deletes else f"{told}. Nothing was removed: --delete does.", None)


def export_metrics(call: Call) -> None:
    """The metrics of every version, as CSV or JSON."""
    columns, rows = metrics_report(production_only=call.options["production_only"])
    as_text = as_json({"columns": columns, "results": rows}) + "\n" if call.out.as_json else _csv(columns, rows)
    path: Path | None = call.options["output"]
    if path is None:
        call.out.write(as_text.rstrip("\n"))
        return
    try:
        path.write_text(as_text, encoding="utf-8", newline="")
    except OSError as error:
        raise wrong("--output", f"{path} cannot be written: {error.strerror}.") from None
    call.out.tell(f"{len(rows)} versions written to {path}.")


def _csv(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> str:
    """A table that a spreadsheet can open without running anything."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([quoted(name) for name in columns])
    writer.writerows(_cells(row, columns) for row in rows)
    return text.getvalue()


def _cells(row: dict[str, Any], columns: Sequence[str]) -> Iterator[Any]:
    for name in columns:
        value = row[name]
        yield value.isoformat().replace("+00:00", "Z") if hasattr(value, "isoformat") else quoted(value)


def _verify_arguments(parser: CommandParser) -> None:
    parser.add_argument("--digests", action="store_true", help="Read every file and compare its digest; takes long.")


def _seed_arguments(parser: CommandParser) -> None:
    parser.add_argument("--data", type=Path, metavar="PATH", help="A CSV or Parquet file, or a folder of them, instead of synthetic data.")
    parser.add_argument("--sundays", type=whole(0, 520), metavar="N", help="Weeks to live through before the last day.")


def _cleanup_arguments(parser: CommandParser) -> None:
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--dry-run", action="store_true", help="Only show them, which is what happens without --delete.")
    either.add_argument("--delete", action="store_true", help="Remove them.")
    parser.add_argument("--older-than-hours", type=whole(1, LONGEST_AGE), default=24, metavar="N", help="Leave younger files. Default 24.")


def _export_arguments(parser: CommandParser) -> None:
    parser.add_argument("--output", type=Path, metavar="PATH", help="A file; standard output without it.")
    parser.add_argument("--production-only", action="store_true", help="Only champions.")


class Command(ActsCommand):
    """`maintenance verify | storage verify | seed demo-data | cleanup-artifacts | export-metrics`."""

    help = __doc__
    acts = (
        Act("verify", "Audit chains, guards and the digest of every file, of all customers.", verify_everything, scope="nobody"),
        Act("storage verify", "Whether the storage answers and holds what is registered.", verify_storage, _verify_arguments, "look"),
        Act("gcs verify", "Another name of `storage verify`.", verify_storage, _verify_arguments, "look"),
        Act("seed demo-data", "Fill the demo tenant, unless it is filled.", seed_demo_data, _seed_arguments, "nobody"),
        Act("cleanup-artifacts", "Show, or remove, stored files that belong to nobody.", cleanup_artifacts, _cleanup_arguments, "write"),
        Act("export-metrics", "The metrics of every version as CSV, or JSON.", export_metrics, _export_arguments),
    )
