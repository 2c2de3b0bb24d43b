"""Requests made up from the OpenAPI document: mostly what it describes, with something hostile here and there."""

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

HOSTILE_TEXTS = (
    "", " ", "\x00", "a\x00b", "x" * 300, "x" * 70_000, "é\u202e模\U0001f600", "../../etc/passwd", "=1+1", "%s%n", "'; DROP TABLE x;--",
    "null", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999-14:00", "2026-02-30", "-1", "1e999", "\ud800", "\uffff", "a\r\nb",
    "v999999", "{{7*7}}", "%00", "1" * 5000, "\u0130\u0131", "file:///etc/passwd", "http://169.254.169.254/", "s3://x/y", "[::1]", "a@b",
    "\u2028",
)  # fmt: skip
HOSTILE_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**62, 2**63, -(2**63) - 1, 10**400, 1e308, -0.0, 0.5, 5e-324, [], {}, [None], [[]], [{}],
    {"": ""}, {"a": None}, {"a": {"b": [1, "x", None]}}, ["x"] * 2000, {f"k{number}": number for number in range(500)},
)  # fmt: skip
RAW_BODIES = (
    b"", b"null", b"[]", b"1", b'"x"', b"{", b"\xff\xfe", b'{"a": NaN}', b'{"a": Infinity}', b'{"a": 1e999}', b'{"a": "\\u0000"}',
    b'{"a": "\\ud800"}', b'{"a":1,"a":2}', b"[" * 30_000, b'{"a":' * 100 + b"1" + b"}" * 100, b'{"\\u0000": 1}', b'{"\\ud800": 1}',
    b"\xef\xbb\xbf{}", b"{}x", b"{" + b" " * 60_000 + b"}", b"a=1&b=2", b"--x\r\n\r\n",
    b'{"rows": [' + b'{"date": "2026-01-01", "value": 1},' * 500 + b"1]}",
)  # fmt: skip
TYPES = (
    "application/json",
    "application/json; charset=utf-16",
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "a/b; c=",
    "",
)
HEADERS = (
    ("If-Match", '"x"'), ("If-Match", "*"), ("If-Match", '"model-99999999999999999999"'), ("Idempotency-Key", "x"),
    ("Idempotency-Key", "k" * 300), ("X-Request-ID", "é" * 10), ("Accept", "text/html"), ("Accept", "application/xml;q=\xff"),
    ("X-HTTP-Method-Override", "DELETE"), ("Accept-Language", "\xff"), ("Content-Encoding", "gzip"),
    ("Cookie", "sessionid=x; csrftoken=\xff"), ("X-Forwarded-For", "1.2.3.4, \xff"), ("Range", "bytes=0-"), ("If-None-Match", "*"),
    ("Expect", "nothing"), ("Origin", "null"), ("Idempotency-Key", "\xff"), ("If-Modified-Since", "x"),
)  # fmt: skip
QUERIES = (
    "page",
    "page_size",
    "limit",
    "ordering",
    "search",
    "status",
    "format",
    "model_name",
    "days",
    "since",
    "unknown",
    "cursor",
    "customer",
    "id__in",
)


NAMED = {
    "model_name": ("demand_forecast",),
    "version": ("v1", "v2", "v3", "v4", "v5"),
    "name": ("m5_small", "ours", "new"),
    "number": ("1",),
    "champion": ("v2",),
    "page": ("1", "2"),
    "user_id": ("kim@example.com",),
    "email": ("kim@example.com",),
    "url": ("https://hooks.example.com/x",),
    "data_dir": ("",),
    "dataset_id": (None,),
}
"""What stands in slots of these names, where nothing hostile does."""


@dataclass(frozen=True)
class Request:
    """One to send."""

    method: str
    path: str
    body: bytes | None
    headers: dict[str, str]

    def __str__(self) -> str:
        return f"{self.method} {self.path[:300]} {self.headers} {(self.body or b'')[:300]!r}"


