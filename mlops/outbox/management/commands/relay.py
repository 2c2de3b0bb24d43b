"""Carry outbox messages and queued jobs to the broker until stopped."""

import signal
from threading import Event
from typing import Any

from django.core.management.base import BaseCommand

from mlops.outbox.relay import run


class Command(BaseCommand):
    """The relay process."""

    help = __doc__

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until SIGTERM or SIGINT."""
        stop = Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        run(until=stop.is_set)
