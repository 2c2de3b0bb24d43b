"""How large a storm is, what it did, and what it found."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

SCALE = float(os.environ.get("TORTURE_SCALE", "1"))
SHOWN = 15


def times(full: int, *, least: int = 1) -> int:
    """A promise's count at the scale of this run; never fewer than `least`."""
    return max(least, round(full * SCALE))


@dataclass
class Storm:
    """One promise under attack. Threads may write to it at once."""

    promise: str
    on: str
    did: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    seconds: float = 0.0

    def count(self, what: str, number: int = 1) -> None:
        """Note that something was done."""
        self.did[what] += number

    def fault(self, what: str) -> None:
        """Note that the promise was broken."""
        self.faults.append(what)

    def expect(self, holds: bool, what: str) -> None:
        """Note a fault unless it holds."""
        if not holds:
            self.fault(what)

    def note(self, what: str) -> None:
        """A measurement for the report."""
        self.notes.append(what)

    def finish(self) -> None:
        """The clock stops."""
        self.seconds = time.monotonic() - self.began

    def assert_kept(self, **least: int) -> None:
        """Fail if anything broke the promise, or if less was done than the storm was to do."""
        missing = [f"only {self.did[name]} of {number} {name}" for name, number in least.items() if self.did[name] < number]
        kinds = Counter(fault.split(":", 1)[0] for fault in self.faults)
        shown = "\n".join([*missing, *(f"{number} × {kind}" for kind, number in kinds.most_common(SHOWN)), *self.faults[:SHOWN]])
        assert not self.faults, shown
        assert not missing, shown


def together(acts: Iterable[Callable[[], Any]]) -> list[Any]:
    """What these return, each in a thread of its own; raises what one of them raised. Ctrl-C ends the waiting, the process them."""
    given = list(acts)
    found: dict[int, Any] = {}
    raised: list[BaseException] = []

    def run(number: int, act: Callable[[], Any]) -> None:
        try:
            found[number] = act()
        except BaseException as failure:  # noqa: BLE001 - handed to the caller
            raised.append(failure)

    threads = [Thread(target=run, args=pair, daemon=True) for pair in enumerate(given)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]
    return [found[number] for number in range(len(given))]


def percentile(values: Iterable[float], part: float) -> float:
    """The value below which `part` of them lie; 0 for none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)] if ordered else 0.0
