"""Data sets: upload a file, see how its columns are read, correct that, see what was left out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from mlops.admin_site import page, principal_of, show, show_refusal
from mlops.artifacts.uploads import path_of
from mlops.database.reading import reading
from mlops.errors import DomainError, NotFound
from mlops.moments import when
from registry.models import Dataset, DatasetVersion, RegisteredModel
from registry.screens.mapping_form import MappingForm, ProposedMapping
from registry.services import datasets as services
from registry.services.reading import UnreadableFile

SHOWN_VERSIONS = 20


class UploadForm(forms.Form):
    """A name and a file."""

    name = forms.CharField(max_length=128, help_text="a–z, 0–9, _ . -. Example: store_sales")
    file = forms.FileField(help_text="CSV (also gzip) or Parquet: one row per item and day, one column per item, or order lines.")


class NewFileForm(forms.Form):
    """A newer file."""

    file = forms.FileField(help_text="Read under the present mapping.")


@transaction.non_atomic_requests
@page("registry/dataset/upload/", name="registry_dataset_upload", action="dataset.write", file_limit="MAX_DATASET_BYTES")
def upload(request: HttpRequest) -> HttpResponse:
    """Take a file, propose its mapping, read it."""
    principal = principal_of(request)
    principal.authorize("dataset.write")
    form = UploadForm(request.POST or None, request.FILES or None)

    def take(**file: Any) -> services.Received:
        return services.receive_dataset(name=form.cleaned_data["name"], by=principal, at=timezone.now(), **file)

    crumbs = [("Data sets", reverse("admin:registry_dataset_changelist")), ("Upload", "")]
    text = "The file is checked in a process of its own and kept as it is. Its columns are proposed; you can correct them afterwards."
    return _upload_page(request, form, take, title="Upload a data set", crumbs=crumbs, text=text)


@transaction.non_atomic_requests
@page(
    "registry/dataset/<uuid:pk>/new-version/",
    name="registry_dataset_new_version",
    action="dataset.write",
    file_limit="MAX_DATASET_BYTES",
)
def new_version(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Add a newer file."""
    principal = principal_of(request)
    principal.authorize("dataset.write")
    with reading():
        dataset = services.dataset_named(str(pk))
    form = NewFileForm(request.POST or None, request.FILES or None)

    def take(**file: Any) -> services.Received:
        return services.new_version(dataset=dataset, by=principal, at=timezone.now(), **file)

    crumbs = [*_crumbs(dataset), ("New file", "")]
    text = "The next retraining of every model that learns from this data set reads it."
    return _upload_page(request, form, take, title=f"Newer file for {dataset}", crumbs=crumbs, text=text, present=dataset.mapping)


def _upload_page(
    request: HttpRequest,
    form: forms.Form,
    take: Callable[..., services.Received],
    *,
    present: dict[str, Any] | None = None,
    **shown: Any,
) -> HttpResponse:
    """Let `take` have the file. If it is refused, the page shows the mapping it was read under, or that was proposed, beside the problems:
    a mapping is corrected there, and the file chosen again. `present`: the mapping that holds where none is sent."""
    mapping = ProposedMapping.sent(request.POST)
    problems: list[dict[str, Any]] = []
    if request.method == "POST" and form.is_valid() and (mapping is None or mapping.is_valid()):
        source, source_name = _file(form)
        try:
            received = take(source=source, source_name=source_name, mapping=mapping.mapping() if mapping else None)
        except DomainError as refusal:
            problems = _refuse(form, refusal)
            mapping = _to_correct(mapping, refusal, present)
        else:
            messages.success(request, _said(received))
            return redirect("admin:registry_dataset_page", received.version.dataset_id)
    if mapping:
        shown["text"] = "Correct the file, or how its columns are read, and choose it again."
    with reading():
        return show(request, "registry/upload.html", form=form, mapping=mapping, problems=problems, **shown)


