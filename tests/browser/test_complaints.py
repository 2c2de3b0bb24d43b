"""The browser fixtures themselves: a page that misbehaves is heard, one that does not stays silent."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from playwright.sync_api import Page

from tests.browser.chromium import Complaints

ICON = "<link rel=icon href='data:,'>"
PAGES = {
    "/good": f"<title>good</title>{ICON}<p>fine</p>",
    "/bad": f"<title>bad</title>{ICON}<script>console.error('oh no')</script><script>nowhere()</script><img src=/gone.png>",
}


class _Pages(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = PAGES.get(self.path)
        self.send_response(200 if body else 404)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write((body or "").encode())

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the name is the base class's
        return


@pytest.fixture
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Pages)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_sound_page_leaves_no_complaints(page: Page, site: str, complaints: Complaints) -> None:
    page.goto(f"{site}/good")

    assert page.title() == "good"
    assert complaints.lines == []


def test_errors_and_failed_requests_of_a_page_are_heard(page: Page, site: str, complaints: Complaints) -> None:
    page.goto(f"{site}/bad", wait_until="networkidle")

    heard = "\n".join(complaints.lines)
    assert "console: oh no" in heard
    assert "uncaught: nowhere is not defined" in heard
    assert f"answered 404: GET {site}/gone.png" in heard
