"""Splits: what rows became, whether something in them gives the answer away, and the form that cuts a file."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString

from experiments.models import Split
from experiments.queries.splits import moves_of, splits, studies_of, study_counts
from experiments.screens.histograms import columns_of
from experiments.screens.split_forms import PARTS, SplitForm
from experiments.services import splitting
from experiments.services.splitting import find_split
from experiments.states import SplitStatus
from mlops.admin_site import page, principal_of, show, show_refusal
from mlops.artifacts.uploads import path_of
from mlops.database.reading import reading
from mlops.errors import DomainError
from mlops.jobs.models import Job
from mlops.moments import when
from mlops.waiting import subject
from registry.services.reading import UnreadableFile

PER_PAGE = 25
SHOWN_COLUMNS = 200
CRUMB = "Splits"
SIGNS = {"\t": "tab", ",": "comma", ";": "semicolon", "|": "bar", " ": "space", "True": "yes", "False": "no"}


@page("training/splits/", name="experiments_splits")
def split_list(request: HttpRequest) -> HttpResponse:
    """All splits, newest first, with what rests on each. Three queries."""
    found = Paginator(splits(), PER_PAGE).get_page(request.GET.get("page"))
    rows = list(found)
    counts = study_counts([one.pk for one in rows])
    return show(
        request,
        "experiments/splits.html",
        title="Splits",
        found=found,
        rows=[(one, counts.get(one.pk, 0)) for one in rows],
        sentence=_sentence_of_list(found.paginator.count, rows),
        may_write=principal_of(request).may("split.write"),
    )


@transaction.non_atomic_requests
@page("training/splits/create/", name="experiments_split_create", action="split.write", file_limit="MAX_DATASET_BYTES")
def create_split(request: HttpRequest) -> HttpResponse:
    """Take a file and have a job cut it."""
    principal = principal_of(request)
    principal.authorize("split.write")
    form = SplitForm(request.POST or None, request.FILES or None)
    problems: list[dict[str, Any]] = []
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            made = splitting.split_file(
                name=given["name"],
                plan=splitting.plan_of(form.plan()),
                path=path_of(given["file"]),
                file_name=given["file"].name or "unnamed",
                by=principal,
                at=timezone.now(),
                description=given["description"],
            )
        except UnreadableFile as refusal:
            form.add_error("file", "The file cannot be used as it is. Nothing was kept.")
            problems = refusal.extra()["problems"]
        except DomainError as refusal:
            show_refusal(form, refusal)
        else:
            messages.success(request, f"{made} is being cut; this page says when it is ready.")
            return redirect("admin:experiments_split", made.pk)
    with reading():
        return show(
            request,
            "registry/form.html",
            title="Cut a file into train, validation and test",
            crumbs=[(CRUMB, reverse("admin:experiments_splits")), ("New", "")],
            form=form,
            text="The file is read in a process of its own. The parts never change afterwards, so results stay comparable.",
            button="Cut it",
            problems=problems,
            multipart=True,
        )


@page("training/splits/<uuid:pk>/", name="experiments_split")
def split_page(request: HttpRequest, pk: UUID) -> HttpResponse:
    """What was found in the rows, the parts, the columns, and what rests on them. Four queries."""
    principal, split = principal_of(request), find_split(pk)
    job = _job(split)
    columns = columns_of(split.profile, _roles(split))
    return show(
        request,
        "experiments/split_page.html",
        title=split.name,
        crumbs=[(CRUMB, reverse("admin:experiments_splits")), (split.name, "")],
        subject=f"split:{pk}",
        revision=split.revision,
        split=split,
        job=job,
        sentence=sentence(split),
        parts=[(part, split.parts[part], split.fractions.get(part), _bounds(split, part)) for part in PARTS if part in split.parts],
        columns=columns[:SHOWN_COLUMNS],
        more_columns=max(len(columns) - SHOWN_COLUMNS, 0),
        problems=split.problems,
        facts=_reading(split.reading),
        left_out=split.reading.get("left_out") or {},
        studies=studies_of(split),
        moves=moves_of(split),
        may_study=principal.may("study.run"),
    )


@page("training/splits/<uuid:pk>/live/", name="experiments_split_live")
def split_live(request: HttpRequest, pk: UUID) -> HttpResponse:
    """What the page of a pending split asks for until it is ready or has failed. Two queries."""
    split = find_split(pk)
    job = _job(split)
    told = {"progress": job.progress if job else 0.0, "text": job.progress_text if job else ""}
    return JsonResponse({**told, "over": split.status != SplitStatus.PENDING, "reload": split.status != SplitStatus.PENDING})


@subject("split")
def revision_of_split(pk: UUID) -> int | None:
    """Counts every change of the split."""
    return Split.objects.filter(pk=pk).values_list("revision", flat=True).first()


def sentence(split: Split) -> str:
    """Whether the rows can be learned from, in words."""
    if split.status == SplitStatus.PENDING:
        return f"{split.source_name or 'The file'} is being read and cut; this page goes on by itself when that is done."
    if split.status == SplitStatus.FAILED:
        return f"{split.source_name or 'The rows'} could not be cut: nothing learns from it. What is wrong stands below."
    rows = f"{split.rows or 0:,} rows are ready to predict {split.target} from {len(split.features)} feature{_s(len(split.features))}"
    found = len(split.warnings)
    if not found:
        return f"{rows}; nothing in them looks like a leak."
    return f"{rows}, but {found} thing{_s(found)} {'asks' if found == 1 else 'ask'} for a look before you trust a score."


def _bounds(split: Split, part: str) -> dict[str, SafeString | str]:
    """The first and last moment of a part of a split by time; midnights as days."""
    return {end: _moment(str(moment)) for end, moment in split.boundaries.get(part, {}).items()}


def _moment(text: str) -> SafeString | str:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return text
    return when(found.date() if text[10:] in ("", "T00:00:00Z") else found, "full")


def _sentence_of_list(count: int, rows: list[Split]) -> str:
    if not count:
        return "No data set was cut yet."
    waiting = sum(one.status == SplitStatus.PENDING for one in rows)
    failed = sum(one.status == SplitStatus.FAILED for one in rows)
    told = [f"{waiting} {'is' if waiting == 1 else 'are'} being cut"] * bool(waiting) + [f"{failed} could not be cut"] * bool(failed)
    return f"{count:,} split{_s(count)}{'; on this page ' + ', '.join(told) if told else ''}."


def _roles(split: Split) -> dict[str, str]:
    roles = dict.fromkeys(split.features, "feature")
    named = ((split.time_column, "time"), (split.entity_column, "entity"), (split.target, "target"))
    return roles | {name: role for name, role in named if name}


def _reading(report: dict[str, Any]) -> list[tuple[str, str]]:
    """What the reader found out about the file, as label and value."""
    plain = [(name, value) for name, value in report.items() if isinstance(value, str | int | float | bool) and value != ""]
    return [(name.replace("_", " ").capitalize(), SIGNS.get(str(value), str(value))) for name, value in plain]


def _job(split: Split) -> Job | None:
    if split.status != SplitStatus.PENDING or split.job_id is None:
        return None
    return Job.objects.filter(pk=split.job_id).first()


def _s(count: int) -> str:
    return "" if count == 1 else "s"
