"""`/api/v1/experiments`: proposals, from the idea to the decision. Studies, which share the word, have another address."""

from typing import Any
from uuid import UUID

import django_filters
from django.urls import reverse
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from experiments.api.answers import (
    CommentAnswer,
    ConclusionAnswer,
    ExperimentAnswer,
    ExperimentDetailAnswer,
    ResultsAnswer,
    comment_row,
    experiment_detail,
    results_json,
)
from experiments.api.bodies import (
    ApproveBody,
    CommentBody,
    CompleteBody,
    ExperimentChanges,
    NewExperiment,
    RejectBody,
    RollbackBody,
    ShadowTestBody,
    StepBody,
)
from experiments.models import Experiment
from experiments.queries.experiments import comments_of, experiments
from experiments.queries.results import outcome_of
from experiments.services import concluding, deciding, proposing, running
from experiments.services.finding import find_experiment
from experiments.states import Decision, ExperimentStatus, ExperimentType
from mlops.api.concurrency import etag
from mlops.api.problems import Problem
from mlops.api.views import ApiView, ListView
from mlops.errors import InvalidField, NotFound
from registry.api.doors import condition, named_by
from registry.models import ModelVersion, RegisteredModel
from registry.services.lookups import DEFAULT_MODEL, model_named, version_of


def etag_of(experiment: Experiment) -> str:
    """The validator of an experiment."""
    return etag("experiment", experiment.revision)


def detail_answer(experiment_id: UUID, *, status: int = 200, **extra: Any) -> Response:
    """The experiment as it is now, with its ETag."""
    found = find_experiment(experiment_id)
    headers = {"ETag": etag_of(found), "Location": reverse("experiment", kwargs={"experiment_id": str(found.pk)})}
    return Response(experiment_detail(found) | extra, status=status, headers=headers)


class ExperimentFilter(django_filters.FilterSet):
    """Filters of the list."""

    status = django_filters.ChoiceFilter(choices=ExperimentStatus.choices)
    experiment_type = django_filters.ChoiceFilter(choices=ExperimentType.choices)
    decision = django_filters.ChoiceFilter(choices=Decision.choices)
    model_name = django_filters.CharFilter(field_name="model__name")
    proposed_by = django_filters.CharFilter()
    approved_by = django_filters.CharFilter()

    class Meta:
        model = Experiment
        fields = ("status", "experiment_type", "decision", "model_name", "proposed_by", "approved_by")


class Experiments(ListView):
    """Proposals."""

    actions_by_method = {"POST": "experiment.propose"}
    filterset_class = ExperimentFilter
    ordering_fields = ("created_at", "updated_at", "experiment_name", "status")
    search_fields = ("experiment_name", "hypothesis")
    row_serializer = ExperimentAnswer

    @extend_schema(operation_id="experiments_list", responses=ExperimentAnswer(many=True))
    def get(self, request: Request) -> Response:
        """Experiments, newest first. Two queries."""
        return self.page(request, experiments())

    @extend_schema(operation_id="experiments_propose", request=NewExperiment, responses={201: ExperimentDetailAnswer})
    def post(self, request: Request) -> Response:
        """Propose an experiment; a manager other than the proposer decides about it."""
        body = self.body(NewExperiment, request)
        by = named_by(self.principal(request), body, "proposed_by", "user_id")
        model = _model_named(body.pop("model_name", None))
        made = proposing.propose(by=by, at=timezone.now(), model=model, **body)
        return detail_answer(made.pk, status=201)


class ExperimentDetail(ApiView):
    """One experiment."""

    actions_by_method = {"PATCH": "experiment.propose"}
    takes_precondition = True

    @extend_schema(operation_id="experiments_retrieve", responses=ExperimentDetailAnswer)
    def get(self, request: Request, experiment_id: str) -> Response:
        """The experiment with its versions and its steps."""
        return detail_answer(_known(experiment_id))

    @extend_schema(operation_id="experiments_edit", request=ExperimentChanges, responses=ExperimentDetailAnswer)
    def patch(self, request: Request, experiment_id: str) -> Response:
        """Edit a proposal that nobody has begun to work on. Editing what was approved revokes the approval."""
        body = self.body(ExperimentChanges, request)
        by = named_by(self.principal(request), body, "user_id")
        if "model_name" in body:
            body["model"] = _model_named(body.pop("model_name"))
        made = proposing.edit(
            experiment_id=_known(experiment_id), changes=body, by=by, at=timezone.now(), if_match=condition(request, "experiment")
        )
        return detail_answer(made.pk)


class Approve(ApiView):
    """Approval."""

    actions_by_method = {"PATCH": "experiment.decide"}
    takes_precondition = True

    @extend_schema(request=ApproveBody, responses=ExperimentDetailAnswer)
    def patch(self, request: Request, experiment_id: str) -> Response:
        """Let it begin. Whoever proposed or edited it is refused, administrators included (403 `four_eyes`)."""
        body = self.body(ApproveBody, request)
        by = named_by(self.principal(request), body, "approved_by", "user_id")
        made = deciding.approve(
            experiment_id=_known(experiment_id), by=by, at=timezone.now(), if_match=condition(request, "experiment"), **body
        )
        return detail_answer(made.pk)


class Reject(ApiView):
    """Rejection."""

    actions_by_method = {"PATCH": "experiment.decide"}
    takes_precondition = True

    @extend_schema(request=RejectBody, responses=ExperimentDetailAnswer)
    def patch(self, request: Request, experiment_id: str) -> Response:
        """Refuse it, for good; needs a rationale."""
        body = self.body(RejectBody, request)
        by = named_by(self.principal(request), body, "rejected_by", "user_id")
        made = deciding.reject(
            experiment_id=_known(experiment_id), by=by, at=timezone.now(), if_match=condition(request, "experiment"), **body
        )
        return detail_answer(made.pk)


