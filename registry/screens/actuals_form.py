"""Sending ground truth from the browser: rows as CSV text, or as a file."""

import csv
import math
import re
from datetime import date
from io import StringIO
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.dateparse import parse_date

from engine.frames.limits import LARGEST_VALUE
from mlops.admin_site import page, principal_of, show, show_refusal
from mlops.database.reading import reading
from mlops.errors import DomainError, InvalidFields
from mlops.storable import flaw_of_text
from registry.models import RegisteredModel
from registry.screens.models import model_crumbs, model_of
from registry.services.actuals import MOST_ACTUALS, ActualRow, record_actuals
from registry.services.panels import NoData, newest_data

WILL = "What demand really was: the daily validation scores the champion on it. A row that is known is corrected; all are kept, or none."
DATE, VALUE = "date", "value"
LONGEST_CELL = 254
MOST_PROBLEMS = 50
Problem = tuple[int, str, str]
"""Line, column, what is wrong."""
_POSITION = re.compile(r"rows\[(\d+)\]\.(\w+)\Z")


class Problems(Exception):
    """What in a text keeps it from being rows."""

    def __init__(self, *found: Problem) -> None:
        super().__init__(found)
        self.found = found


class ActualsForm(forms.Form):
    """Rows, one way or the other."""

    rows = forms.CharField(
        required=False,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 8, "spellcheck": "false", "class": "ty-code"}),
        help_text="With a header. Commas, semicolons or tabs between; days as 2026-03-01, a point in numbers.",
    )
    file = forms.FileField(required=False, help_text=f"Or a CSV file, in UTF-8; at most {MOST_ACTUALS:,} rows either way.")

    def text(self) -> str:
        """What was sent, the file first. Raises Problems."""
        file = self.cleaned_data["file"]
        if file is None:
            if not self.cleaned_data["rows"].strip():
                raise Problems((0, "", "Write the rows, or choose a file."))
            return str(self.cleaned_data["rows"])
        try:
            return bytes(file.read()).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise Problems((0, "", f"The file is not UTF-8: byte {error.start + 1} does not belong there.")) from None


@transaction.non_atomic_requests
@page("registry/registeredmodel/<uuid:pk>/actuals/", name="registry_actuals", action="model.actuals", file_limit="MAX_BODY_BYTES")
def actuals(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Take rows and keep them, all or none."""
    principal = principal_of(request)
    principal.authorize("model.actuals")
    with reading():
        model = model_of(pk)
    form = ActualsForm(request.POST, request.FILES) if request.method == "POST" else ActualsForm()
    problems: list[dict[str, Any]] = []
    if request.method == "POST" and form.is_valid():
        lines: list[int] = []
        try:
            rows, lines = read_rows(form.text())
            kept = record_actuals(model=model, rows=rows, by=principal, at=timezone.now())
        except Problems as wrong:
            problems = [_told(*one) for one in wrong.found]
            form.add_error(None, "The rows cannot be kept as they are. None was.")
        except InvalidFields as refusal:
            problems = [_told(*_place(one, lines)) for one in refusal.errors]
            form.add_error(None, str(refusal))
        except DomainError as refusal:
            show_refusal(form, refusal)
        else:
            messages.success(request, f"{kept['received']} rows are kept: {kept['new']} new, {kept['corrected']} corrected.")
            return redirect("admin:registry_model_page", pk)
    with reading():
        return show(
            request,
            "registry/form.html",
            title=f"Send actuals of {model}",
            crumbs=[*model_crumbs(model), ("Send actuals", "")],
            form=form,
            text=f"{WILL} {_wanted(model)}",
            button="Send them",
            problems=problems,
            multipart=True,
        )


def read_rows(text: str) -> tuple[list[ActualRow], list[int]]:
    """The rows of a table whose columns are date, value and the keys, and the line each begins on. Raises Problems."""
    head = next((line for line in text.splitlines() if line.strip()), "")
    reader = csv.reader(StringIO(text, newline=""), delimiter=max(",;\t", key=head.count), strict=True)
    names: list[str] = []
    rows: list[ActualRow] = []
    lines: list[int] = []
    wrong: list[Problem] = []
    before = 0
    try:
        for cells in reader:
            line, before = before + 1, reader.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if not names:
                names = _header(cells, line)
                continue
            if len(rows) + len(wrong) >= MOST_ACTUALS:
                raise Problems((line, "", f"Send at most {MOST_ACTUALS:,} rows at a time."))
            try:
                rows.append(_row(names, cells, line))
                lines.append(line)
            except Problems as found:
                wrong += found.found
    except csv.Error as error:
        raise Problems((before + 1, "", f"This is no CSV: {error}.")) from None
    if wrong:
        raise Problems(*wrong[:MOST_PROBLEMS])
    if not rows:
        raise Problems((0, "", "There is no row below the header."))
    return rows, lines


def _header(cells: list[str], line: int) -> list[str]:
    names = [cell.strip() for cell in cells]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise Problems((line, "", f"The header names {twice[:LONGEST_CELL]} twice."))
    if not {DATE, VALUE} <= set(names):
        raise Problems((line, "", f"The header needs the columns {DATE} and {VALUE}, beside those that name the series."))
    return names


def _row(names: list[str], cells: list[str], line: int) -> ActualRow:
    if len(cells) != len(names):
        raise Problems((line, "", f"It has {len(cells)} columns, the header has {len(names)}."))
    given = dict(zip(names, cells, strict=True))
    day, value = _day(given.pop(DATE).strip()), _number(given.pop(VALUE).strip())
    found: list[Problem] = []
    if day is None:
        found.append((line, DATE, "Write the day as 2026-03-01."))
    if value is None:
        found.append((line, VALUE, f"Must be a number between −{LARGEST_VALUE:g} and {LARGEST_VALUE:g}."))
    for name, cell in given.items():
        if len(cell) > LONGEST_CELL:
            found.append((line, name, f"It is longer than {LONGEST_CELL} characters."))
        elif flaw := flaw_of_text(cell):
            found.append((line, name, flaw))
    if found or day is None or value is None:
        raise Problems(*found)
    return ActualRow(day, given, value)


def _day(text: str) -> date | None:
    try:
        return parse_date(text)
    except ValueError:
        return None


def _number(text: str) -> float | None:
    try:
        value = math.nan if "_" in text else float(text)
    except ValueError:
        return None
    return value if abs(value) <= LARGEST_VALUE else None


def _wanted(model: RegisteredModel) -> str:
    """The header that the model's data asks for. One query."""
    try:
        keys = newest_data(model).mapping.get("keys", [])
    except NoData as missing:
        return str(missing)
    return f"The header here: {','.join([DATE, *keys, VALUE])}"


def _place(error: dict[str, str], lines: list[int]) -> Problem:
    """Where a problem that names a row by its position stands in the text."""
    found = _POSITION.match(error["field"])
    return (lines[int(found[1])], found[2], error["message"]) if found else (0, error["field"], error["message"])


def _told(line: int, column: str, message: str) -> dict[str, Any]:
    """A problem as the template shows it."""
    place = ", ".join([*([f"line {line}"] if line else []), *([column[:LONGEST_CELL]] if column else [])])
    return {"severity": "error", "column": place, "message": message, "examples": []}
