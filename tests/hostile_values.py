"""What no form should hold, by the kind of control it is written into."""

from typing import Any
from uuid import UUID

MARK = "<script>alert('hostile')</script>"
HUGE = "1" + "0" * 400
DEEP = '{"a":' * 3_000 + "1" + "}" * 3_000
FOREIGN = UUID("0f0f0f0f-0f0f-4f0f-8f0f-0f0f0f0f0f0f")
WORDS: dict[str, Any] = {
    "NUL": b"a\x00b",
    "a lone surrogate": b"a\xed\xa0\x80",
    "long": "x" * 60_000,
    "100,000 characters": "x" * 100_000,
    "HTML": MARK,
    "empty": "",
}
NUMBERS: dict[str, Any] = {"NaN": "NaN", "infinity": "1e999", "huge": HUGE, "negative": "-1", "empty": "", "NUL": b"1\x00"}
JSON: dict[str, Any] = {
    "NaN": '{"a": NaN}',
    "infinity": '{"a": 1e999}',
    "a key twice": '{"a": 1, "a": 2}',
    "a lone surrogate": '{"a": "\\ud800"}',
    "NUL": '{"a": "\\u0000"}',
    "deep": DEEP,
    "deep list": "[" * 30_000,
    "huge": f'{{"a": {HUGE}}}',
    "no object": "NaN",
}
CHOICES: dict[str, Any] = {"another customer's": str(FOREIGN), "HTML": MARK}
HIDDEN: dict[str, Any] = {**CHOICES, "huge": HUGE, "empty": "", "NUL": b"\x00"}
BY_KIND = {"words": WORDS, "number": NUMBERS, "json": WORDS | JSON, "choice": CHOICES, "hidden": HIDDEN}
BY_KIND["file"] = {"NUL": b"\x00" * 50, "empty": b"", "no text": b"\xff\xfe\xff"}
