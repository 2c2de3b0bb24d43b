"""What the page of one model rests on: both sides of the arena, the verdict, and what happened so far."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import OuterRef, Q, Subquery

from mlops.errors import NotFound
from mlops.lifecycle.models import Move
from registry.models import (
    DatasetVersion,
    DecisionRecord,
    ModelVersion,
    PromotionRequest,
    RegisteredModel,
    RetrainingRun,
    Verdict,
)
from registry.rules.arena import fails_gates
from registry.rules.policy import Policy, parse
from registry.states import CONTENDERS, DatasetVersionStatus, RequestStatus, VersionStatus

ASKED = {"id": "pk", "kind": "kind", "version": "version__version", "by": "requested_by", "at": "requested_at", "reason": "reason"}
"""What the page says of the oldest request that waits, read with the model itself."""
SHOWN_VERSIONS = 100
SHOWN_MOVES = 30
SHOWN_RETRAININGS = 12


@dataclass(frozen=True)
class Arena:
    """The model, its champion, the version it is compared with, and the verdict on that."""

    model: RegisteredModel
    versions: list[ModelVersion]
    champion: ModelVersion | None
    chosen: ModelVersion | None
    verdict: Verdict | None
    reverse: Verdict | None
    """The newest verdict the other way round: on the champion, against the chosen version."""
    verdicts: dict[Any, Verdict]
    """The newest verdict of each version, whoever it was against."""
    policy: Policy

    @property
    def gates_failed(self) -> bool:
        """Whether the chosen version may be crowned only past gates that failed; see `fails_gates`."""
        return fails_gates(self.champion, passed=bool(self.verdict and self.verdict.passed))

    @property
    def barred(self) -> bool:
        """Whether the policy lets nobody past the failed gates just so: a promotion needs an override, a rollback an emergency."""
        return self.gates_failed and self.policy.enforce_gates

    @property
    def forecasts(self) -> bool:
        """Whether it is judged by backtests, not by the rows of a test part."""
        return self.model.task == RegisteredModel.Task.FORECAST

    @property
    def first(self) -> bool:
        """Whether nobody serves yet, so that there is nobody to beat."""
        return self.champion is None


def arena_of(model_id: UUID, label: str = "") -> Arena:
    """The model and the version to compare: the one named, else the newest challenger, else the newest that competes at all.

    Three queries. Raises NotFound.
    """
    data = DatasetVersion.objects.filter(dataset=OuterRef("dataset"), status=DatasetVersionStatus.READY).order_by("-number")
    newest = {f"data_{name}": Subquery(data.values(name)[:1]) for name in ("number", "rows", "series", "last_day")}
    waiting = PromotionRequest.objects.filter(model=OuterRef("pk"), status=RequestStatus.PENDING).order_by("requested_at", "pk")
    asked = {f"asked_{name}": Subquery(waiting.values(path)[:1]) for name, path in ASKED.items()}
    model = RegisteredModel.objects.select_related("dataset").annotate(**newest, **asked).filter(pk=model_id).first()
    if model is None:
        raise NotFound("There is no such model.")
    versions = list(
        model.versions.select_related("dataset_version__dataset", "parent")
        .defer("reference_statistics")
        .order_by("-number")[:SHOWN_VERSIONS]
    )
    champion = next((one for one in versions if one.status == VersionStatus.CHAMPION), None)
    if champion is None or (label and all(one.version != label for one in versions)):
        versions += _beyond(model, label, versions)
        champion = next((one for one in versions if one.status == VersionStatus.CHAMPION), None)
    chosen = _chosen(versions, label)
    verdicts: dict[Any, Verdict] = {}
    between: dict[Any, Verdict] = {}
    for one in Verdict.objects.filter(version__in=versions).order_by("-created_at", "pk")[:500]:
        verdicts.setdefault(one.version_id, one)
        between.setdefault((one.version_id, one.against_id), one)
    high, low = champion.pk if champion else None, chosen.pk if chosen else None
    verdict, reverse = (between.get((low, high)), between.get((high, low))) if chosen else (None, None)
    return Arena(model, versions, champion, chosen, verdict, reverse, verdicts, parse(model.policy))


def moves_of(model: RegisteredModel) -> list[Move]:
    """The latest moves of the model's versions, each annotated with its evidence record's id and flags. One query."""
    records = DecisionRecord.objects.filter(audit_number=OuterRef("audit_number"))
    flags = {f"decision_{name}": Subquery(records.values(name)[:1]) for name in ("pk", "override", "emergency", "automatic")}
    return list(Move.objects.filter(stream_id=model.pk).annotate(**flags).order_by("-sequence")[:SHOWN_MOVES])


def promotions_of(model_id: UUID) -> list[Move]:
    """The latest promotions of the model's versions, rollbacks among them: what time axes mark. One query."""
    return list(Move.objects.filter(stream_id=model_id, target=VersionStatus.CHAMPION).order_by("-sequence")[:SHOWN_MOVES])


def last_move(model: RegisteredModel) -> Move | None:
    """Who moved a version of this model last: what a decision that came too late is told."""
    return Move.objects.filter(stream_id=model.pk).order_by("-sequence").first()


def retrainings_of(model: RegisteredModel) -> list[RetrainingRun]:
    """The latest retrainings, newest first. One query."""
    return list(model.retrainings.select_related("produced").order_by("-started_at", "id")[:SHOWN_RETRAININGS])


def _beyond(model: RegisteredModel, label: str, known: Sequence[ModelVersion]) -> list[ModelVersion]:
    """The champion or the named version, where they are older than what the page lists."""

    wanted = model.versions.filter(Q(status=VersionStatus.CHAMPION) | Q(version=label)).exclude(pk__in=[one.pk for one in known])
    return list(wanted.select_related("dataset_version__dataset", "parent").order_by("-number"))


def _chosen(versions: Sequence[ModelVersion], label: str) -> ModelVersion | None:
    rivals = [one for one in versions if one.status != VersionStatus.CHAMPION]
    named = next((one for one in rivals if one.version == label), None)
    if named is not None:  # else nobody, the champion itself or an unknown one was named, and the page chooses
        return named
    standing = [one for one in rivals if one.status in CONTENDERS]
    challengers = [one for one in standing if one.status == VersionStatus.CHALLENGER]
    return next(iter([*challengers, *standing]), None)
