"""Registering a version from the browser: its numbers, and its file where there is one."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone

from mlops.admin_site import page, principal_of, show, show_refusal
from mlops.artifacts.uploads import path_of
from mlops.database.reading import reading
from mlops.errors import DomainError, Duplicate
from mlops.form_fields import ObjectField
from registry.models import ModelVersion
from registry.queries.versions import versions_of
from registry.screens.models import model_crumbs, model_of
from registry.screens.places import model_page_of
from registry.services.registration import register_version

SHOWN_PARENTS = 200
"""Of the select, the newest; an older one is named by the API."""
WILL = (
    "It becomes a candidate: it is compared, and serves nobody. A file is first loaded in a process of its own and kept under its digest; "
    "one that is not sound is refused, and nothing is registered."
)


class VersionForm(forms.Form):
    """A new version; everything is optional."""

    version = forms.CharField(required=False, max_length=64, label="Label", help_text="Of your own, e.g. 2.1.0; else v1, v2, … in order.")
    algorithm = forms.CharField(required=False, max_length=40, help_text="Empty: what the file says.")
    parent = forms.ChoiceField(required=False, help_text="The version it goes on from.")
    file = forms.FileField(
        required=False,
        help_text="LightGBM text, XGBoost UBJSON, CatBoost CBM, ONNX, skops, or a forecaster's JSON. Without one it lives elsewhere.",
    )
    metrics = ObjectField(empty_value={}, help_text='JSON, as measured where it was trained: {"mae": 1.27, "wape": 0.21}')
    hyperparameters = ObjectField(empty_value={}, label="Hyper-parameters", help_text='JSON: {"num_leaves": 63}')
    notes = forms.CharField(required=False, max_length=10_000, widget=forms.Textarea(attrs={"rows": 3}))

    def __init__(self, *args: Any, parents: list[ModelVersion], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        offered = [(str(one.pk), f"{one.version} · {one.get_status_display()}") for one in parents]
        self.fields["parent"].choices = [("", "None"), *offered]  # type: ignore[attr-defined]  # it is a choice

    @property
    def groups(self) -> list[tuple[str, list[forms.BoundField]]]:
        """The fields under their headings."""
        wanted = (
            ("The version", ("version", "algorithm", "parent", "file")),
            ("What is known of it", ("metrics", "hyperparameters", "notes")),
        )
        return [(heading, [self[name] for name in names]) for heading, names in wanted]


@transaction.non_atomic_requests
@page(
    "registry/registeredmodel/<uuid:pk>/register-version/",
    name="registry_version_register",
    action="version.register",
    file_limit="MAX_ARTIFACT_BYTES",
)
def register(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Take the numbers and the file, and register a candidate. No transaction is open while a file is tried."""
    principal = principal_of(request)
    principal.authorize("version.register")
    with reading():
        model = model_of(pk)
        parents = list(versions_of(model)[:SHOWN_PARENTS])
    sent = (request.POST, request.FILES) if request.method == "POST" else ()
    form = VersionForm(*sent, parents=parents)
    if request.method == "POST" and form.is_valid():
        given = dict(form.cleaned_data)
        file = given.pop("file")
        try:
            made = register_version(
                model=model,
                by=principal,
                at=timezone.now(),
                label=given.pop("version"),
                parent=next((one for one in parents if str(one.pk) == given["parent"]), None),
                artifact=path_of(file) if file else None,
                **{name: given[name] for name in ("algorithm", "metrics", "hyperparameters", "notes")},
            )
        except Duplicate as taken:
            form.add_error("version", str(taken))
        except DomainError as refusal:
            show_refusal(form, refusal)
        else:
            messages.success(request, f"{made.version} is registered as a candidate. Judge it to see how it compares.")
            return redirect(model_page_of(made))
    with reading():
        return show(
            request,
            "registry/form.html",
            title=f"Register a version of {model}",
            crumbs=[*model_crumbs(model), ("Register a version", "")],
            form=form,
            text=WILL,
            button="Register it",
            multipart=True,
        )
