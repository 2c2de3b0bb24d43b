"""Jobs and schedules for people."""

import json
from datetime import timedelta
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django_celery_beat import admin as stock_admin  # imported first, so that its own registrations come before their removal below
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextInputWidget, UnfoldBooleanSwitchWidget

from mlops.admin_lists import Opening, PlatformAdmin, ReadOnlyPlatformAdmin
from mlops.jobs import schedules, services
from mlops.jobs.cron_words import in_words
from mlops.jobs.models import OPEN, Job, JobState, Schedule, ScheduledTask
from mlops.jobs.queries import jobs
from mlops.moments import when
from mlops.sentences import counted, some
from mlops.tenancy.context import required

__all__ = ["stock_admin"]

RECENT = timedelta(days=1)

for model in (PeriodicTask, CrontabSchedule, IntervalSchedule, SolarSchedule, ClockedSchedule):
    admin.site.unregister(model)  # rows of all customers; ours below shows one customer's


@admin.register(Job)
class JobAdmin(ReadOnlyPlatformAdmin):
    """Long work: queued, running, ended."""

    list_display = ("shown_label", "shown_state", "shown_progress", "shown_request", "finished_at")
    list_filter = ("state", "kind")
    search_fields = ("label", "kind", "requested_by")
    ordering = ("-created_at", "pk")
    fields = (
        "label",
        "kind",
        "state",
        "shown_progress",
        "attempt",
        "max_attempts",
        "lease_expires_at",
        "last_error",
        "shown_result",
        "requested_by",
        "schedule",
        "slot",
        "created_at",
        "started_at",
        "finished_at",
        "cancel_requested_at",
    )
    actions = ("cancel",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        """The customer's jobs."""
        return jobs().order_by(*self.ordering)

    def opening(self, request: HttpRequest) -> Opening:
        """What runs, waits and has failed lately."""
        recent = Q(state=JobState.FAILED, finished_at__gte=timezone.now() - RECENT)
        by_state = {state: Count("pk", filter=Q(state=state)) for state in (*OPEN, JobState.FAILED)}
        now = jobs().order_by().filter(Q(state__in=OPEN) | recent).aggregate(**by_state)
        runs, waits, failed = now[JobState.RUNNING], now[JobState.QUEUED], now[JobState.FAILED]
        work = f"{counted(runs, 'job')} {'runs' if runs < 2 else 'run'}, {some(waits, 'waits', 'wait')}"
        return Opening(
            f"{capfirst(work)}; {failed or 'none'} failed in the last day.",
            "error" if failed else "check_circle",
            "bad" if failed else "",
        )

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        """For those who may stop jobs."""
        return self.principal(request).may("job.cancel")

    @admin.action(description="Stop", permissions=["cancel"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        """Ask the chosen jobs to stop."""
        ended = 0
        for job in queryset:
            try:
                services.cancel(job=job, at=timezone.now(), by=self.principal(request))
            except services.AlreadyEnded:
                ended += 1
        told = f" {ended} of the chosen had ended already." if ended else ""
        self.message_user(request, f"A queued job ends at once, a running one at its next step.{told}", messages.SUCCESS)

    @display(description="Job", ordering="label", header=True)
    def shown_label(self, job: Job) -> list[str]:
        """What it works on, and what kind of work that is."""
        return [job.label, job.kind.replace("_", " ")]

    @display(description="Asked", ordering="created_at", header=True)
    def shown_request(self, job: Job) -> list[str]:
        """When, and by whom."""
        return [when(job.created_at, "full"), job.requested_by]

    @display(
        description="State",
        ordering="state",
        label={"queued": "info", "running": "primary", "succeeded": "success", "failed": "danger", "cancelled": "warning"},
    )
    def shown_state(self, job: Job) -> str:
        """The state in color."""
        return job.state

    @display(description="Progress", ordering="progress")
    def shown_progress(self, job: Job) -> SafeString:
        """A bar, and the step it is at, or ended at short of its goal."""
        text = "" if job.state == JobState.SUCCEEDED else job.progress_text
        if text and job.state not in OPEN:
            text = f"ended at: {text}"
        bar = '<progress class="ty-progress" max="1" value="{:.3f}" aria-label="Progress of {}"></progress> <span>{}</span>'
        return format_html(bar.replace("{:.3f}", f"{job.progress:.3f}"), job.label, text)

    @display(description="Result")
    def shown_result(self, job: Job) -> SafeString:
        """What it returned."""
        return format_html('<pre class="ty-wrapped">{}</pre>', json.dumps(job.result, indent=2, ensure_ascii=False))


class ScheduleForm(forms.ModelForm):  # type: ignore[type-arg]  # Django's class takes none at run time
    """When it fires: the five fields of a crontab, in UTC."""

    minute = forms.CharField(widget=UnfoldAdminTextInputWidget, max_length=240, help_text="0 to 59, lists, ranges or * for every minute.")
    hour = forms.CharField(widget=UnfoldAdminTextInputWidget, max_length=96, help_text="0 to 23, UTC.")
    day_of_month = forms.CharField(widget=UnfoldAdminTextInputWidget, max_length=124, help_text="1 to 31, or *.")
    month_of_year = forms.CharField(widget=UnfoldAdminTextInputWidget, max_length=64, help_text="1 to 12, or *.")
    day_of_week = forms.CharField(widget=UnfoldAdminTextInputWidget, max_length=64, help_text="0 is Sunday, 6 Saturday, or *.")

    class Meta:
        model = ScheduledTask
        fields = ("enabled",)
        labels: ClassVar = {"enabled": "On"}
        help_texts: ClassVar = {"enabled": "Off, it does not fire, and what it would have done meanwhile is not made up for."}
        widgets = {"enabled": UnfoldBooleanSwitchWidget}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in schedules.CRON_FIELDS:
            if name in self.fields and self.instance.crontab:
                self.fields[name].initial = getattr(self.instance.crontab, name)

    def clean(self) -> dict[str, Any]:
        """Refuse what never fires."""
        values = super().clean() or self.cleaned_data
        if not self.errors:
            try:
                schedules.check_cron(cron_of(values))
            except schedules.InvalidCron as invalid:
                raise forms.ValidationError(str(invalid)) from None
        return values


def cron_of(values: dict[str, Any]) -> str:
    """The five fields as one line; spaces inside a field do not count."""
    return " ".join("".join(str(values[name]).split()) for name in schedules.CRON_FIELDS)


@admin.register(ScheduledTask)
class ScheduleAdmin(PlatformAdmin):
    """When the scheduled jobs fire, per customer."""

    form = ScheduleForm
    list_display = ("shown_job", "shown_work", "times", "shown_on", "last_slot", "next_slot")
    list_filter = ("enabled",)
    search_fields = ("task", "description")
    list_select_related = ("crontab", "tiltyard_schedule")
    ordering = ("task", "pk")
    fields = ("shown_job", "shown_work", "enabled", *schedules.CRON_FIELDS, "last_slot", "next_slot")
    readonly_fields = ("shown_job", "shown_work", "times", "shown_on", "last_slot", "next_slot")
    actions = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[ScheduledTask]:
        """The customer's schedules: celery-beat's table belongs to the platform, so the list names the customer itself."""
        rows: QuerySet[ScheduledTask] = super().get_queryset(request).filter(tiltyard_schedule__customer_id=required())
        return rows

    def opening(self, request: HttpRequest) -> Opening:
        """How many are on, and which fires next."""
        tasks = list(self.get_queryset(request).select_related(*self.list_select_related))
        on, now = [task for task in tasks if task.enabled and task.crontab], timezone.now()
        if not on:
            return Opening("No schedule is on: nothing is done by itself.", "pause_circle", "open")
        share = f"All {len(tasks)} schedules are on" if len(on) == len(tasks) else f"{len(on)} of {len(tasks)} schedules are on"
        slot, _, task = min((schedules.next_slot(one.crontab.schedule, at=now), one.pk, one) for one in on)
        return Opening(
            format_html("{}; the next to fire is “{}”, {}.", share, task, when(slot, "full")),
            "schedule",
            "" if len(on) == len(tasks) else "open",
        )

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Never: which jobs exist is the code's."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """For those who may configure schedules."""
        return self.principal(request).may("schedule.configure")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: a schedule can be switched off."""
        return False

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """The crontab as fields for those who may change it, as text for the others."""
        return (
            self.fields
            if self.has_change_permission(request, obj)
            else ("shown_job", "shown_work", "shown_on", "times", "last_slot", "next_slot")
        )

    def save_model(self, request: HttpRequest, obj: ScheduledTask, form: Any, change: bool) -> None:
        """By the service, so that it is checked, recorded, and another customer's crontab stays as it is."""
        values = form.cleaned_data
        schedule = Schedule.objects.get(periodic_task_id=obj.pk, customer_id=required())
        schedules.configure(
            schedule=schedule, cron=cron_of(values), enabled=values["enabled"], at=timezone.now(), by=self.principal(request)
        )

    @display(description="Job", ordering="task")
    def shown_job(self, task: ScheduledTask) -> str:
        """Its short name, for people."""
        return str(task)

    @display(description="What it does")
    def shown_work(self, task: ScheduledTask) -> str:
        """A sentence of the job's own."""
        return str(task.description)

    @display(description="On", ordering="enabled", boolean=True)
    def shown_on(self, task: ScheduledTask) -> bool:
        """Whether it fires."""
        return bool(task.enabled)

    @display(description="When")
    def times(self, task: ScheduledTask) -> str:
        """The crontab in words."""
        return in_words(task.crontab) if task.crontab else "never"

    @display(description="Last fired for")
    def last_slot(self, task: ScheduledTask) -> SafeString:
        """When a job of it was requested last."""
        return when(jobs().filter(schedule=task.name).order_by("-slot").values_list("slot", flat=True).first(), "full")

    @display(description="Fires next")
    def next_slot(self, task: ScheduledTask) -> SafeString:
        """When it fires next."""
        return when(schedules.next_slot(task.crontab.schedule, at=timezone.now()) if task.enabled and task.crontab else None, "full")
