"""A real Chromium for the screens' tests; what a page logs as an error, or fails to fetch, is collected beside it."""

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright
from pytest_django.live_server_helper import LiveServer

from tests.browser.chromium import FLAGS, Complaints, chromium
from tests.browser.looking import LogIn
from tests.conftest import PASSWORD
from tests.plugin import missing

# Playwright's synchronous interface runs an event loop in this thread, which Django takes for asynchronous code.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    """Playwright's driver."""
    with sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """One Chromium for all tests of a process; each test gets a context of its own by `page`."""
    path = chromium()
    if path is None:
        missing("no Chromium on PATH, and it cannot be installed by this user (Debian: apt-get install chromium)")
    running = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
    yield running
    running.close()


@pytest.fixture
def complaints() -> Complaints:
    """What `page` had to complain about: `assert complaints.lines == []` at the end of a test."""
    return Complaints()


@pytest.fixture
def page(browser: Browser, complaints: Complaints) -> Iterator[Page]:
    """A page without cookies or cache, 1280 × 800, in a fixed language and time zone, with `complaints` listening."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, locale="en-US", timezone_id="UTC", reduced_motion="reduce")
    context.set_default_timeout(15_000)
    fresh = context.new_page()
    complaints.listen(fresh)
    yield fresh
    context.close()


@pytest.fixture
def log_in(live_server: LiveServer) -> LogIn:
    """Logs a person in on the page; somebody else than before, if somebody was."""

    def enter(page: Page, email: str = "kim@example.com") -> None:
        page.context.clear_cookies()
        page.goto(f"{live_server.url}/admin/login/")
        page.fill("[name=username]", email)
        page.fill("[name=password]", PASSWORD)
        page.click("button[type=submit]")
        expect(page.locator("#ty-main")).to_be_visible()

    return enter
