"""The documented SQL runs verbatim, after the customer is set."""

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from mlops.tenancy.context import customer as scoped
from mlops.tenancy.models import Customer
from mlops.tenancy.services import DEMO_CUSTOMER, create_customer
from registry.models import BacktestResult
from tests.conftest import NOON
from tests.registry.factories import make_champion, make_model, make_retraining

pytestmark = [pytest.mark.django_db, pytest.mark.postgres_only]

RETRAININGS = """
SELECT
    model_name,
    trigger_type,
    version_produced,
    status,
    started_at,
    completed_at
FROM model_retraining_log
WHERE customer_id = '00000000-0000-0000-0000-000000000001'
ORDER BY started_at DESC
LIMIT 10;
"""
CHAMPION = """
SELECT
    version,
    metrics->>'mae' AS mae,
    metrics->>'mape' AS mape,
    metrics->>'tier' AS tier,
    promoted_at
FROM model_versions
WHERE
    customer_id = '00000000-0000-0000-0000-000000000001'
    AND model_name = 'demand_forecast'
    AND status = 'champion';
"""
BACKTEST = """
SELECT
    forecast_date,
    mae,
    mape,
    stockout_miss_rate,
    overstock_rate
FROM backtest_results
WHERE
    customer_id = '00000000-0000-0000-0000-000000000001'
    AND forecast_date >= CURRENT_DATE - INTERVAL '30 days'
ORDER BY forecast_date ASC;
"""


@pytest.fixture
def demo(db: None) -> Customer:
    """The demo tenant with a champion, a retraining and backtest rows of 40 days up to yesterday."""
    found = create_customer(name="Demo", customer_id=DEMO_CUSTOMER, at=NOON)
    with scoped(found.pk):
        model = make_model()
        champion = make_champion(model, metrics={"mae": 11.2, "mape": 0.14, "tier": "gold"})
        make_retraining(model, produced=champion)
        today = timezone.now().date()
        values = {"mae": 11.0, "mape": 0.1, "n": 10, "sum_actual": 100.0, "sum_error": 1.0, "sum_abs_error": 110.0}
        BacktestResult.objects.bulk_create(
            BacktestResult(
                version_ref=champion,
                model_name="demand_forecast",
                model_version="v1",
                forecast_date=today - timedelta(days=day),
                created_at=NOON,
                **values,
            )
            for day in range(1, 41)
        )
    return found


def run(sql: str) -> list[tuple[object, ...]]:
    """As a person at a psql prompt would, who set the customer first."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET app.current_customer_id = '{DEMO_CUSTOMER}'")
        cursor.execute(sql)
        return list(cursor.fetchall())


def test_recent_retraining_events(demo: Customer) -> None:
    rows = run(RETRAININGS)

    assert [row[:4] for row in rows] == [("demand_forecast", "scheduled", "v1", "completed")]


def test_the_champions_metrics(demo: Customer) -> None:
    rows = run(CHAMPION)

    assert [row[:4] for row in rows] == [("v1", "11.2", "0.14", "gold")]


def test_the_backtest_trend_of_thirty_days(demo: Customer) -> None:
    rows = run(BACKTEST)

    assert len(rows) == 30
    assert rows == sorted(rows)


def test_without_the_customer_the_same_sql_sees_nothing(demo: Customer) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET app.current_customer_id = ''")
        cursor.execute(CHAMPION)
        assert cursor.fetchall() == []
