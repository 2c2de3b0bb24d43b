"""What the person at the terminal sees: a line for each thing that starts, warnings with a prefix, and the address at the end."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.markup import escape

# A program in trouble writes the same warning a thousand times: beyond this many in a window the log file has the rest.
SHOWN_LINES, WINDOW_S = 12, 10.0
LINE_LENGTH = 400
_COLORS = ("cyan", "magenta", "green", "blue", "yellow")


class Screen:
    """The terminal, or a plain file when there is none."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        self._windows: dict[str, tuple[float, int]] = {}

    def _say(self, text: str) -> None:
        with suppress(OSError):  # the terminal may be gone; that must not keep anything from being stopped
            self.console.print(text)

    def done(self, what: str, detail: str = "", *, seconds: float | None = None) -> None:
        """One thing is ready."""
        spent = "" if seconds is None else f"  [dim]{seconds:.1f} s[/dim]"
        self._say(f"[green]✓[/green] [bold]{escape(what):<10}[/bold] {escape(detail)}{spent}")

    def note(self, text: str) -> None:
        """Something worth knowing that asks for nothing."""
        self._say(f"[dim]{escape(text)}[/dim]")

    def warn(self, text: str) -> None:
        """Something went wrong and is being dealt with."""
        self._say(f"[yellow]![/yellow] {escape(text)}")

    def fail(self, text: str) -> None:
        """The reason why everything ends."""
        self._say(f"[bold red]✗[/bold red] {escape(text)}")

    def address(self, url: str, *, logs: str) -> None:
        """The last line of a start."""
        self._say(
            f"\n[bold green]Tiltyard is ready:[/bold green] [bold]{escape(url)}[/bold]  (Ctrl-C stops everything; logs in {escape(logs)})\n"
        )

    def line(self, name: str, text: str) -> None:
        """A loud line of a program, unless that program has said enough for now."""
        opened, shown = self._windows.get(name, (0.0, 0))
        if (now := time.monotonic()) - opened > WINDOW_S:
            opened, shown = now, 0
        self._windows[name] = (opened, shown + 1)
        if shown < SHOWN_LINES:
            color = _COLORS[sum(name.encode()) % len(_COLORS)]
            self._say(f"[{color}]{escape(name):>10} |[/{color}] {escape(text[:LINE_LENGTH])}")
        elif shown == SHOWN_LINES:
            self._say(f"[dim]{escape(name):>10} | more of this is in its log file[/dim]")

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """A spinner while something takes its time; nothing where no terminal is."""
        status = self.console.status(escape(text))
        if self.console.is_terminal:
            status.start()
        try:
            yield
        finally:
            with suppress(OSError):
                status.stop()
