"""The panel a model is trained and judged on: its newest data, with the ground truth that came by API laid over it."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import transaction

from mlops.database.reading import reading
from mlops.errors import DomainError
from mlops.tenancy.roles import Principal
from registry.models import Actual, Dataset, DatasetVersion, RegisteredModel
from registry.services.dataset_panels import panel_of
from registry.services.datasets import import_path
from registry.services.lookups import lock_model
from registry.services.model_settings import configure_model
from registry.states import DatasetVersionStatus

if TYPE_CHECKING:
    import polars as pl

    from engine.frames.panel import Panel

LONGEST_NAME = 128


class NoData(DomainError):
    """The model has no data to work on."""

    code = "no_data"


def newest_data(model: RegisteredModel) -> DatasetVersion:
    """The newest ready version of the model's dataset. Raises NoData."""
    with reading():
        ready = DatasetVersion.objects.filter(dataset_id=model.dataset_id, status=DatasetVersionStatus.READY) if model.dataset_id else None
        newest = ready.select_related("dataset").order_by("-number").first() if ready is not None else None
    if newest is None:
        raise NoData(f"{model.name} has no data yet: upload a dataset and set it as the model's data source.")
    return newest


def refresh_data(model: RegisteredModel, *, by: Principal, at: datetime) -> None:
    """Read the folder the model's data comes from anew; nothing where it has none. Unchanged files are not kept twice. A source that was
    set since the reading began is taken instead.

    Raises InvalidField, UnreadableFile, Busy or TooLarge. `model` knows its data set afterwards.
    """
    while folder := model.data_dir:
        if _read_as_source(model, path=folder, by=by, at=at, unless=partial(_has_not_folder, folder)):
            return
        with reading():
            model.refresh_from_db(fields=["data_dir", "dataset"])


def take_as_source(model: RegisteredModel, *, path: str, by: Principal, at: datetime) -> bool:
    """Read the folder and make it the source of a model that has none; False where it has another one, also since the reading began.

    Repeated it does the same again. Raises as `refresh_data`.
    """
    return not _has_another_source(model) and _read_as_source(model, path=path, by=by, at=at, unless=_has_another_source)


def _read_as_source(model: RegisteredModel, *, path: str, by: Principal, at: datetime, unless: Callable[[RegisteredModel], bool]) -> bool:
    """Read the folder, then look under the lock, and make it the model's source or answer False."""
    dataset = import_path(name=_own_name(model), path=path, by=by, at=at).version.dataset
    with transaction.atomic():
        locked = lock_model(model.pk)
        if unless(locked):
            return False
        if locked.dataset_id != dataset.pk:
            configure_model(model=locked, changes={"dataset": dataset}, by=by, at=at)
    model.dataset = dataset
    return True


def _has_not_folder(folder: str, model: RegisteredModel) -> bool:
    return model.data_dir != folder


def _has_another_source(model: RegisteredModel) -> bool:
    return bool(model.data_dir) or (model.dataset is not None and model.dataset.name != _own_name(model))


def folder_data(model: RegisteredModel, *, path: str, by: Principal, at: datetime) -> Dataset:
    """The folder as the newest version of a data set that holds what single retrainings were given; the model's source stays what it is.

    Raises as `refresh_data`.
    """
    return import_path(name=_name(model, "retrain"), path=path, by=by, at=at).version.dataset


def _own_name(model: RegisteredModel) -> str:
    return _name(model, "data")


def _name(model: RegisteredModel, kind: str) -> str:
    named = f"{model.name}.{kind}"
    return named if len(named) <= LONGEST_NAME else f"{kind}-{model.pk}"


def model_panel(model: RegisteredModel, data: DatasetVersion, *, through: date | None = None) -> "Panel":
    """The data's panel with the model's actuals laid over it, up to the last day whose truth is known.

    Actuals replace values of known series and extend the panel by later days. `through` looks at it as it was on that day.
    Raises NoData where no truth is known by then, and as `panel_of`.
    """
    import polars as pl

    panel = panel_of(data)
    with reading():
        rows = list(Actual.objects.filter(model=model).values_list("series_key", "day", "value"))
    if rows:
        unknown = data.mapping.get("negatives") == "unknown"
        panel = lay_over(panel, [(key, day, math.nan if unknown and value < 0 else value) for key, day, value in rows])
    known = panel.frame.filter(pl.col("target").is_not_null() & (pl.col("date") <= through if through else True))
    last = known["date"].max()
    if not isinstance(last, date):
        raise NoData(f"The data of {model.name} holds no known value{f' up to {through}' if through else ''}.")
    return panel.until(last)


def lay_over(panel: "Panel", actuals: list[tuple[str, date, float]]) -> "Panel":
    """The panel with these actuals, NaN being unknown; series nobody knows are left out. Of later days only each series' last price is
    known."""
    import polars as pl

    keys, days, values = zip(*actuals, strict=True)
    schema = {"series_key": pl.String, "date": pl.Date, "truth": pl.Float64}
    truth = pl.DataFrame({"series_key": keys, "date": days, "truth": values}, schema=schema)
    series = panel.series.select("series", pl.Series("series_key", identities(panel), pl.String))
    truth = truth.join(series, on="series_key", how="inner").select("series", "date", "truth")
    last = truth["date"].max()
    frame = _extend(panel, last) if isinstance(last, date) and last > panel.last_day else panel.frame
    frame = frame.join(truth, on=["series", "date"], how="left", maintain_order="left")
    given = pl.col("truth").is_not_null()
    frame = frame.with_columns(
        target=pl.when(given).then(pl.col("truth").fill_nan(None)).otherwise(pl.col("target")),
        closed=pl.col("closed") & ~given,
    )
    return replace(panel, frame=frame.drop("truth"))


def unknown_series(model: RegisteredModel, panel: "Panel") -> list[str]:
    """The series, as canonical JSON, that actuals of the model name and the panel does not have: their truth waits for data that does."""
    with reading():
        named = set(Actual.objects.filter(model=model).values_list("series_key", flat=True).distinct())
    return sorted(named.difference(identities(panel)))


def identities(panel: "Panel") -> list[str]:
    """The series by their keys as canonical JSON, in the order of the panel's series."""
    named = panel.series.select("series", *panel.keys).to_dicts()
    return [series_key_of({key: row[key] for key in panel.keys}) for row in named]


def _extend(panel: "Panel", last: date) -> "pl.DataFrame":
    """Rows for every series up to `last`: open days, unknown but for the last price, as the engine lays out days after a panel's end."""
    import polars as pl

    days = pl.DataFrame({"date": pl.date_range(panel.last_day, last, "1d", eager=True)[1:]})
    price = [pl.col("price").drop_nulls().last()] if "price" in panel.frame.columns else []
    ends = panel.frame.group_by("series", maintain_order=True).agg(price)
    later = ends.join(days, how="cross").with_columns(closed=pl.lit(False))
    return pl.concat([panel.frame, later], how="diagonal").select(panel.frame.columns).sort("series", "date")


def series_key_of(keys: dict[str, Any]) -> str:
    """The key columns of one series as canonical JSON: what `Actual.series_key` holds."""
    return json.dumps({name: str(value) for name, value in keys.items()}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
