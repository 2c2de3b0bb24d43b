from django.apps import AppConfig


class TenancyConfig(AppConfig):
    """Customers, people, roles, keys, and the scope every query stands in."""

    name = "mlops.tenancy"
    label = "tenancy"
    verbose_name = "Settings"
