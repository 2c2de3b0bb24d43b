"""What the relay publishes reaches our own broker, from any process that Django has set up."""

import os
import subprocess
import sys

from celery import current_app
from django.conf import settings


def test_every_process_publishes_to_the_configured_broker() -> None:
    script = "import django; django.setup(); from mlops.outbox.tasks import handle_message; print(handle_message.app.conf.broker_url)"
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "mlops.settings_test"}

    answer = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True, timeout=60)

    assert answer.stdout.strip() == settings.BROKER_URL
    assert current_app.main == "tiltyard"
