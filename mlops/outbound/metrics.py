"""What operators watch."""

from prometheus_client import Counter

from mlops.telemetry.metrics import REGISTRY

ATTEMPTS = Counter(
    "webhook_attempts_total", "Attempts to deliver a notification, by kind of channel and outcome.", ["kind", "outcome"], registry=REGISTRY
)
DEAD = Counter("webhook_dead_total", "Notifications given up on; they wait for a person.", ["kind"], registry=REGISTRY)
