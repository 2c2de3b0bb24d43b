"""The panel a model is trained and judged on: its newest data, with the ground truth that came by API laid over it."""

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from django.db import transaction

from mlops.errors import DomainError
from registry.models import Actual, DatasetVersion, RegisteredModel
from registry.models.dataset import DatasetVersionStatus
from registry.services.datasets import panel_of

if TYPE_CHECKING:
    from engine.frames.panel import Panel


class NoData(DomainError):
    """The model has no data to work on."""

    code = "no_data"


def newest_data(model: RegisteredModel) -> DatasetVersion:
    """The newest ready version of the model's dataset. Raises NoData."""
    with transaction.atomic():
        ready = DatasetVersion.objects.filter(dataset_id=model.dataset_id, status=DatasetVersionStatus.READY) if model.dataset_id else None
        newest = ready.select_related("dataset").order_by("-number").first() if ready is not None else None
    if newest is None:
        raise NoData(f"{model.name} has no data yet: upload a dataset and set it as the model's data source.")
    return newest


def model_panel(model: RegisteredModel, data: DatasetVersion) -> "Panel":
    """The data's panel with the model's actuals laid over it: they replace values of known series and extend it by later days."""
    panel = panel_of(data)
    with transaction.atomic():
        rows = list(Actual.objects.filter(model=model).values_list("series_key", "day", "value"))
    return lay_over(panel, rows) if rows else panel


def lay_over(panel: "Panel", actuals: list[tuple[str, Any, float]]) -> "Panel":
    """The panel with these actuals. A later day repeats each series' last price and known columns; series nobody knows are left out."""
    import polars as pl

    named = panel.series.select("series", series_key=pl.struct(panel.keys).map_elements(series_key_of, return_dtype=pl.String))
    keys, days, values = zip(*actuals, strict=True)
    truth = pl.DataFrame(
        {"series_key": keys, "date": days, "truth": values}, schema={"series_key": pl.String, "date": pl.Date, "truth": pl.Float64}
    )
    truth = truth.join(named, on="series_key", how="inner").select("series", "date", "truth")
    last = truth["date"].max()
    frame = panel.frame
    if last is not None and last > panel.last_day:
        frame = _extend(panel, last)
    frame = frame.join(truth, on=["series", "date"], how="left", maintain_order="left")
    given = pl.col("truth").is_not_null()
    frame = frame.with_columns(
        target=pl.when(given).then(pl.col("truth")).otherwise(pl.col("target")),
        closed=pl.when(given).then(pl.lit(False)).otherwise(pl.col("closed")),
    )
    return replace(panel, frame=frame.drop("truth"))


def _extend(panel: "Panel", last: Any) -> Any:
    import polars as pl

    first = panel.last_day
    days = pl.DataFrame({"date": pl.date_range(first, last, "1d", eager=True)}).filter(pl.col("date") > first)
    ends = panel.frame.filter(pl.col("date") == first).drop("date")
    later = ends.join(days, how="cross").with_columns(target=pl.lit(None, pl.Float64), closed=pl.lit(False))
    return pl.concat([panel.frame, later.select(panel.frame.columns)]).sort("series", "date")


def series_key_of(keys: dict[str, Any]) -> str:
    """The key columns of one series as canonical JSON: what `Actual.series_key` holds."""
    return json.dumps({name: str(value) for name, value in keys.items()}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
