"""Where Chromium is, how it is started, and what its pages complain about."""

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from functools import cache

from playwright.sync_api import ConsoleMessage, Page, Request, Response

_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
_INSTALL_S = 300


@dataclass
class Complaints:
    """What went wrong in a page behind the user's back, as readable lines in the order of events."""

    lines: list[str] = field(default_factory=list)

    def listen(self, page: Page) -> None:
        """Collect from this page from now on."""
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.lines.append(f"uncaught: {error}"))
        page.on("requestfailed", self._failed)
        page.on("response", self._answered)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.lines.append(f"console: {message.text}")

    def _failed(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # a page left while it still loaded something
            self.lines.append(f"failed: {request.method} {request.url} ({request.failure})")

    def _answered(self, response: Response) -> None:
        if response.status >= 500 or (response.status >= 400 and response.request.resource_type != "document"):
            self.lines.append(f"answered {response.status}: {response.request.method} {response.url}")


@cache
def chromium() -> str | None:
    """The browser's path: one on PATH, else Debian's package where this process may install it; None if neither."""
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found or not _may_install():
        return found
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update", "-q"], ["install", "-y", "-q", "--no-install-recommends", "chromium"]):
        done = subprocess.run(
            ["apt-get", "-o", "DPkg::Lock::Timeout=200", *arguments], env=environment, capture_output=True, timeout=_INSTALL_S, check=False
        )
        if done.returncode:
            return None
    return shutil.which("chromium")


def _may_install() -> bool:
    return os.geteuid() == 0 and shutil.which("apt-get") is not None
