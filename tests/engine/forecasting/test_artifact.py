from dataclasses import replace
from datetime import timedelta
from typing import Any

import orjson
import pytest

from engine.forecasting import artifact
from engine.forecasting.artifact import ArtifactError, dump, load
from engine.forecasting.forecaster import LightGBMForecaster
from engine.forecasting.naive import SeasonalNaiveRecipe
from engine.forecasting.recipe import LightGBMRecipe
from engine.frames.panel import Panel
from tests.engine.panels import FIRST, make_panel, weekly_demand

THROUGH = FIRST + timedelta(days=190)


@pytest.fixture(scope="module")
def panel() -> Panel:
    return make_panel(weekly_demand(days=200))


@pytest.fixture(scope="module")
def forecaster(panel: Panel) -> LightGBMForecaster:
    return LightGBMRecipe(rounds=5, num_leaves=7, history_days=None, calibration_days=28).fit(panel, through=THROUGH)


def test_round_trip_is_exact(panel: Panel, forecaster: LightGBMForecaster) -> None:
    content = dump(forecaster)

    again = load(content)

    assert again == forecaster
    assert dump(again) == content
    assert again.predict(panel, origin=THROUGH, horizon=7).equals(forecaster.predict(panel, origin=THROUGH, horizon=7))


def test_naive_and_single_booster_survive_too(panel: Panel, forecaster: LightGBMForecaster) -> None:
    naive = SeasonalNaiveRecipe().fit(panel, through=THROUGH)
    bare = replace(forecaster, typical_model=None, tail=None, intervals=None)

    assert load(dump(naive)) == naive
    assert load(dump(bare)) == bare


def altered(forecaster: LightGBMForecaster, **changes: Any) -> bytes:
    document = orjson.loads(dump(forecaster))
    for path, value in changes.items():
        target = document
        *parents, last = path.split("__")
        for name in parents:
            target = target[name]
        target[last] = value
    return orjson.dumps(document)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "tiltyard-forecaster/2"}, "format"),
        ({"kind": "pickle"}, "unknown kind"),
        ({"extra": 1}, "unknown: extra"),
        ({"mean_model__text": "tree\nversion=v4\n"}, "digest"),
        ({"mean_model": None}, "booster must be an object"),
        ({"names": ["a", "a"]}, "must be given, differ"),
        ({"names": ["a", "b"]}, "categories of unknown"),
        ({"names": ["a", "b"], "categories": {}}, "not those of the forecaster"),
        ({"categories": {"step": [1]}}, "list of strings"),
        ({"trained_through": "yesterday"}, "impossible value"),
        ({"trained_through": 5}, "impossible value"),
        ({"features__horizon": 0}, "impossible value"),
        ({"features__horizon": "7"}, "impossible value"),
        ({"features__colour": "red"}, "impossible value"),
        ({"blend__weights": [2.0]}, "impossible value"),
        ({"intervals__lower": []}, "impossible value"),
        ({"tail__days": [1]}, "impossible value"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_changed_field_is_refused_by_name(forecaster: LightGBMForecaster, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        load(altered(forecaster, **changes))


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"[]", b"{}", b"\x80\x04\x95pickle", b"tree\nversion=v4\n", b"PK\x03\x04", b'{"format": NaN}', b"[" * 5000],
)
def test_foreign_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(ArtifactError):
        load(content)


def test_truncated_bytes_are_refused_wherever_they_end(forecaster: LightGBMForecaster) -> None:
    content = dump(forecaster)

    for end in range(0, len(content), len(content) // 50):
        with pytest.raises(ArtifactError):
            load(content[:end])


def test_infinite_numbers_are_refused(forecaster: LightGBMForecaster) -> None:
    with pytest.raises(ArtifactError, match=r"JSON|finite"):
        load(dump(forecaster).replace(b'"nominal":0.9', b'"nominal":1e999'))


def test_oversized_bytes_are_refused_unread(forecaster: LightGBMForecaster, monkeypatch: pytest.MonkeyPatch) -> None:
    content = dump(forecaster)
    monkeypatch.setattr(artifact, "MAX_BYTES", len(content) - 1)

    with pytest.raises(ArtifactError, match="larger than"):
        load(content)
