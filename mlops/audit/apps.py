from django.apps import AppConfig


class AuditConfig(AppConfig):
    """Who did what, when and why: append-only, chained by hash, one chain per customer."""

    name = "mlops.audit"
    label = "audit"
    verbose_name = "Audit"
