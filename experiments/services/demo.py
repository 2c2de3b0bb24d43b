"""The demo tenant: people, data, a champion and a challenger that were really trained and judged."""

import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from experiments.services.retraining import request_retrain
from mlops.database.reading import reading
from mlops.jobs import runner
from mlops.jobs.models import Job, JobState
from mlops.jobs.services import request
from mlops.tenancy import services as tenancy
from mlops.tenancy.models import ApiKey, Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Role, system
from registry.models import DatasetVersion, RegisteredModel, RetrainingRun
from registry.rules.policy import parse
from registry.services import accuracy
from registry.services.datasets import import_path
from registry.services.lookups import DEFAULT_MODEL
from registry.services.model_settings import configure_model, register_model
from registry.states import RetrainingStatus, Trigger

PEOPLE = {
    "admin@example.com": Role.ADMIN,
    "manager@example.com": Role.ML_MANAGER,
    "second.manager@example.com": Role.ML_MANAGER,
    "scientist@example.com": Role.DATA_SCIENTIST,
    "viewer@example.com": Role.VIEWER,
}
WORSE = {"kind": "lightgbm", "rounds": 3, "num_leaves": 4}
"""A deliberately bad recipe: it has to end as challenger."""
WORSE_REASON = "A deliberately worse recipe: it has to stay challenger."
KEY_NAME = "demo"
LEAST_BACKTEST_DAYS = 14

Report = Callable[[str], None]


class DemoFailed(RuntimeError):
    """A step of the demo did not succeed; the message says which and why."""


@dataclass(frozen=True)
class Access:
    """How to get in: passwords by e-mail, and an API key."""

    logins: dict[str, str]
    api_key: str


def demo_customer(*, at: datetime) -> Customer:
    """The demo tenant, made if it is not there."""
    return Customer.objects.filter(pk=tenancy.DEMO_CUSTOMER).first() or tenancy.create_customer(
        name="Demo Retail", customer_id=tenancy.DEMO_CUSTOMER, at=at
    )


def grant_access(customer: Customer, *, at: datetime) -> Access:
    """Give every demo person a new random password, and the demo a new API key (the old one is revoked)."""
    logins = {}
    for email, role in PEOPLE.items():
        logins[email] = secrets.token_urlsafe(12)
        user = tenancy.create_member(customer=customer, email=email, role=role, password=None, at=at).user
        user.set_password(logins[email])
        user.save(update_fields=["password"])
    by = system(customer.pk)
    with acting(by):
        for key in ApiKey.objects.filter(customer=customer, name=KEY_NAME, revoked_at=None):
            tenancy.revoke_api_key(key=key, at=at, by=by)
    # A program's key: it may name people, as the examples in the docs do.
    _, secret = tenancy.create_api_key(customer=customer, role=Role.ML_MANAGER, name=KEY_NAME, user=None, at=at)
    return Access(logins, secret)


def seed(*, path: Path, synthetic: bool, sundays: int, report: Report, at: datetime) -> None:
    """Import the data, then live through the last `sundays` weeks: baseline, first training, weekly retrains, a worse candidate.

    Every number comes from real training on the data; nothing is made up. Where an earlier call was interrupted, this one goes on. Raises
    DemoFailed, or what reading the data raises.
    """
    by = system(tenancy.DEMO_CUSTOMER, name="demo")
    with acting(by):
        report("reading the data")
        title = "Demand forecast on synthetic data" if synthetic else "Demand forecast"
        model = _model() or register_model(name=DEFAULT_MODEL, display_name=title, domain="retail", by=by, at=at)
        received = import_path(name=dataset_name(path), path=path, by=by, at=at, model=model, trusted=True)
        with reading():
            model.refresh_from_db()
        data = received.version
        for line in told_of(data):
            report(line)
        _check_begin(data, sundays)
        _shorten_backtest(model, data, report=report)
        for as_of in replay_days(data, sundays):
            if not _is_done(_reason(as_of)):
                live_through(model, as_of, report=report)
        report("training a deliberately worse candidate")
        retrain(model, as_of=None, recipe=WORSE, reason=WORSE_REASON, report=report)


def told_of(data: DatasetVersion) -> list[str]:
    """What was read and how, a line each: the size, what each column was taken for, what was left alone, filled or doubtful."""
    mapping, found = data.mapping, data.report
    target = mapping.get("target")
    roles = [f"the day from {mapping.get('date')!r}", f"demand from {target!r}" if target else "demand from the other columns"]
    roles += [f"{role} from {mapping[role]!r}" for role in ("price", "promotion", "stock") if mapping.get(role)]
    roles += [f"one series per {' × '.join(mapping['keys'])}"] if mapping.get("keys") else ["one series"]
    named = {mapping.get(role) for role in ("date", "target", "price", "promotion", "stock", "order")}
    named |= {name for role in ("keys", "attributes", "segments", "known") for name in mapping.get(role) or ()}
    columns = [column["name"] for column in data.profile.get("columns", [])] if mapping.get("shape") != "wide" else []
    unused = [name for name in columns if name not in named]
    lines = [f"{data.rows:,} rows, {data.series} series, {data.first_day} to {data.last_day}", f"read as: {', '.join(roles)}"]
    if unused:
        lines.append(f"not used: {', '.join(unused[:20])}")
    if found.get("filled_days"):
        taken = "unknown" if mapping.get("missing_days") == "unknown" else "zero sales"
        lines.append(f"days without a row, counted per series and taken as {taken}: {found['filled_days']:,}")
    return lines + [f"{problem['severity']}: {problem['message']}" for problem in found.get("problems", [])]


