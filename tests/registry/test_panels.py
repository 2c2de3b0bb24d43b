"""Ground truth that came by API, laid over a panel; the part of a panel that is known."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from django.conf import settings

from engine.forecasting.grid import build_grid
from engine.frames.panel import Panel
from mlops.errors import InvalidField
from mlops.tenancy.roles import Principal
from registry.models import Actual, DatasetVersion, RegisteredModel
from registry.services import panels, reading
from registry.services.model_settings import configure_model, register_model
from registry.services.panels import NoData, folder_data, lay_over, model_panel, refresh_data, series_key_of, take_as_source
from tests.engine.panels import FIRST, make_panel
from tests.experiments.chain import LAST_DAY, NOON, chain, do_each_work_once, make_chain_model

S0 = series_key_of({"store_id": "S0", "item_id": "I0"})
S1 = series_key_of({"store_id": "S1", "item_id": "I0"})
TENTH = FIRST + timedelta(days=9)


def ten_days(*, closed: tuple[int, ...] = ()) -> Panel:
    """Two series over ten days; the second begins on the fourth. Prices rise day by day, both snap on the last one."""
    panel = make_panel([[1.0] * 10, [2.0] * 7], price=[[float(day) for day in range(10)], [float(day) for day in range(7)]], closed=closed)
    snap = (pl.col("date") == TENTH).cast(pl.Float64)
    return replace(panel, frame=panel.frame.with_columns(promotion=snap, snap=snap), known=("snap",))


def values(panel: Panel, series: int, column: str = "target") -> list[float | None]:
    return panel.frame.filter(pl.col("series") == series)[column].to_list()


def test_an_actual_replaces_a_known_value_and_opens_a_closed_day() -> None:
    panel = lay_over(ten_days(closed=(4,)), [(S0, FIRST, 7.0), (S0, FIRST + timedelta(days=4), 3.0)])

    assert values(panel, 0) == [7.0, 1.0, 1.0, 1.0, 3.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert values(panel, 0, "closed") == [False] * 10
    assert values(panel, 1, "closed") == [False, True, False, False, False, False, False]


def test_a_series_nobody_knows_is_left_out() -> None:
    panel = ten_days()

    assert lay_over(panel, [(series_key_of({"store_id": "S9", "item_id": "I0"}), TENTH, 7.0)]).frame.equals(panel.frame)


def test_an_actual_before_its_series_began_is_left_out() -> None:
    panel = ten_days()

    assert lay_over(panel, [(S1, FIRST, 7.0)]).frame.equals(panel.frame)


def test_later_days_are_open_and_know_nothing_but_the_last_price() -> None:
    panel = lay_over(ten_days(), [(S0, TENTH + timedelta(days=2), 5.0)])

    later = panel.frame.filter(pl.col("date") > TENTH)
    assert values(panel, 0)[-2:] == [None, 5.0]
    assert values(panel, 1)[-2:] == [None, None]
    assert later["price"].to_list() == [9.0, 9.0, 6.0, 6.0]
    assert not later["closed"].any()
    assert later.select("promotion", "snap").null_count().row(0) == (4, 4)


def test_a_panel_without_prices_goes_on_without_them() -> None:
    panel = lay_over(make_panel([[1.0] * 10, [2.0] * 7]), [(S0, TENTH + timedelta(days=1), 5.0)])

    assert (values(panel, 0)[-1], panel.frame.columns) == (5.0, ["series", "date", "target", "closed"])


def test_the_price_of_a_later_day_is_the_last_one_known() -> None:
    panel = ten_days()
    unpriced = panel.frame.with_columns(price=pl.when(pl.col("date") < TENTH).then("price"))

    extended = lay_over(replace(panel, frame=unpriced), [(S0, TENTH + timedelta(days=1), 5.0)])

    assert extended.frame.filter(pl.col("date") > TENTH)["price"].to_list() == [8.0, 5.0]


def test_an_extended_panel_is_one_that_can_be_forecast() -> None:
    panel = lay_over(ten_days(), [(S1, TENTH + timedelta(days=3), 5.0)])

    grid = build_grid(panel)
    assert (grid.days, grid.target[1, -1]) == (13, 5.0)
    assert dict(panel.frame.schema) == dict(ten_days().frame.schema)


def test_a_panel_of_one_series_needs_no_keys() -> None:
    one = make_panel([[1.0] * 10])
    panel = replace(one, series=one.series.select("series"), keys=(), segments=())

    assert values(lay_over(panel, [(series_key_of({}), TENTH, 4.0)]), 0) == [1.0] * 9 + [4.0]


def model_with(panel: Panel, by: Principal, monkeypatch: pytest.MonkeyPatch) -> RegisteredModel:
    monkeypatch.setattr(panels, "panel_of", lambda _data: panel)
    return register_model(name="demand", by=by, at=NOON)


@pytest.mark.django_db
def test_a_models_panel_ends_with_its_last_known_day(scope: Principal, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_with(make_panel([[1.0] * 8 + [None, None], [2.0] * 7 + [None, None, None]]), scope, monkeypatch)

    assert model_panel(model, DatasetVersion()).last_day == FIRST + timedelta(days=7)


@pytest.mark.django_db
def test_actuals_count_up_to_the_day_looked_at(scope: Principal, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_with(ten_days(), scope, monkeypatch)
    for ahead in (1, 2):
        Actual.objects.create(model=model, day=TENTH + timedelta(days=ahead), series_key=S0, value=4.0, received_at=NOON)

    ends = [model_panel(model, DatasetVersion(mapping={}), through=TENTH + timedelta(days=days)).last_day for days in (-3, 1, 30)]

    assert ends == [TENTH - timedelta(days=3), TENTH + timedelta(days=1), TENTH + timedelta(days=2)]


@pytest.mark.django_db
def test_a_negative_actual_is_unknown_where_the_data_says_so(scope: Principal, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_with(ten_days(), scope, monkeypatch)
    Actual.objects.create(model=model, day=FIRST, series_key=S0, value=-4.0, received_at=NOON)

    panel = model_panel(model, DatasetVersion(mapping={"negatives": "unknown"}))

    assert values(panel, 0) == [None, *[1.0] * 9]


@pytest.mark.django_db
def test_a_panel_without_truth_is_no_data(scope: Principal, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_with(make_panel([[None] * 10]), scope, monkeypatch)

    with pytest.raises(NoData, match="no known value"):
        model_panel(model, DatasetVersion())


@pytest.fixture
def file(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The chain where the operator lets data be read from."""
    do_each_work_once(monkeypatch)
    path = Path(settings.VAR_DIR) / "data" / "sales.parquet"
    monkeypatch.setattr(settings, "DATA_ROOTS", [path.parent])
    chain().write_parquet(path)
    return path


