"""Jobs. A platform table: workers and the relay serve all customers; the accessors of `queries` and `services` scope it."""

import uuid

from django.db import models
from django.db.models import Q
from django_celery_beat.models import PeriodicTask


class JobState(models.TextChoices):
    """queued → running → succeeded | failed | cancelled; a running job whose worker died is queued again, with the next attempt."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


OPEN = (JobState.QUEUED, JobState.RUNNING)


class Job(models.Model):
    """One piece of long work. `attempt` is the fence: whoever holds an older number can no longer write."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    customer = models.ForeignKey("tenancy.Customer", on_delete=models.PROTECT, related_name="+")
    kind = models.CharField(max_length=60)
    payload = models.JSONField(default=dict)
    label = models.CharField(max_length=200, help_text="What it works on, for people.")
    state = models.CharField(max_length=12, choices=JobState.choices, default=JobState.QUEUED)
    progress = models.FloatField(default=0.0)
    progress_text = models.CharField(max_length=200, blank=True)
    attempt = models.PositiveSmallIntegerField(default=0)
    max_attempts = models.PositiveSmallIntegerField(default=3)
    due_at = models.DateTimeField(help_text="Not published before; pushed on while the broker has it.")
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    exclusive_key = models.CharField(max_length=200, blank=True, help_text="At most one open job has it.")
    schedule = models.CharField(max_length=200, blank=True)
    slot = models.DateTimeField(null=True, blank=True, help_text="The firing of the schedule that this job is.")
    requested_by = models.CharField(max_length=254)
    request_id = models.CharField(max_length=64, blank=True)
    result = models.JSONField(default=dict)
    last_error = models.TextField(blank=True)
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "jobs"
        ordering = ("-created_at", "id")
        constraints = [
            models.CheckConstraint(condition=Q(state__in=JobState.values), name="job_state_is_known"),
            models.UniqueConstraint(
                fields=["customer", "exclusive_key"], condition=Q(state__in=OPEN) & ~Q(exclusive_key=""), name="one_open_job_per_key"
            ),
            models.UniqueConstraint(fields=["customer", "schedule", "slot"], condition=Q(slot__isnull=False), name="a_slot_fires_once"),
        ]
        indexes = [
            models.Index(fields=["due_at"], condition=Q(state="queued"), name="jobs_due"),
            models.Index(fields=["lease_expires_at"], condition=Q(state="running"), name="jobs_leased"),
            models.Index(fields=["customer", "-created_at"], name="jobs_by_customer"),
        ]

    def __str__(self) -> str:
        return f"{self.kind}: {self.label}"


class Schedule(models.Model):
    """Whose schedule a celery-beat row is; its members edit that row in the admin."""

    customer = models.ForeignKey("tenancy.Customer", on_delete=models.CASCADE, related_name="schedules")
    periodic_task = models.OneToOneField("django_celery_beat.PeriodicTask", on_delete=models.CASCADE, related_name="tiltyard_schedule")
    job = models.CharField(max_length=60, help_text="The scheduled job's short name.")

    class Meta:
        db_table = "schedules"
        ordering = ("job", "id")
        constraints = [models.UniqueConstraint(fields=["customer", "job"], name="one_schedule_per_customer_and_job")]

    def __str__(self) -> str:
        return self.job


class ScheduledTask(PeriodicTask):
    """A celery-beat row as the admin shows it: by our names, where the library's would hold the customer's id and the crontab."""

    class Meta:
        proxy = True
        verbose_name = "schedule"

    def __str__(self) -> str:
        job: str = self.tiltyard_schedule.job
        return job.replace("_", " ").capitalize()