def _shorten_backtest(model: RegisteredModel, data: DatasetVersion, *, report: Report) -> None:
    """Judge on a quarter of the days where the usual window would be most of them."""
    days = (data.last_day - data.first_day).days + 1 if data.first_day and data.last_day else 0
    if days >= 2 * parse(model.policy).backtest_days:
        return
    window = max(LEAST_BACKTEST_DAYS, days // 4)
    by = system(tenancy.DEMO_CUSTOMER, name="demo")
    configure_model(
        model=model, changes={"policy": {"backtest_days": window}}, by=by, at=timezone.now(), reason=f"The data has {days} days."
    )
    with reading():
        model.refresh_from_db()
    report(f"only {days} days: versions are judged on the last {window}")


def dataset_name(path: Path) -> str:
    """A name for the data set, made from the file's or folder's."""
    slug = re.sub(r"[^a-z0-9]+", "_", path.stem.lower()).strip("_")[:100]
    return slug or "demand"


def _reason(as_of: date) -> str:
    return f"Simulated Sunday: the data as it was on {as_of}."


def _is_done(reason: str) -> bool:
    with reading():
        return RetrainingRun.objects.filter(model_name=DEFAULT_MODEL, reason=reason, status=RetrainingStatus.COMPLETED).exists()


def _model() -> RegisteredModel | None:
    with reading():
        return RegisteredModel.objects.filter(name=DEFAULT_MODEL).first()


def replay_days(data: DatasetVersion, sundays: int) -> Iterator[date]:
    """The last Sundays before the data's end, then its last day."""
    if data.last_day is None:
        return
    back = (data.last_day.weekday() + 1) % 7
    last_sunday = data.last_day - timedelta(days=back or 7)
    yield from (last_sunday - timedelta(weeks=weeks) for weeks in range(sundays - 1, -1, -1))
    yield data.last_day


def _check_begin(data: DatasetVersion, sundays: int) -> None:
    begin = next(replay_days(data, sundays), None)
    if begin is not None and data.first_day is not None and begin <= data.first_day:
        why = f"The data begins on {data.first_day}; {sundays} Sundays before its end, on {begin}, nothing was known yet. Name fewer."
        raise DemoFailed(why)


def live_through(model: RegisteredModel, as_of: date, *, report: Report) -> RetrainingRun:
    """One simulated Sunday: validate the days since, look for drift, retrain on what was known."""
    validated = accuracy.validate_new_days(model=model, at=timezone.now(), through=as_of)
    if validated.get("days"):
        report(f"{as_of}: validated {validated['days']} days of {validated['version']}; {_look_for_drift(model)}")
    return retrain(model, as_of=as_of, recipe=None, reason=_reason(as_of), report=report)


def retrain(model: RegisteredModel, *, as_of: date | None, recipe: dict[str, Any] | None, reason: str, report: Report) -> RetrainingRun:
    """Retrain in this process, through the same job as everywhere. Raises DemoFailed if the job does not succeed."""
    by = system(tenancy.DEMO_CUSTOMER, name="demo")
    run = request_retrain(model=model, trigger=Trigger.MANUAL, by=by, at=timezone.now(), as_of=as_of, recipe=recipe, reason=reason)
    if run.job_id is None:
        raise DemoFailed("The retraining has no job.")
    _do(run.job_id, "retraining")
    with reading():
        run.refresh_from_db()
    report(f"{as_of or 'all data'}: {run.metadata['verdict']}")
    return run


def _look_for_drift(model: RegisteredModel) -> str:
    """Check in this process, through the same job as every night, which screens read what was found from."""
    kind = "detect_model_drift"
    by = system(tenancy.DEMO_CUSTOMER, name="demo")
    with transaction.atomic():
        job = request(kind=kind, payload={}, label=kind.replace("_", " "), by=by, at=timezone.now(), exclusive_key=kind)
    found = _do(job.pk, "drift check").result["models"].get(model.name, {})
    return str(found.get("said", "drift is not checked outside the schedule"))


def _do(job_id: UUID, what: str) -> Job:
    runner.run(job_id=job_id, attempts=0)
    job = Job.objects.get(pk=job_id)
    if job.state != JobState.SUCCEEDED:
        raise DemoFailed(f"The {what} ended as {job.state}: {job.last_error}")
    return job


def is_seeded() -> bool:
    """Whether the demo has had its last training and nothing more is to be done."""
    with acting(system(tenancy.DEMO_CUSTOMER)):
        return _is_done(WORSE_REASON)


def seeded_from() -> str:
    """The name of the file or folder that the demo's model learnt from; empty without any."""
    with acting(system(tenancy.DEMO_CUSTOMER)), reading():
        names = DatasetVersion.objects.filter(dataset__models__name=DEFAULT_MODEL).order_by("-number").values_list("source_name", flat=True)
        return names.first() or ""
