"""A start-up check: may customers read each other's data on the server?"""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register  # noqa: A004 - Django's name
from django.db import DatabaseError

from mlops.tenancy.models import Customer
from registry.services.dataset_files import CUSTOMER


@register(Tags.security, deploy=True)
def customers_have_data_of_their_own(**_: Any) -> list[CheckMessage]:
    """Where there is more than one customer, each root and prefix of data names whose it is."""
    shared = [str(place) for place in (*settings.DATA_ROOTS, *settings.DATA_URIS) if CUSTOMER not in str(place)]
    if not shared or not _are_several():
        return []
    message = f"Every customer may read what lies below {', '.join(shared)}."
    hint = f"Put {CUSTOMER} into DATA_ROOTS and DATA_URIS, which stands for the customer's id; or silence this where they may."
    return [Warning(message, hint=hint, id="registry.W001")]


def _are_several() -> bool:
    try:
        return Customer.objects.count() > 1
    except DatabaseError:  # there is none yet; others say so
        return False
