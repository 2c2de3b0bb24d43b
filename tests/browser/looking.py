"""Looking at a page as people do: in a theme, at a width, through axe-core, and as a picture for whoever wants to look."""

import os
from collections.abc import Callable
from pathlib import Path

from django.conf import settings
from playwright.sync_api import Page

LogIn = Callable[..., None]
AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text(encoding="utf-8")
SIDEWAYS = """() => [...document.querySelectorAll(".ty-scroll:not(.ty-numbers)")]
    .filter(one => one.scrollWidth > one.clientWidth).map(one => one.getAttribute("aria-label"))"""
"""The tables of a page that are cut; those behind charts are long lists of numbers, and may be."""
PICTURES = os.environ.get("TILTYARD_PICTURES", "")
"""A folder for screenshots of everything, for people who want to look."""
DOCS_SCREENSHOTS = os.environ.get("DOCS_SCREENSHOTS") == "1"
"""Whether the pictures of the documentation are taken anew."""
DOCS = Path(settings.BASE_DIR) / "docs" / "img"


def choose_theme(page: Page, theme: str) -> None:
    """Light or dark, from the next page on."""
    page.add_init_script(f"localStorage.setItem('_x_adminTheme', JSON.stringify('{theme}'))")
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]  # one of two literals


def problems(page: Page, url: str, *, name: str = "", widths: tuple[int, ...] = (1400, 390, 2560)) -> list[str]:
    """What axe-core finds serious in the page at the first width, at which of the widths it scrolls sideways, and tables cut on a phone."""
    page.set_viewport_size({"width": widths[0], "height": 900})
    page.goto(url, wait_until="load")
    found = serious(page)
    for width in widths:
        page.set_viewport_size({"width": width, "height": 900})
        wide = page.evaluate("() => document.documentElement.scrollWidth")
        found += [f"{wide} pixels wide on {width}"] * (wide > width)
        found += [f"{name} scrolls sideways on {width}" for name in page.evaluate(SIDEWAYS) if width < 600]
        if PICTURES:
            page.wait_for_timeout(400)
            page.screenshot(path=f"{PICTURES}/{name}-{width}.png", full_page=True)
    return found


def serious(page: Page) -> list[str]:
    """What axe-core finds serious or critical in the page as it stands."""
    page.evaluate(AXE)
    violations = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")["violations"]
    bad = [one for one in violations if one["impact"] in ("serious", "critical")]
    return [f"{one['id']}: {node['html'][:300]}" for one in bad for node in one["nodes"][:4]]


def picture(page: Page, name: str, *, height: int = 900) -> None:
    """A picture for the documentation, if it is wanted."""
    if not DOCS_SCREENSHOTS:
        return
    page.set_viewport_size({"width": 1400, "height": height})
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(400)
    DOCS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(DOCS / f"{name}.png"))
