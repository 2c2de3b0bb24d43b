"""A text means the same in a file that is split, in a part, and in a question to a model."""

from pathlib import Path

import polars as pl
import pytest

from engine.tabular.columns import Column, columns_of
from engine.tabular.inputs import canonical, from_records
from engine.tabular.texts import NULL_WORDS, TEXT_NULLS, flag, flags, says_nothing, word, words
from tests.engine.tabular.samples import REGRESSION, cut, frames, parquet

ODD = [
    " Private", "Private\t", "\u00a0Private\u2003", "\x1cPrivate", "?", " ? ", "", "   ", "NaN", "nan ", "NA", "None", "n/a", "#N/A",
    "<NA>", "\\N", "null", "-", "TRUE", " False ", "true", "yes", "1", "İ", "ﬀ",
]  # fmt: skip


def test_rules_for_columns_and_for_single_values_are_equal() -> None:
    column = pl.DataFrame({"raw": ODD})

    for nulls in (TEXT_NULLS, NULL_WORDS):
        assert column.select(words(pl.col("raw"), nulls)).to_series().to_list() == [word(text, nulls) for text in ODD]
    assert column.select(flags(pl.col("raw"))).to_series().to_list() == [flag(text) for text in ODD]
    assert column.select(words(pl.col("raw"), NULL_WORDS).is_null()).to_series().to_list() == [says_nothing(text) for text in ODD]


@pytest.mark.parametrize("form", ["csv", "parquet", "json"])
def test_a_model_is_asked_in_the_texts_of_its_file(tmp_path: Path, form: str) -> None:
    """What stands in the file, sent to predict, is what training read."""
    rows = len(ODD)
    table = pl.DataFrame({"text": ODD, "y": range(rows)})
    if form == "csv":
        quoted = "".join(f'"{text}",{number}\n' for number, text in enumerate(ODD))
        prepared, parts = cut(tmp_path, f"text,y\n{quoted}", REGRESSION)
    elif form == "parquet":
        prepared, parts = cut(tmp_path, parquet(tmp_path, table), REGRESSION)
    else:
        prepared, parts = cut(tmp_path, table.write_json().encode(), REGRESSION, kind="records")
    learnt = pl.concat(frames(parts).values()).sort("y")

    assert prepared.rows == rows
    asked, _ = from_records(table.select("text").to_dicts(), columns_of(learnt, ["text"]))
    assert asked["text"].to_list() == learnt["text"].to_list()
    assert canonical(table, columns_of(learnt, ["text"]))["text"].to_list() == learnt["text"].to_list()


@pytest.mark.parametrize("text", ["TRUE", " true ", "False", "?", "", "NA"])
def test_a_flag_is_told_as_it_stands_in_a_file(tmp_path: Path, text: str) -> None:
    values = ["TRUE", "False", "true", "FALSE", text, "true"] * 3
    _, parts = cut(tmp_path, "flag,y\n" + "".join(f'"{value}",{number}\n' for number, value in enumerate(values)), REGRESSION)
    learnt = pl.concat(frames(parts).values()).sort("y")

    asked, _ = from_records([{"flag": value} for value in values], [Column("flag", "boolean")])

    assert learnt.schema["flag"] == pl.Boolean
    assert asked["flag"].to_list() == learnt["flag"].to_list()
    assert canonical(pl.DataFrame({"flag": values}), [Column("flag", "boolean")])["flag"].to_list() == learnt["flag"].to_list()


@pytest.mark.parametrize("kind", ["numeric", "boolean", "datetime"])
@pytest.mark.parametrize("text", ["?", "", " NA ", "NaN", "null", "-"])
def test_a_text_that_says_nothing_is_a_missing_value_of_any_kind(kind: str, text: str) -> None:
    column = Column("a", kind)  # type: ignore[arg-type]  # one of the kinds

    asked, _ = from_records([{"a": text}], [column])

    assert asked["a"].to_list() == [None]
    assert canonical(pl.DataFrame({"a": [text]}), [column])["a"].to_list() == [None]
