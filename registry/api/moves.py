"""Moves of a version: promote, shadow, challenge, archive, roll back, judge."""

from collections.abc import Callable
from typing import Any, ClassVar

from django.urls import reverse
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from mlops.api.bodies import NoBody
from mlops.api.views import ApiView
from mlops.jobs.models import Job
from registry.api.answers import GateAnswer, VerdictAnswer, VersionAnswer, verdict_row, version_row
from registry.api.bodies import ActBody, PromoteAnywhereBody, PromoteBody, RollbackBody
from registry.api.doors import answer, condition, job_address, model_name_of, named_by
from registry.api.evidence import RequestAnswer, request_row
from registry.models import ModelVersion
from registry.queries.versions import find_version, find_version_id, version_anywhere
from registry.services import moves
from registry.services.judging_requests import request_judgement
from registry.services.promotion import Outcome, promote, rollback


class PromotionAnswer(serializers.Serializer[Any]):
    """What became of a promotion: `promoted`, or `pending` a second pair of eyes (202)."""

    outcome = serializers.ChoiceField(choices=["promoted", "pending"])
    message = serializers.CharField()
    model_name = serializers.CharField()
    version = serializers.CharField()
    version_id = serializers.UUIDField()
    status = serializers.CharField()
    former_champion = serializers.CharField(allow_null=True)
    promoted_at = serializers.DateTimeField(allow_null=True)
    override = serializers.BooleanField(help_text="It went through although a gate failed or had no input.")
    gates = GateAnswer(many=True)
    verdict = VerdictAnswer(allow_null=True)
    decision_id = serializers.UUIDField(allow_null=True)
    promotion_request = RequestAnswer(allow_null=True)


def promotion_answer(outcome: Outcome) -> Response:
    """200 with the decision, or 202 with the request and where it is decided."""
    version, decision, request = outcome.version, outcome.decision, outcome.request
    model = version.model
    former = decision.former_champion if decision else None
    pending = outcome.kind == "pending"
    body = {
        "outcome": outcome.kind,
        "message": f"{version} waits for another manager's decision." if pending else f"{version} is the champion now.",
        "model_name": model.name,
        "version": version.version,
        "version_id": version.pk,
        "status": version.status,
        "former_champion": former.version if former else None,
        "promoted_at": version.promoted_at,
        "override": bool(decision and decision.override),
        "gates": outcome.verdict.gates if outcome.verdict else [],
        "verdict": verdict_row(outcome.verdict) if outcome.verdict else None,
        "decision_id": decision.pk if decision else None,
        "promotion_request": request_row(request) if request else None,
    }
    location = reverse("promotion-request", kwargs={"request_id": str(request.pk)}) if request and pending else ""
    return answer(model, body, status=202 if pending else 200, location=location)


class PromoteAnywhere(ApiView):
    """Promotion of a version that the path names alone."""

    actions_by_method = {"POST": "version.promote"}
    takes_precondition = True
    query_parameters = ("model_name",)

    @extend_schema(
        operation_id="models_promote_anywhere", request=PromoteAnywhereBody, responses={200: PromotionAnswer, 202: PromotionAnswer}
    )
    def post(self, request: Request, version: str) -> Response:
        """Make a version champion, by its id, or by its label within `model_name` (query or body; default `demand_forecast`)."""
        body = self.body(PromoteAnywhereBody, request)
        model_name, named = model_name_of(request, body)
        body.pop("model_name", None)
        by = named_by(self.principal(request), body, "user_id")
        found = version_anywhere(version, model_name, named=named)
        return promotion_answer(promote(version_id=found.pk, by=by, at=timezone.now(), if_match=condition(request), **body))


class Promote(ApiView):
    """Promotion."""

    actions_by_method = {"POST": "version.promote"}
    takes_precondition = True

    @extend_schema(request=PromoteBody, responses={200: PromotionAnswer, 202: PromotionAnswer})
    def post(self, request: Request, model_name: str, version: str) -> Response:
        """Make a version champion; the former one is deprecated. The answer has the gates, and says where one was overridden."""
        body = self.body(PromoteBody, request)
        by = named_by(self.principal(request), body, "user_id")
        version_id = find_version_id(model_name, version)
        return promotion_answer(promote(version_id=version_id, by=by, at=timezone.now(), if_match=condition(request), **body))


class Rollback(ApiView):
    """Rollback."""

    actions_by_method = {"POST": "version.rollback"}
    takes_precondition = True

    @extend_schema(request=RollbackBody, responses={200: PromotionAnswer, 202: PromotionAnswer})
    def post(self, request: Request, model_name: str, version: str) -> Response:
        """Make a former champion champion again. Past enforced gates that failed (409 `gates_failed`) only as an `emergency`."""
        body = self.body(RollbackBody, request)
        by = named_by(self.principal(request), body, "user_id")
        version_id = find_version_id(model_name, version)
        return promotion_answer(rollback(version_id=version_id, by=by, at=timezone.now(), if_match=condition(request), **body))


class _PlainMove(ApiView):
    takes_precondition = True
    service: ClassVar[Callable[..., ModelVersion]]

    @extend_schema(request=ActBody, responses=VersionAnswer)
    def post(self, request: Request, model_name: str, version: str) -> Response:
        """Make the move; 409 `illegal_transition` names what is allowed instead."""
        body = self.body(ActBody, request)
        by = named_by(self.principal(request), body, "user_id")
        version_id = find_version_id(model_name, version)
        moved = type(self).service(version_id=version_id, by=by, at=timezone.now(), if_match=condition(request), **body)
        return answer(moved.model, version_row(moved))


class Shadow(_PlainMove):
    """The version predicts beside the champion every day and answers nobody."""

    actions_by_method = {"POST": "version.shadow"}
    service = staticmethod(moves.shadow)


class Challenge(_PlainMove):
    """The version competes."""

    actions_by_method = {"POST": "version.challenge"}
    service = staticmethod(moves.challenge)


class Archive(_PlainMove):
    """The version is rejected or retired, for good; needs a reason."""

    actions_by_method = {"POST": "version.archive"}
    service = staticmethod(moves.archive)


class JudgingAnswer(serializers.Serializer[Any]):
    """A judgement that is being made."""

    job_id = serializers.UUIDField()
    status = serializers.CharField()
    location = serializers.CharField()
    message = serializers.CharField()


class Judge(ApiView):
    """The arena."""

    actions_by_method = {"POST": "version.judge"}

    @extend_schema(request=None, responses={200: VerdictAnswer, 202: JudgingAnswer})
    def post(self, request: Request, model_name: str, version: str) -> Response:
        """Judge the version against the champion: the verdict (200), or the job that backtests both first (202). Nobody is moved."""
        self.body(NoBody, request)
        found = find_version(model_name, version)
        made = request_judgement(version_id=found.pk, by=self.principal(request), at=timezone.now())
        if not isinstance(made, Job):
            return Response(verdict_row(made))
        return accepted(made, f"{found} and the champion are being backtested on the same data.")


def accepted(job: Job, message: str) -> Response:
    """202, saying where to look."""
    location = job_address(job.pk)
    body = {"job_id": job.pk, "status": job.state, "location": location, "message": message}
    return Response(body, status=202, headers={"Location": location})
