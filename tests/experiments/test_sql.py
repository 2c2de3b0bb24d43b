"""The documented SQL about experiments runs verbatim, after the customer is set."""

import pytest

from mlops.tenancy.context import customer as scoped
from mlops.tenancy.roles import system
from mlops.tenancy.services import DEMO_CUSTOMER, create_customer
from tests.conftest import NOON
from tests.experiments.proposals import SCIENTIST, make_experiment
from tests.registry.test_sql import run

pytestmark = [pytest.mark.django_db, pytest.mark.postgres_only]

ACTIVE = """
SELECT
    experiment_name,
    hypothesis,
    status,
    proposed_by,
    approved_by,
    created_at
FROM model_experiments
WHERE
    customer_id = '00000000-0000-0000-0000-000000000001'
    AND status IN ('proposed', 'approved', 'in_progress', 'shadow_testing')
ORDER BY created_at DESC;
"""


def test_the_active_experiments() -> None:
    demo = create_customer(name="Demo", customer_id=DEMO_CUSTOMER, at=NOON)
    with scoped(demo.pk):
        by = system(demo.pk, name="lee@shop.example")
        for status in ("proposed", "shadow_testing", "rejected"):
            make_experiment(by, status)

    rows = run(ACTIVE)

    assert sorted((row[2], row[3], row[4]) for row in rows) == [
        ("proposed", SCIENTIST, ""),
        ("shadow_testing", SCIENTIST, "lee@shop.example"),
    ]
