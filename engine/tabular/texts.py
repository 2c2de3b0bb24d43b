"""What a text means, wherever it stands: in a file that is split, in the rows of a part, or in a question to a model.

The one definition of it. Texts are trimmed; some words only say that there is no value; a flag is true or false in any letters.
Each rule is there twice, for columns and for single values, and a test holds the two equal.
"""

from collections.abc import Sequence

import polars as pl

from engine.frames.mapping import Decimal
from engine.frames.values import NULL_WORDS, as_number

__all__ = ["FLAG_WORDS", "NULL_WORDS", "TEXT_NULLS", "flag", "flags", "numbers", "says_nothing", "word", "words"]

TEXT_NULLS = ("", "?", "nan", "null", "n/a", "#n/a", "<na>", "\\n")
"""What means "no value" among categories. Narrower than NULL_WORDS, which is for other kinds: NA and None are names of categories, too."""
FLAG_WORDS = {"true": True, "false": False}
_SPACE = "".join(map(chr, [*range(0x9, 0xE), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000]))
"""What Polars strips: Unicode's White_Space."""


def words(raw: pl.Expr, nulls: Sequence[str] = TEXT_NULLS) -> pl.Expr:
    """A column of texts, trimmed; null where a text says that there is no value. By default as categories are read."""
    text = raw.str.strip_chars()
    return pl.when(text.str.to_lowercase().is_in(list(nulls))).then(None).otherwise(text)


def word(text: str, nulls: Sequence[str] = TEXT_NULLS) -> str | None:
    """`words` of one text."""
    trimmed = text.strip(_SPACE)
    return None if trimmed.lower() in nulls else trimmed


def flags(raw: pl.Expr) -> pl.Expr:
    """A column of texts as flags; null also where a text is no flag: compare with `words(raw, NULL_WORDS)`."""
    return words(raw, NULL_WORDS).str.to_lowercase().replace_strict(FLAG_WORDS, default=None, return_dtype=pl.Boolean)


def flag(text: str) -> bool | None:
    """`flags` of one text."""
    return FLAG_WORDS.get(text.strip(_SPACE).lower())


def says_nothing(text: str) -> bool:
    """Whether one text says that there is no value, where a number, a flag or a moment is expected."""
    return word(text, NULL_WORDS) is None


def numbers(name: str, *, decimal: Decimal = ".") -> pl.Expr:
    """A column of texts as numbers; null also where a text is no number: compare with `words(raw, NULL_WORDS)`."""
    if decimal == ",":
        return as_number(name, pl.String(), decimal=decimal)
    return pl.col(name).map_batches(_plain_or_grouped, return_dtype=pl.Float64(), is_elementwise=True)


def _plain_or_grouped(texts: pl.Series) -> pl.Series:
    """Most numbers are plain, and a cast reads them; only what is left is looked at closely, which takes ten times as long."""
    plain = texts.str.strip_chars().cast(pl.Float64, strict=False).fill_nan(None)
    left = (plain.is_null() & texts.is_not_null()).arg_true()
    if left.is_empty():
        return plain
    closely = texts.gather(left).to_frame("left").select(as_number("left", pl.String(), decimal=".")).to_series()
    return plain.scatter(left, closely)
