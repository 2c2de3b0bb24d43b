"""How numbers and intervals are written."""

from typing import Any

import pytest

from registry.templatetags.tiltyard import day, file_words, interval


@pytest.mark.parametrize(
    ("bounds", "middle", "tone", "said"),
    [
        ((-0.45, -0.35), -0.4, "good", "better"),
        ((0.1, 0.3), 0.2, "bad", "worse"),
        ((-0.1, 0.3), 0.1, "", "within chance"),
        ((0.0, 0.0), 0.0, "", "within chance"),
    ],
)
def test_an_interval_says_on_which_side_of_zero_it_lies(bounds: tuple[float, float], middle: float, tone: str, said: str) -> None:
    shown = interval(bounds, middle, "units")["range"]

    assert said in shown.summary
    assert (shown.good, shown.bad) == (tone == "good", tone == "bad")
    assert 0 <= shown.low <= shown.middle <= shown.high <= 240


@pytest.mark.parametrize(("bounds", "middle"), [(None, 0.1), ((0.0, 1.0), None), ((float("nan"), 1.0), 0.5), ((0.0, float("inf")), 1.0)])
def test_what_is_no_interval_is_not_drawn(bounds: Any, middle: Any) -> None:
    assert interval(bounds, middle)["range"] is None


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"format": "parquet", "files": 1, "date_format": None}, "Parquet"),
        (
            {"format": "csv", "files": 3, "encoding": "utf-8", "delimiter": ";", "compressed": True, "date_format": "%d.%m.%Y"},
            "CSV, 3 files, utf-8, columns divided by a semicolon, compressed, days written as %d.%m.%Y",
        ),
        ({}, ""),
    ],
)
def test_how_files_are_written_is_said_in_words(source: dict[str, Any], said: str) -> None:
    assert file_words(source) == said


@pytest.mark.parametrize("text", ["2026-01-02", "2026-01-02T00:00:00Z", "2026-01-02T13:45:00+00:00"])
def test_days_in_documents_are_written_as_everywhere(text: str) -> None:
    assert day(text) == '<time datetime="2026-01-02" data-style="day">2026-01-02</time>'


@pytest.mark.parametrize(("value", "said"), [(None, '<span class="ty-none">–</span>'), ("soon", "soon"), (True, True)])
def test_what_is_no_day_stays_as_it_is(value: Any, said: Any) -> None:
    assert day(value) == said
