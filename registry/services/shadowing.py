"""Shadow: versions that compete predict beside the champion on the same inputs, and are measured once the truth is known.

Both predict from the same origins, a week apart (or a horizon, where that is shorter), counted from the day the later of the two was
trained through, so that neither has seen what it predicts. Each series and day is predicted once.
"""

import json
import zlib
from collections import defaultdict
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import Max, Min

from mlops.database.reading import reading
from registry.models import Actual, ModelVersion, RegisteredModel, ShadowDay, ShadowPrediction
from registry.models.accuracy import OVERALL
from registry.rules.policy import parse
from registry.services.artifacts import load_forecaster
from registry.services.backtesting import Fence, step_of
from registry.services.panels import model_panel, newest_data, series_key_of
from registry.states import SHADOWED, VersionStatus

if TYPE_CHECKING:
    import polars as pl

    from engine.forecasting.protocol import Forecaster
    from engine.frames.panel import Panel

log = structlog.get_logger(__name__)

MOST_RIVALS = 5
MOST_SERIES = 1000
"""Of a larger panel a fixed sample of the series is shadowed: paired errors need no more, and the table stays bounded."""
MOST_DAYS = 91
"""How far back a version that newly competes is measured, and how long single pairs are kept at most."""
SUMS = ("n", "n_ahead", "sum_actual", "sum_error", "sum_abs_error", "champion_sum_error", "champion_sum_abs_error")
PAIR_KEY = ["version", "champion", "day", "series_key"]


def shadow_new_days(
    *, model: RegisteredModel, at: datetime, through: date | None = None, fence: Fence = transaction.atomic
) -> dict[str, Any]:
    """Let every version in shadow or competing predict beside the champion, and measure the days whose truth is new or was corrected.

    Safe to repeat and to kill: each origin's pairs and sums are one transaction, which `fence` opens. `through` looks at the data as it
    was on that day. Raises NoData, NoArtifact, DigestMismatch, ForecastError.
    """
    with reading():
        standing = ModelVersion.objects.filter(model=model, artifact_format="forecaster").order_by("-number")
        champion = standing.filter(status=VersionStatus.CHAMPION).first()
        rivals = list(standing.filter(status__in=SHADOWED)[:MOST_RIVALS])
    if champion is None or not rivals:
        return {"pairs": 0, "said": "Nothing competes in shadow, or no champion predicts here."}
    panel = model_panel(model, newest_data(model), through=through)
    forecaster = load_forecaster(champion)
    step = step_of(parse(model.policy))
    written = {rival.version: _shadow(rival, champion, forecaster, panel, step=step, at=at, fence=fence) for rival in rivals}
    _forget(model, before=panel.last_day - timedelta(days=min(model.retention_days, MOST_DAYS)))
    log.info("shadow.measured", model=model.name, champion=champion.version, **{f"pairs_{label}": n for label, n in written.items()})
    return {"pairs": sum(written.values()), "versions": written, "champion": champion.version, "through": str(panel.last_day)}


def join_actuals(*, model_id: UUID, days: Iterable[date], at: datetime) -> int:
    """Put ground truth that came by API beside the predictions of these days, and measure them anew. Returns how many pairs it changed."""
    wanted = sorted(set(days))
    with transaction.atomic():
        rows = Actual.objects.filter(model=model_id, day__in=wanted, value__gte=0)  # kept negative ones are unknown, or older than the rule
        truth = {(day, key): value for day, key, value in rows.values_list("day", "series_key", "value")}
        pairs = ShadowPrediction.objects.filter(version__model=model_id, day__in=wanted).order_by(
            "version", "champion", "day", "series_key"
        )
        changed = []
        for pair in pairs:
            value = truth.get((pair.day, pair.series_key))
            if value is not None and value != pair.actual:
                pair.actual = value
                changed.append(pair)
        _write(changed)
        touched: dict[tuple[UUID, UUID], set[date]] = defaultdict(set)
        for pair in changed:
            touched[pair.version_id, pair.champion_id].add(pair.day)
        for (version, champion), found in touched.items():
            _count(version, champion, found, at=at)
    return len(changed)


def _shadow(
    rival: ModelVersion, champion: ModelVersion, served: "Forecaster", panel: "Panel", *, step: int, at: datetime, fence: Fence
) -> int:
    forecaster = load_forecaster(rival)
    anchor = max(forecaster.trained_through, served.trained_through)
    with reading():
        first, predicted = _first_open_day(rival, champion, anchor=anchor)
    first = max(first, panel.last_day - timedelta(days=MOST_DAYS - 1))
    origins = _origins(anchor, first=first, last=panel.last_day, step=step)
    if not origins or (panel.last_day < first and predicted is not None and predicted >= origins[-1] + timedelta(days=step)):
        return 0
    pairs = _predict_both(forecaster, served, panel, origins=origins, step=step)
    written = 0
    for part in pairs.partition_by("origin", maintain_order=True):
        rows = [
            ShadowPrediction(version=rival, champion=champion, created_at=at, ahead=row["actual"] is None, **row)
            for row in part.iter_rows(named=True)
        ]
        with fence():
            _write(rows)
            _count(rival.pk, champion.pk, {row.day for row in rows if row.actual is not None}, at=at)
        written += len(rows)
    return written


