"""JSON, strictly: what is accepted can be stored, read back and shown, for ever."""

import json
from collections import Counter
from typing import Any

import orjson
from rest_framework import renderers
from rest_framework.exceptions import ParseError
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser

from mlops.storable import flaw_of_number, flaw_of_text

MAX_DEPTH = 64
_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC | orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY


class JSONProblem(ValueError):
    """A JSON value that is refused; `path` says where."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path or 'body'}: {message}")
        self.path, self.message = path, message

    @property
    def placed(self) -> str:
        """What is wrong, after where in the value it is; for those who name the text it stands in themselves."""
        return str(self) if self.path else self.message


def check_value(value: Any, path: str = "", depth: int = 0) -> None:
    """Raise JSONProblem for what a database, a browser or another language could not take: NUL, lone surrogates, NaN, infinity,
    integers beyond 64 bits, nesting deeper than 64."""
    if depth >= MAX_DEPTH and isinstance(value, dict | list):
        raise JSONProblem(path, f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, str):
        _check_text(value, path)
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, int | float):
        if flaw := flaw_of_number(value):
            raise JSONProblem(path, flaw)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_text(key, f"{path}.{key!a}"[:100])
            check_value(item, f"{path}.{key}"[:200].lstrip("."), depth + 1)
    else:
        for position, item in enumerate(value):
            check_value(item, f"{path}[{position}]"[:200], depth + 1)


def _check_text(text: str, path: str) -> None:
    if flaw := flaw_of_text(text):
        raise JSONProblem(path.encode("ascii", "backslashreplace").decode(), flaw)


def loads(content: bytes) -> Any:
    """Parse strictly. Raises JSONProblem for malformed text, duplicate keys and everything `check_value` refuses."""
    try:
        value = json.loads(content.decode(), object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_int=_small_integer)
    except UnicodeDecodeError:
        raise JSONProblem("", "not UTF-8") from None
    except RecursionError:
        raise JSONProblem("", f"nested deeper than {MAX_DEPTH} levels") from None
    except json.JSONDecodeError as error:
        raise JSONProblem("", f"not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    check_value(value)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise JSONProblem(twice.encode("ascii", "backslashreplace").decode()[:100], "the key is given twice")
    return value


def _refuse_constant(name: str) -> Any:
    raise JSONProblem("", f"{name} is not a JSON number")


def _small_integer(digits: str) -> int:
    if len(digits) > 20:
        raise JSONProblem("", "integers must fit in 64 bits")
    return int(digits)


def dumps(value: Any) -> bytes:
    """The value as UTF-8 JSON: times in UTC with Z, NaN and infinity as null, what JSON does not know as text."""
    try:
        return orjson.dumps(value, default=str, option=_OPTIONS)
    except orjson.JSONEncodeError:
        return orjson.dumps(_with_floats(value), default=str, option=_OPTIONS)


def _with_floats(value: Any) -> Any:
    # A float such as 1e300 comes back from PostgreSQL as an integer of 301 digits, which orjson would not write.
    if isinstance(value, int) and flaw_of_number(value):
        return float(value)
    if isinstance(value, dict):
        return {name: _with_floats(item) for name, item in value.items()}
    return [_with_floats(item) for item in value] if isinstance(value, list | tuple) else value


class StrictJSONParser(BaseParser):
    """The API's only parser where no file is expected."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        """The body as a value. Raises ParseError, answered as 400."""
        content = stream.read()
        if not content.strip():
            return {}
        try:
            return loads(content)
        except JSONProblem as problem:
            raise ParseError(str(problem)) from None


class JSONRenderer(renderers.BaseRenderer):
    """JSON by orjson. Times are UTC with Z; NaN cannot be written (a value that holds one becomes null)."""

    media_type = "application/json"
    format = "json"
    charset = None
    render_style = "binary"

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        """The value as UTF-8 JSON; nothing for an answer without a body."""
        return b"" if data is None else dumps(data)


class JSONOnly(BaseContentNegotiation):
    """No negotiation: parsers by content type, and always the first renderer."""

    def select_parser(self, request: Any, parsers: Any) -> Any:
        """The parser for the content type; a request without a body needs none."""
        content_type = (request.content_type or "application/json").split(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == content_type), None)

    def select_renderer(self, request: Any, renderers: Any, format_suffix: str | None = None) -> Any:
        """The first renderer, whatever Accept says."""
        return renderers[0], renderers[0].media_type
