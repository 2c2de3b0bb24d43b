"""What several of these tests begin with."""

from collections.abc import Iterator

import pytest

from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import system
from registry.models import ModelVersion
from tests.registry import factories as make


@pytest.fixture
def arena(customer: Customer) -> Iterator[tuple[ModelVersion, ModelVersion]]:
    """Champion and challenger, which fails the segments' gate."""
    with acting(system(customer.pk)):
        yield make.make_arena(segments={"HOBBIES_2": 1.16})
