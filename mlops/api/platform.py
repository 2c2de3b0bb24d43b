"""`/api/v1/me`, `/jobs` and `/audit`."""

from typing import Any
from uuid import UUID

import django_filters
from django.db.models import Q, QuerySet
from django.http import Http404
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from mlops.api.bodies import NoBody
from mlops.api.moments import UntilFilter
from mlops.api.views import ApiView, ListView
from mlops.audit.models import AuditEvent
from mlops.audit.verifying import verify_and_keep
from mlops.jobs.models import Job, JobState
from mlops.jobs.queries import jobs
from mlops.jobs.services import cancel
from mlops.tenancy.models import Customer
from mlops.tenancy.roles import ACTIONS


class MeSerializer(serializers.Serializer[Any]):
    """Who the server takes you for."""

    kind = serializers.CharField()
    name = serializers.CharField()
    role = serializers.CharField()
    customer_id = serializers.UUIDField()
    customer_name = serializers.CharField()
    may = serializers.ListField(child=serializers.CharField())


class Me(ApiView):
    """The principal behind the credential."""

    @extend_schema(responses=MeSerializer)
    def get(self, request: Request) -> Response:
        """Who you are, and what you may do."""
        who = self.principal(request)
        customer = Customer.objects.get(pk=who.customer_id)
        may = [action for action in ACTIONS if who.may(action)]
        body = {
            "kind": who.kind,
            "name": who.name,
            "role": who.role.value,
            "customer_id": customer.pk,
            "customer_name": customer.name,
            "may": may,
        }
        return Response(MeSerializer(body).data)


class JobSerializer(serializers.ModelSerializer[Job]):
    """A job, without the platform's inner columns."""

    status = serializers.CharField(source="state", read_only=True)

    class Meta:
        model = Job
        fields = (
            "id",
            "status",
            "kind",
            "label",
            "progress",
            "progress_text",
            "attempt",
            "max_attempts",
            "lease_expires_at",
            "last_error",
            "result",
            "requested_by",
            "schedule",
            "slot",
            "created_at",
            "started_at",
            "finished_at",
        )
        read_only_fields = fields


class JobFilter(django_filters.FilterSet):
    """Filters of the list of jobs."""

    status = django_filters.ChoiceFilter(field_name="state", choices=JobState.choices)
    kind = django_filters.CharFilter()

    class Meta:
        model = Job
        fields = ("status", "kind")


class Jobs(ListView):
    """Long work of your customer, newest first."""

    filterset_class = JobFilter
    ordering_fields = ("created_at", "finished_at")
    search_fields = ("label", "kind", "requested_by")
    row_serializer = JobSerializer

    @extend_schema(responses=JobSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List jobs. One COUNT and one SELECT."""
        return self.page(request, jobs())


class JobDetail(ApiView):
    """One job."""

    @extend_schema(responses=JobSerializer)
    def get(self, request: Request, job_id: str) -> Response:
        """Status, progress, attempt, lease, last error."""
        return Response(JobSerializer(_job(job_id)).data)


class JobCancel(ApiView):
    """Stopping a job."""

    actions_by_method = {"POST": "job.cancel"}

    @extend_schema(request=None, responses=JobSerializer)
    def post(self, request: Request, job_id: str) -> Response:
        """Ask for the job to stop; a queued one ends at once, a running one at its next step. 409 `already_ended` after that."""
        self.body(NoBody, request)
        return Response(JobSerializer(cancel(job=_job(job_id), at=timezone.now(), by=self.principal(request))).data)


def _job(job_id: str) -> Job:
    try:
        job = jobs().filter(pk=UUID(job_id)).first()
    except ValueError:
        job = None
    if job is None:
        raise Http404("There is no such job.")
    return job


class AuditSerializer(serializers.ModelSerializer[AuditEvent]):
    """One event of the trail."""

    class Meta:
        model = AuditEvent
        fields = (
            "id",
            "number",
            "actor",
            "actor_kind",
            "on_behalf_of",
            "action",
            "object_type",
            "object_id",
            "object_label",
            "before",
            "after",
            "reason",
            "request_id",
            "occurred_at",
            "digest",
        )
        read_only_fields = fields


class AuditFilter(django_filters.FilterSet):
    """Filters of the trail."""

    actor = django_filters.CharFilter(method="by_person")
    since = django_filters.IsoDateTimeFilter(field_name="occurred_at", lookup_expr="gte")
    until = UntilFilter(field_name="occurred_at", lookup_expr="lt")

    class Meta:
        model = AuditEvent
        fields = ("actor", "action", "object_type", "object_id", "request_id")

    def by_person(self, events: QuerySet[AuditEvent], name: str, person: str) -> QuerySet[AuditEvent]:
        """What they did themselves, and what was done on their behalf."""
        return events.filter(Q(actor=person) | Q(on_behalf_of=person))


class Audit(ListView):
    """The audit trail, newest first."""

    filterset_class = AuditFilter
    ordering_fields = ("number", "occurred_at")
    search_fields = ("object_label", "reason", "actor", "on_behalf_of")
    row_serializer = AuditSerializer

    @extend_schema(responses=AuditSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List events. One COUNT and one SELECT."""
        return self.page(request, AuditEvent.objects.defer("canonical").order_by("-number"))


class VerificationSerializer(serializers.Serializer[Any]):
    """What walking the chain found."""

    intact = serializers.BooleanField()
    events = serializers.IntegerField()
    head_digest = serializers.CharField()
    problem = serializers.CharField()
    first_bad_number = serializers.IntegerField(allow_null=True)


class AuditVerify(ApiView):
    """Proof that nobody rewrote the trail."""

    actions_by_method = {"GET": "audit.verify"}

    @extend_schema(responses=VerificationSerializer)
    def get(self, request: Request) -> Response:
        """Walk the whole chain. O(events). The screen tells when that was last done, and what it found."""
        return Response(VerificationSerializer(verify_and_keep(at=timezone.now())).data)
