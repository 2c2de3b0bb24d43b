"""Celery: carries ids between processes, owns nothing."""

import os

from celery import Celery
from celery.signals import setup_logging, worker_process_init

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mlops.settings")

app = Celery("tiltyard")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.autodiscover_tasks(["mlops.jobs", "mlops.outbox"])


@setup_logging.connect
def keep_django_logging(**_: object) -> None:
    """Django's LOGGING holds in workers too; connecting this signal keeps Celery from configuring its own."""
    from logging.config import dictConfig

    from django.conf import settings

    dictConfig(settings.LOGGING)


@worker_process_init.connect
def one_native_thread_pool_per_core(**_: object) -> None:
    """Numeric libraries take their threads from the environment at import; LightGBM gets its own number per call."""
    os.environ.setdefault("POLARS_MAX_THREADS", "2")
