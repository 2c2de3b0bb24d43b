"""Small files in the shapes users have, and the real data sets where they are at hand."""

import os
import random
from datetime import date, timedelta
from pathlib import Path

import pytest

from engine.frames.mapping import Mapping
from engine.frames.problems import FrameError
from engine.frames.reading import read_panel

FIRST = date(2024, 1, 1)
LONG = Mapping("long", "date", "units", ("store", "item"))
SINGLE = Mapping("long", "date", "units")


def days(count: int, first: date = FIRST) -> list[date]:
    return [first + timedelta(days=index) for index in range(count)]


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def single_csv(count: int = 40, *, header: str = "date,units", pattern: str = "%Y-%m-%d", separator: str = ",") -> str:
    rows = [f"{day.strftime(pattern)}{separator}{index + 1}" for index, day in enumerate(days(count))]
    return "\n".join([header, *rows]) + "\n"


def long_csv(count: int = 40, *, stores: tuple[str, ...] = ("North", "South"), items: tuple[str, ...] = ("ale", "bun")) -> str:
    rows = [f"{day},{store},{item},{10 + day.day}" for store in stores for item in items for day in days(count)]
    return "\n".join(["date,store,item,units", *rows]) + "\n"


def order_lines(count: int = 60, *, seed: int = 7) -> str:
    """Like UCI's Online Retail: shut on Saturdays, with cancellations, returns, lines without item and free goods."""
    chance = random.Random(seed)
    rows = ["InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"]
    number = 536365
    for day in days(count):
        if day.weekday() == 5:
            continue
        for code in ("85123A", "71053", "84406B", "22423"):
            for _ in range(3):
                number += 1
                rows.append(
                    f"{number},{code},THING {code},{chance.randint(4, 9)},{day.month}/{day.day}/{day.year} 8:26,2.55,17850,United Kingdom"
                )
    last = days(count)[-3]
    stamp = f"{last.month}/{last.day}/{last.year} 9:00"
    rows += [
        f"C{number + 1},85123A,THING,-5,{stamp},2.55,17850,United Kingdom",
        f"{number + 2},71053,damaged,-2,{stamp},2.55,,United Kingdom",
        f"{number + 3},,,3,{stamp},2.55,,United Kingdom",
        f"{number + 4},84406B,gift,3,{stamp},0,,United Kingdom",
    ]
    return "\n".join(rows) + "\n"


def refused(path: Path, mapping: Mapping) -> FrameError:
    """The error that reading this file must end with."""
    with pytest.raises(FrameError) as caught:
        read_panel(path, mapping)
    return caught.value


def shared_data() -> Path:
    """The folder of real data sets; skips where it is absent, but never in CI."""
    shared = Path(os.environ.get("TILTYARD_SHARED") or Path(__file__).resolve().parents[3] / ".." / "shared")
    folder = shared / "data"
    if not folder.is_dir():
        if os.environ.get("CI") == "true":
            pytest.fail("TILTYARD_SHARED does not lead to the real data sets")
        pytest.skip("the real data sets are not here (TILTYARD_SHARED)")
    return folder