@dataclass
class Maker:
    """`known` are identifiers and names that exist, to reach beyond the 404."""

    document: dict[str, Any]
    chance: random.Random
    known: Sequence[str]
    hostility: float = 0.0
    _operations: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._ids = [one for one in self.known if len(one) == 36] or ["00000000-0000-0000-0000-000000000000"]
        self._operations = [
            (method.upper(), path, details)
            for path, methods in sorted(self.document["paths"].items())
            for method, details in methods.items()
            if method != "parameters"
        ]

    def request(self) -> Request:
        """The next one."""
        self.hostility = self.chance.choice((0.0, 0.0, 0.05, 0.15, 0.4))
        method, path, details = self.chance.choice(self._operations)
        parameters = details.get("parameters", [])
        path = re.sub(r"\{(\w+)\}", lambda match: self._segment(match[1]), path)
        query = self._query([one for one in parameters if one["in"] == "query"])
        headers = {"Content-Type": "application/json" if self.chance.random() >= self.hostility / 2 else self.chance.choice(TYPES)}
        headers |= dict([self.chance.choice(HEADERS)]) if self.chance.random() < 0.2 else {}
        if self.chance.random() < 0.02:
            method = self.chance.choice(("HEAD", "OPTIONS", "PUT", "TRACE", "FOO", "PATCH", "DELETE"))
        return Request(method, path + query, None if method in ("GET", "HEAD") else self._body(details), headers)

    def _segment(self, name: str) -> str:
        if self.chance.random() < 0.7 or not self.hostility:
            return quote(self.chance.choice(NAMED.get(name, self._ids)), safe="")
        if self.chance.random() < 0.5:
            return quote(self.chance.choice(self.known), safe="")
        return quote(self.chance.choice(HOSTILE_TEXTS).encode("utf-8", "surrogatepass")[:2000], safe="") or "%20"

    def _query(self, declared: list[dict[str, Any]]) -> str:
        pairs = [(one["name"], self._named(one["name"], one.get("schema", {}), 1)) for one in declared if self.chance.random() < 0.3]
        if self.chance.random() < self.hostility:
            pairs.append((self.chance.choice(QUERIES), self.chance.choice(HOSTILE_TEXTS)))
        text = "&".join(f"{name}={quote(str(value).encode('utf-8', 'surrogatepass')[:3000], safe='')}" for name, value in pairs)
        return f"?{text}" if text else ""

    def _body(self, details: dict[str, Any]) -> bytes:
        content = details.get("requestBody", {}).get("content", {})
        if self.chance.random() < self.hostility / 2 or not content:
            return self.chance.choice(RAW_BODIES)
        schema = content.get("application/json", next(iter(content.values()))).get("schema", {})
        made = self._value(schema, 0)
        if isinstance(made, dict) and self.chance.random() < self.hostility / 2:
            made["unknown"] = 1
        return json.dumps(made).encode()

    def _value(self, schema: dict[str, Any], depth: int) -> Any:
        if depth and self.chance.random() < self.hostility:
            return self.chance.choice(HOSTILE_TEXTS) if self.chance.random() < 0.5 else self.chance.choice(HOSTILE_VALUES)
        if "$ref" in schema:
            return self._value(self.document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]], depth)
        for several in ("oneOf", "anyOf", "allOf"):
            if several in schema:
                return self._value(self.chance.choice(schema[several]), depth)
        if "enum" in schema:
            return self.chance.choice(schema["enum"])
        kind = schema.get("type", "object" if "properties" in schema else "string")
        kind = self.chance.choice(kind) if isinstance(kind, list) else kind
        if kind == "object":
            required = set(schema.get("required", ()))
            wanted = {name: one for name, one in schema.get("properties", {}).items() if name in required or self.chance.random() < 0.35}
            if not wanted and depth < 4:
                return {self.chance.choice(("a", "mae", "kind", "features")): self._value({"type": "string"}, depth + 1)}
            return {name: self._named(name, one, depth + 1) for name, one in wanted.items()} if depth < 8 else {}
        if kind == "array":
            return [self._value(schema.get("items", {}), depth + 1) for _ in range(self.chance.randint(0, 3))] if depth < 8 else []
        if kind in ("integer", "number"):
            return self.chance.choice((0, 1, 2, 7, 30, 100, schema.get("minimum", 1), schema.get("maximum", 50)))
        if kind == "boolean":
            return self.chance.random() < 0.5
        return None if kind == "null" else self._text(schema.get("format", ""))

    def _named(self, name: str, schema: dict[str, Any], depth: int) -> Any:
        plain = name in NAMED and self.chance.random() < 0.8 and self.chance.random() >= self.hostility
        return self.chance.choice(NAMED[name]) if plain else self._value(schema, depth)

    def _text(self, form: str) -> str:
        if form == "uuid":
            return self.chance.choice(self._ids)
        known = {"date": "2026-03-01", "date-time": "2026-03-01T12:00:00Z", "email": "kim@example.com", "uri": "https://example.com/x"}
        if form in known:
            return known[form]
        return self.chance.choice((*self.known, f"n{self.chance.randrange(10**6)}", "lightgbm", "retail", "é", "A reason."))
