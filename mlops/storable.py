"""What every database, browser and language can hold: the one place that knows, for those who ask, refuse or repair.

Text without NUL and lone surrogates; finite numbers; integers of at most 64 bits.
"""

import math
import unicodedata
from typing import Any

_BREAKS = {"Cc", "Zl", "Zp"}  # not Cf: it joins emoji and letters
SMALLEST, BEYOND = -(2**63), 2**63
LONGEST_SEARCH = 200
"""Characters of words to look for; SQLite compares no pattern of more than 50,000."""


def flaw_of_text(text: str) -> str:
    """Why the text cannot be stored; empty where it can."""
    if "\x00" in text:
        return "the NUL character is not allowed"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "lone surrogates are not valid text"
    return ""


def flaw_of_name(text: str) -> str:
    """Why the text cannot be a name in a list or a log; empty where it can."""
    if flaw := flaw_of_text(text):
        return flaw
    return "line breaks and control characters are not allowed" if any(unicodedata.category(one) in _BREAKS for one in text) else ""


def flaw_of_number(number: int | float) -> str:
    """Why the number cannot be stored; empty where it can."""
    if isinstance(number, float):
        return "" if math.isfinite(number) else "NaN and infinity are not JSON numbers"
    return "" if SMALLEST <= number < BEYOND else "integers must fit in 64 bits"


def storable(text: str) -> bool:
    """Whether there is a text at all, and a database could hold it."""
    return bool(text) and not flaw_of_text(text)


def clean(value: Any) -> Any:
    """The JSON value repaired: characters replaced by U+FFFD or a question mark, NaN and infinity null, larger integers as text."""
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {clean(str(name)): clean(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [clean(entry) for entry in value]
    if isinstance(value, int | float) and flaw_of_number(value):
        return None if isinstance(value, float) else str(value)
    return value
