"""What operators watch."""

from mlops.telemetry.counting import SharedCounter

ATTEMPTS = SharedCounter("webhook_attempts", "Attempts to deliver a notification, by kind of channel and outcome.", ("kind", "outcome"))
DEAD = SharedCounter("webhook_dead", "Notifications given up on; they wait for a person.", ("kind",))
