"""`/docs/problems`: what the `type` of a problem points at. The page is `docs/problems.md`, so it says what the documentation says."""

import re
from functools import lru_cache

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from mlops.api.errors import read_only

LIST_ITEM = re.compile(r"^- ")
RULE_OF_TABLE = re.compile(r"^\|[\s|:-]+\|$")


@read_only
def problems(request: HttpRequest) -> HttpResponse:
    """The catalog of problem codes, one heading with its anchor per code. For anybody: it tells nothing of anybody's data."""
    return render(request, "tiltyard/problems.html", {"content": _page()})


@lru_cache(maxsize=1)
def _page() -> SafeString:
    return as_html((settings.BASE_DIR / "docs" / "problems.md").read_text())


def as_html(text: str) -> SafeString:
    """The Markdown of our own pages, escaped and as HTML: headings, paragraphs, lists, tables, fenced blocks, code, links."""
    parts: list[str] = []
    for position, block in enumerate(re.split(r"^```\w*\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)):
        if position % 2:
            parts.append(f'<pre tabindex="0">{escape(block)}</pre>')
        else:
            parts += [_block(lines) for lines in _blocks(block)]
    return mark_safe("\n".join(parts))  # noqa: S308 - every part of the text went through `escape`


def _blocks(text: str) -> list[list[str]]:
    """Paragraphs, lists and tables; a heading is a block even where text follows in the next line."""
    spaced = re.sub(r"^(#+ .*)$", r"\n\1\n", text, flags=re.MULTILINE)
    return [block.strip("\n").splitlines() for block in re.split(r"\n\s*\n", spaced) if block.strip()]


def _block(lines: list[str]) -> str:
    first = lines[0]
    if first.startswith("#"):
        level, _, title = first.partition(" ")
        anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        return f'<h{len(level)} id="{anchor}">{_inline(title)}</h{len(level)}>'
    if first.startswith("|"):
        rows = [line.strip().strip("|").split("|") for line in lines if not RULE_OF_TABLE.match(line)]
        cells = ["".join(f"<td>{_inline(cell.strip())}</td>" for cell in row) for row in rows]
        return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"
    if LIST_ITEM.match(first):
        items = LIST_ITEM.sub("", "\n".join(lines)).split("\n- ")
        return f"<ul>{''.join(f'<li>{_inline(item)}</li>' for item in items)}</ul>"
    return f"<p>{_inline(' '.join(lines))}</p>"


def _inline(text: str) -> str:
    escaped: str = escape(text)
    escaped = re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped)
    escaped = re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", escaped)
    escaped = re.sub(r"\[([^\]]+)\]\((#[\w-]+)\)", r'<a href="\2">\1</a>', escaped)
    return re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", escaped)  # other pages of the documentation are not served here
