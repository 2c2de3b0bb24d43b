"""Versions: one by the names people use, many newest first, and how they got where they are."""

from collections.abc import Iterable
from uuid import UUID

from django.db.models import F, QuerySet

from mlops.errors import NotFound
from mlops.lifecycle.models import Move
from mlops.storable import storable
from registry.models import ModelVersion, RegisteredModel
from registry.queries.models import HEAVY, find_model
from registry.services.lookups import as_uuid, labels_meant, version_of


def versions_of(model: RegisteredModel) -> QuerySet[ModelVersion]:
    """A model's versions, newest first, without their heavy columns."""
    return ModelVersion.objects.filter(model=model).defer(*HEAVY).order_by("-number", "pk")


def find_version(model_reference: str, reference: str) -> ModelVersion:
    """A version of a model, with `model` and `parent_label`: one query where both are named as usual. Raises NotFound."""
    version = None
    if storable(model_reference) and storable(reference) and not as_uuid(model_reference):
        related = ModelVersion.objects.select_related("model").annotate(parent_label=F("parent__version")).order_by()
        identifier = as_uuid(reference)
        wanted = {"pk": identifier} if identifier else {"version__in": labels_meant(reference)}
        found = {one.version: one for one in related.filter(model__name=model_reference, **wanted)}
        version = found.get(reference) or next(iter(found.values()), None)
    # What was not found that way may be named by ids, or is not there: the slower look-up says which of the two names is wrong.
    return version or version_of(find_model(model_reference), reference)


def find_version_id(model_reference: str, reference: str) -> UUID:
    """The id of what `find_version` finds, without its columns: for acts, which read it again under the lock."""
    if storable(model_reference) and storable(reference) and not (as_uuid(model_reference) or as_uuid(reference)):
        labels = labels_meant(reference)
        named = ModelVersion.objects.filter(model__name=model_reference, version__in=labels)
        ids: dict[str, UUID] = dict(named.order_by().values_list("version", "pk"))
        for label in labels:
            if label in ids:
                return ids[label]
    return find_version(model_reference, reference).pk


def version_anywhere(reference: str, model_name: str, *, named: bool) -> ModelVersion:
    """A version by its id, whatever its model unless one was `named`, or by its label within the model. Raises NotFound."""
    identifier = as_uuid(reference)
    if identifier and not named:
        version = ModelVersion.objects.filter(pk=identifier).select_related("model").first()
        if version is not None:
            return version
        raise NotFound("There is no version with this id.")
    return find_version(model_name, reference)


def moves_of(versions: Iterable[ModelVersion]) -> dict[UUID, list[Move]]:
    """Every move of these versions, oldest first. One query."""
    found: dict[UUID, list[Move]] = {}
    for made in Move.objects.filter(object_id__in=[version.pk for version in versions]).order_by("sequence"):
        found.setdefault(made.object_id, []).append(made)
    return found
