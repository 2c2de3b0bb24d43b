"""Prometheus metrics: requests of this process, counters of all processes, and gauges read from the database when somebody asks."""

from collections.abc import Iterator

from django.db.models import Count, Min
from django.utils import timezone
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mlops.telemetry.counting import SharedCounter, shared_counters, write_counts

JOB_ATTEMPTS = SharedCounter("job_attempts", "Attempts of jobs that ended, by outcome.", ("kind", "outcome"))
DIGEST_MISMATCHES = SharedCounter("artifact_digest_mismatch", "Artifacts whose bytes were not what was registered.")
REQUESTS = Counter("http_requests_total", "Requests that this process answered, by status class.", ["status"], registry=None)


class DatabaseGauges(Collector):
    """Numbers that live in the database; read at each scrape, with one indexed query each."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Outbox backlog and age, jobs by state, length of every customer's audit chain."""
        from mlops.jobs.models import Job
        from mlops.outbox.models import Message
        from mlops.telemetry.queries import audit_heads

        waiting = Message.objects.filter(handled_at=None, dead_at=None).aggregate(pending=Count("id"), oldest=Min("created_at"))
        yield GaugeMetricFamily("outbox_pending", "Messages not handled yet.", value=waiting["pending"])
        age = (timezone.now() - waiting["oldest"]).total_seconds() if waiting["oldest"] else 0.0
        yield GaugeMetricFamily("outbox_oldest_age_seconds", "Age of the oldest message not handled yet.", value=age)
        states = GaugeMetricFamily("jobs", "Jobs by state.", labels=["state"])
        for state, count in Job.objects.values_list("state").annotate(count=Count("id")).order_by("state"):
            states.add_metric([state], count)
        yield states
        heads = GaugeMetricFamily("audit_chain_head", "Number of the last audit event.", labels=["customer", "digest"])
        for customer_id, number, digest in audit_heads():
            heads.add_metric([str(customer_id), digest], number)
        yield heads


def scrape_registry() -> CollectorRegistry:
    """The registry to expose."""
    registry = CollectorRegistry()
    registry.register(REQUESTS)
    registry.register(_Shared())
    registry.register(DatabaseGauges())
    return registry


class _Shared(Collector):
    def collect(self) -> Iterator[Metric]:
        write_counts()
        yield from shared_counters()
