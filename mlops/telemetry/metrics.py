"""Prometheus metrics: counters of this process, and gauges read from the database when somebody asks."""

from collections.abc import Iterator

from django.db.models import Count, Min
from django.utils import timezone
from prometheus_client import CollectorRegistry, Counter, multiprocess
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

REGISTRY = CollectorRegistry()
JOB_ATTEMPTS = Counter("job_attempts_total", "Attempts of jobs that ended, by outcome.", ["kind", "outcome"], registry=REGISTRY)
DIGEST_MISMATCHES = Counter("artifact_digest_mismatch_total", "Artifacts whose bytes were not what was registered.", registry=REGISTRY)
REQUESTS = Counter("http_requests_total", "Requests answered, by status class.", ["status"], registry=REGISTRY)


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


def scrape_registry(multiprocess_dir: str) -> CollectorRegistry:
    """The registry to expose: of all processes when they share a directory, else of this one; always with the database's gauges."""
    registry = CollectorRegistry()
    if multiprocess_dir:
        multiprocess.MultiProcessCollector(registry, path=multiprocess_dir)  # type: ignore[no-untyped-call]  # the library types the rest
    else:
        registry.register(_Own())
    registry.register(DatabaseGauges())
    return registry


class _Own(Collector):
    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield from REGISTRY.collect()  # type: ignore[misc]  # any family will do