def _first_open_day(rival: ModelVersion, champion: ModelVersion, *, anchor: date) -> tuple[date, date | None]:
    """The first day that is not measured, or was corrected since; and the last day that is predicted."""
    done = ShadowDay.objects.filter(version=rival, champion=champion, segment_column=OVERALL).aggregate(
        last=Max("day"), at=Max("scored_at")
    )
    predicted = ShadowPrediction.objects.filter(version=rival, champion=champion).aggregate(last=Max("day"))["last"]
    if done["last"] is None:
        return anchor + timedelta(days=1), predicted
    late = Actual.objects.filter(model=rival.model_id, received_at__gt=done["at"], day__gt=anchor).aggregate(first=Min("day"))["first"]
    new: date = done["last"] + timedelta(days=1)
    return min(new, late) if late else new, predicted


def _origins(anchor: date, *, first: date, last: date, step: int) -> list[date]:
    """Origins every `step` days from the anchor whose days reach `first` and that lie no later than `last`."""
    skipped = max(0, ((first - anchor).days - 1) // step)
    start = anchor + timedelta(days=step * skipped)
    return [start + timedelta(days=offset) for offset in range(0, (last - start).days + 1, step)]


def _predict_both(mine: "Forecaster", theirs: "Forecaster", panel: "Panel", *, origins: list[date], step: int) -> "pl.DataFrame":
    """Both predictions with the truth where it is known, and the names of the series; columns as in `ShadowPrediction`."""
    import polars as pl

    frames = [one.predict_origins(panel, origins=origins, horizon=step) for one in (mine, theirs)]
    on = ["origin", "series", "date"]
    both = frames[0].select(*on, "prediction").join(frames[1].select(*on, champion_prediction="prediction"), on=on, how="inner")
    truth = panel.frame.select("series", "date", actual="target")
    named = both.join(truth, on=["series", "date"], how="left").join(_names(panel), on="series", how="inner")
    finite = pl.col("prediction").is_finite() & pl.col("champion_prediction").is_finite()
    rows = named.filter(finite).rename({"date": "day"}).drop("series")
    return rows.sort("origin", "day", "series_key")


def _names(panel: "Panel") -> "pl.DataFrame":
    """The series that are shadowed, with their key and segments: all, or a sample that stays the same from day to day."""
    import polars as pl

    rows = panel.series.select("series", *dict.fromkeys([*panel.keys, *panel.segments])).to_dicts()
    named = [(row["series"], series_key_of({key: row[key] for key in panel.keys}), row) for row in rows]
    if len(named) > MOST_SERIES:
        named = sorted(named, key=lambda one: (zlib.crc32(one[1].encode()), one[1]))[:MOST_SERIES]
    texts = [json.dumps({column: str(row[column] or "")[:128] for column in panel.segments}, sort_keys=True) for _, _, row in named]
    series, keys = [one[0] for one in named], [one[1][:500] for one in named]
    frame = pl.DataFrame({"series": series, "series_key": keys, "segments": texts}, schema_overrides={"series": pl.UInt32})
    return frame.unique("series_key", keep="first", maintain_order=True)


def _write(rows: list[ShadowPrediction]) -> None:
    """Insert pairs; of those that are there only the truth changes. Always in the same order, so that two writers queue."""
    for row in rows:
        if isinstance(row.segments, str):
            row.segments = json.loads(row.segments)
    ShadowPrediction.objects.bulk_create(rows, update_conflicts=True, unique_fields=PAIR_KEY, update_fields=["actual"], batch_size=500)


def _count(version: UUID, champion: UUID, days: set[date], *, at: datetime) -> None:
    """Measure these days from the pairs as they stand in the table: a prediction counts as it was first written down."""
    pairs = ShadowPrediction.objects.filter(version=version, champion=champion, day__in=days, actual__isnull=False)
    sums: dict[tuple[date, str, str], list[float]] = defaultdict(lambda: [0.0] * len(SUMS))
    for day, mine, theirs, actual, ahead, segments in pairs.values_list(
        "day", "prediction", "champion_prediction", "actual", "ahead", "segments"
    ).order_by("day", "series_key"):
        if actual is None:
            continue
        values = (1, int(ahead), actual, mine - actual, abs(mine - actual), theirs - actual, abs(theirs - actual))
        for column, segment in [(OVERALL, OVERALL), *segments.items()]:
            total = sums[day, column, segment]
            for place, value in enumerate(values):
                total[place] += value
    rows = [
        ShadowDay(
            version_id=version,
            champion_id=champion,
            day=day,
            segment_column=column,
            segment=segment,
            scored_at=at,
            **dict(zip(SUMS, total, strict=True)),
        )
        for (day, column, segment), total in sorted(sums.items())
    ]
    ShadowDay.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["version", "champion", "segment_column", "segment", "day"],
        update_fields=[*SUMS, "scored_at"],
        batch_size=500,
    )


def _forget(model: RegisteredModel, *, before: date) -> None:
    """Remove single pairs that are too old; their sums stay."""
    with transaction.atomic():
        ShadowPrediction.objects.filter(version__in=model.versions.all(), day__lt=before).delete()
