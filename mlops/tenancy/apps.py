from django.apps import AppConfig


class TenancyConfig(AppConfig):
    """Customers, people, roles, keys, and the scope every query stands in."""

    name = "mlops.tenancy"
    label = "tenancy"
    verbose_name = "Settings"

    def ready(self) -> None:
        from django.db.models.signals import post_delete, post_save

        from mlops.tenancy.models import ApiKey, Membership, User
        from mlops.tenancy.principals import forget_keys

        for model in (ApiKey, Membership, User):
            post_save.connect(forget_keys, sender=model)
            post_delete.connect(forget_keys, sender=model)