class Start(ApiView):
    """The beginning of the work."""

    actions_by_method = {"PATCH": "experiment.run"}
    takes_precondition = True

    @extend_schema(request=StepBody, responses=ExperimentDetailAnswer)
    def patch(self, request: Request, experiment_id: str) -> Response:
        """Begin. Registering a version whose lineage names the experiment begins it too."""
        body = self.body(StepBody, request)
        by = named_by(self.principal(request), body, "user_id")
        why = body.get("rationale", "")
        made = running.start(
            experiment_id=_known(experiment_id), by=by, at=timezone.now(), reason=why, if_match=condition(request, "experiment")
        )
        return detail_answer(made.pk)


class ShadowTest(ApiView):
    """The shadow test."""

    actions_by_method = {"PATCH": "experiment.run"}
    takes_precondition = True

    @extend_schema(request=ShadowTestBody, responses=ExperimentDetailAnswer)
    def patch(self, request: Request, experiment_id: str) -> Response:
        """Try the candidate beside the champion. A version that is named is put into shadow."""
        body = self.body(ShadowTestBody, request)
        by = named_by(self.principal(request), body, "user_id")
        found = find_experiment(_known(experiment_id))
        made = running.shadow_test(
            experiment_id=found.pk,
            by=by,
            at=timezone.now(),
            reason=body.get("rationale", ""),
            version=_version_named(found, body.get("experimental_version", ""), ""),
            if_match=condition(request, "experiment"),
        )
        return detail_answer(made.pk)


class Complete(ApiView):
    """The end."""

    actions_by_method = {"POST": "experiment.conclude"}
    takes_precondition = True

    @extend_schema(request=CompleteBody, responses=ConclusionAnswer)
    def post(self, request: Request, experiment_id: str) -> Response:
        """Decide: adopt, adopt in part, reject or roll back. An adoption leads to a promotion through the model's gates."""
        body = self.body(CompleteBody, request)
        by = named_by(self.principal(request), body, "completed_by", "user_id")
        found = find_experiment(_known(experiment_id))
        version = _version_named(found, body.pop("experimental_version", ""), body.pop("model_name", ""))
        ended = concluding.complete(
            experiment_id=found.pk, by=by, at=timezone.now(), version=version, if_match=condition(request, "experiment"), **body
        )
        return detail_answer(found.pk, promotion=ended.promotion, promotion_message=ended.said)


class Rollback(ApiView):
    """The end of an experiment that is undone."""

    actions_by_method = {"PATCH": "experiment.conclude"}
    takes_precondition = True

    @extend_schema(request=RollbackBody, responses=ExperimentDetailAnswer)
    def patch(self, request: Request, experiment_id: str) -> Response:
        """Stop and undo it; needs a rationale."""
        body = self.body(RollbackBody, request)
        by = named_by(self.principal(request), body, "user_id")
        made = running.roll_back(
            experiment_id=_known(experiment_id), by=by, at=timezone.now(), if_match=condition(request, "experiment"), **body
        )
        return detail_answer(made.pk)


class Results(ApiView):
    """The outcome."""

    @extend_schema(operation_id="experiments_results", responses=ResultsAnswer)
    def get(self, request: Request, experiment_id: str) -> Response:
        """Baseline and experiment on the same backtest days, with the paired test; 409 `no_results` while there is nothing to show."""
        outcome = outcome_of(find_experiment(_known(experiment_id)))
        if outcome.comparison is None and not outcome.experiment.results:
            raise Problem(409, "no_results", outcome.said)
        return Response(results_json(outcome))


class Comments(ListView):
    """The discussion."""

    actions_by_method = {"POST": "experiment.comment"}
    ordering_fields = ("created_at",)
    search_fields = ("body", "author")
    row_serializer = CommentAnswer

    @extend_schema(operation_id="experiments_comments_list", responses=CommentAnswer(many=True))
    def get(self, request: Request, experiment_id: str) -> Response:
        """What was said, oldest first."""
        return self.page(request, comments_of(find_experiment(_known(experiment_id))))

    @extend_schema(operation_id="experiments_comment", request=CommentBody, responses={201: CommentAnswer})
    def post(self, request: Request, experiment_id: str) -> Response:
        """Say something. A comment is never changed."""
        body = self.body(CommentBody, request)
        by = named_by(self.principal(request), body, "author", "user_id")
        said = proposing.comment(experiment_id=_known(experiment_id), by=by, at=timezone.now(), **body)
        return Response(comment_row(said), status=201)


def _known(experiment_id: str) -> UUID:
    try:
        return UUID(experiment_id)
    except ValueError:
        raise NotFound("There is no such experiment.") from None


def _model_named(name: str | None) -> RegisteredModel | None:
    """The model a body names. Raises InvalidField."""
    if not name:
        return None
    try:
        return model_named(name)
    except NotFound as missing:
        raise InvalidField("model_name", str(missing)) from None


def _version_named(experiment: Experiment, reference: str, model_name: str) -> ModelVersion | None:
    """The version a body names, of the experiment's model, else of the model named, else of the default one. Raises InvalidField."""
    if not reference:
        return None
    if experiment.model and model_name not in ("", experiment.model.name):
        raise InvalidField("model_name", f"The experiment is about {experiment.model.name}.")
    model = experiment.model or _model_named(model_name)
    try:
        return version_of(model or model_named(DEFAULT_MODEL), reference)
    except NotFound as missing:
        raise InvalidField("experimental_version", str(missing)) from None
