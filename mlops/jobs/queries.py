"""Jobs of the ambient customer: the one accessor for everything that shows them."""

from django.db.models import QuerySet

from mlops.jobs.models import OPEN, Job
from mlops.tenancy.context import required


def jobs() -> QuerySet[Job]:
    """The customer's jobs, newest first."""
    return Job.objects.filter(customer_id=required())


def open_jobs() -> QuerySet[Job]:
    """The customer's queued and running jobs."""
    return jobs().filter(state__in=OPEN)