def _to_correct(tried: ProposedMapping | None, refusal: DomainError, present: dict[str, Any] | None) -> ProposedMapping | None:
    """The mapping to show after a refusal; none for a file that is no table, or one too wide for a form."""
    if not isinstance(refusal, UnreadableFile):
        return tried
    proposal = refusal.extra().get("proposal")
    if proposal is None:
        return None
    if tried is not None and tried.is_for(proposal["columns"]):
        return tried
    found = ProposedMapping(mapping=present or proposal["mapping"] or {}, columns=proposal["columns"])
    return found if found.whole else None


@transaction.non_atomic_requests
@page("registry/dataset/<uuid:pk>/", name="registry_dataset_page", action="dataset.write")
def dataset_page(request: HttpRequest, pk: UUID) -> HttpResponse:
    """How the file is read, what came out, and the form that reads it differently; POST reads it again."""
    principal = principal_of(request)
    with reading():
        dataset = services.dataset_named(str(pk))
        versions = list(dataset.versions.order_by("-number").defer("profile")[:SHOWN_VERSIONS])
        newest = DatasetVersion.objects.filter(dataset=dataset).order_by("-number").first()
        models = list(RegisteredModel.objects.order_by("name")[:200])
    if newest is None:
        raise NotFound("This data set has no version.")
    columns = newest.profile.get("columns", [])
    form = MappingForm(request.POST or None, mapping=newest.mapping, columns=columns, editable=principal.may("dataset.write"))
    problems: list[dict[str, Any]] = []
    if request.method == "POST":
        principal.authorize("dataset.write")
        if form.is_valid():
            try:
                received = services.remap(dataset=dataset, mapping=form.mapping(), by=principal, at=timezone.now())
            except DomainError as refusal:
                problems = _refuse(form, refusal)
            else:
                messages.success(request, _said(received))
                return redirect("admin:registry_dataset_page", pk)
    with reading():
        return show(
            request,
            "registry/dataset_page.html",
            title=f"Data set {dataset.name}",
            crumbs=_crumbs(dataset),
            dataset=dataset,
            newest=newest,
            versions=versions,
            form=form,
            problems=problems,
            report=newest.report,
            warnings=newest.report.get("problems", []),
            columns=columns,
            preview=newest.profile.get("preview", []),
            users=[one for one in models if one.dataset_id == dataset.pk],
            others=[one for one in models if one.dataset_id != dataset.pk and one.task == RegisteredModel.Task.FORECAST],
            sentence=_sentence(newest),
            may_write=principal.may("dataset.write"),
            may_configure=principal.may("model.configure"),
        )


def _sentence(version: DatasetVersion) -> SafeString | str:
    if version.status == "received":
        return f"Version {version.number} is being read; this page knows more in a moment."
    if version.status == "failed":
        return f"Version {version.number} could not be read. Nothing learns from it; the problems stand below."
    left = sum(version.report.get("left_out", {}).values())
    return format_html(
        "Version {} is ready: {} days of {} series, {} to {}; {}.",
        version.number,
        f"{version.rows:,}",
        f"{version.series:,}",
        when(version.first_day),
        when(version.last_day),
        f"{left:,} rows were left out" if left else "no row was left out",
    )


def _file(form: forms.Form) -> tuple[Path, str]:
    file = form.cleaned_data["file"]
    return path_of(file), file.name or "unnamed"


def _said(received: services.Received) -> str:
    if received.repeated:
        return "Nothing was added: the newest version already was this file, read this way."
    if received.job:
        return "The file is large, so a job reads it; the overview shows the progress."
    return f"{received.version} is ready: {received.version.rows:,} rows of {received.version.series:,} series."


def _refuse(form: forms.Form, refusal: DomainError) -> list[dict[str, Any]]:
    """Put the refusal on the form; the problems found in the file, if that is why."""
    if isinstance(refusal, UnreadableFile):
        form.add_error(None, "The file cannot be used as it is. Nothing was kept.")
        problems: list[dict[str, Any]] = refusal.extra()["problems"]
        return problems
    show_refusal(form, refusal)
    return []


def _crumbs(dataset: Dataset) -> list[tuple[str, str]]:
    return [
        ("Data sets", reverse("admin:registry_dataset_changelist")),
        (dataset.name, reverse("admin:registry_dataset_page", args=[dataset.pk])),
    ]