@pytest.mark.django_db
def test_a_folder_is_read_anew_and_kept_once(scope: Principal, file: Path) -> None:
    model = register_model(name="d" * 128, data_dir=str(file), by=scope, at=NOON)

    ends = []
    for days in (0, 0, 1):
        chain(last_day=LAST_DAY + timedelta(days=days)).write_parquet(file)
        refresh_data(model, by=scope, at=NOON)
        ends.append(panels.newest_data(model).last_day)

    model.refresh_from_db()
    assert ends == [LAST_DAY, LAST_DAY, LAST_DAY + timedelta(days=1)]
    assert (model.dataset.name, model.dataset.versions.count()) == (f"data-{model.pk}", 2)


def configured_meanwhile(model: RegisteredModel, changes: dict[str, Any], by: Principal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody changes the model while its file is read for the first time."""
    real, waiting = reading.canonicalize, [changes]

    def overtaken(*given: Any, **named: Any) -> Any:
        if waiting:
            configure_model(model=RegisteredModel.objects.get(pk=model.pk), changes=waiting.pop(), by=by, at=NOON)
        return real(*given, **named)

    monkeypatch.setattr(reading, "canonicalize", overtaken)


@pytest.mark.django_db
def test_a_source_set_while_the_folder_is_read_anew_stays(
    scope: Principal, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_chain_model(tmp_path, scope, name="other").dataset
    model = register_model(name="demand", data_dir=str(file), by=scope, at=NOON)
    configured_meanwhile(model, {"data_dir": "", "dataset": other}, scope, monkeypatch)

    refresh_data(model, by=scope, at=NOON)

    assert (model.dataset, RegisteredModel.objects.get(pk=model.pk).dataset) == (other, other)


@pytest.mark.django_db
def test_another_folder_set_while_one_is_read_is_read_instead(scope: Principal, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    longer = file.with_name("longer.parquet")
    chain(last_day=LAST_DAY + timedelta(days=1)).write_parquet(longer)
    model = register_model(name="demand", data_dir=str(file), by=scope, at=NOON)
    configured_meanwhile(model, {"data_dir": str(longer)}, scope, monkeypatch)

    refresh_data(model, by=scope, at=NOON)

    assert panels.newest_data(model).last_day == LAST_DAY + timedelta(days=1)
    assert RegisteredModel.objects.get(pk=model.pk).dataset == model.dataset


@pytest.mark.django_db
def test_a_folder_outside_the_roots_is_not_read(scope: Principal) -> None:
    model = register_model(name="demand", by=scope, at=NOON)

    with pytest.raises(InvalidField):
        folder_data(model, path="/etc", by=scope, at=NOON)
    with pytest.raises(InvalidField):
        take_as_source(model, path="/etc", by=scope, at=NOON)


def test_the_key_of_a_series_does_not_depend_on_the_order_of_its_columns() -> None:
    assert series_key_of({"b": 1, "a": "ü"}) == series_key_of({"a": "ü", "b": "1"}) == '{"a":"ü","b":"1"}'
