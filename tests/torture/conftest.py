"""The installations that storms rage on, and the report at the end."""

from collections.abc import Callable, Iterator

import pytest

from tests.plugin import missing
from tests.servers import NoServer
from tests.torture.installation import Installation
from tests.torture.storms import SCALE, Storm

_storms: list[Storm] = []


@pytest.fixture
def storm(request: pytest.FixtureRequest) -> Iterator[Callable[..., Storm]]:
    """Makes the record of a storm: `storm("2 · one champion")`."""
    made: list[Storm] = []

    def make(promise: str, *, on: str = "") -> Storm:
        made.append(
            Storm(promise, on or str(request.node.callspec.params.get("installation", "")) if hasattr(request.node, "callspec") else on)
        )
        return made[-1]

    yield make
    for one in made:
        one.finish()
    _storms.extend(made)


def _installed(database: str) -> Iterator[Installation]:
    try:
        made = Installation(database).__enter__()  # type: ignore[arg-type]  # pytest's parameters are plain strings
    except NoServer as error:
        missing(str(error))
        return
    try:
        yield made
    finally:
        made.__exit__()


@pytest.fixture(scope="module", params=["postgresql", "sqlite"])
def installation(request: pytest.FixtureRequest) -> Iterator[Installation]:
    """A whole installation, on each database in turn. Nothing runs in it but the database and the broker."""
    yield from _installed(request.param)


@pytest.fixture(scope="module")
def on_postgresql() -> Iterator[Installation]:
    """A whole installation whose database is a server, to be restarted."""
    yield from _installed("postgresql")


@pytest.fixture(autouse=True)
def _quiet(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a storm left running ends with it."""
    yield
    for name in ("installation", "on_postgresql"):
        if name in request.fixturenames:
            request.getfixturevalue(name).down()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What each storm did and found."""
    if not _storms:
        return
    terminalreporter.section(f"storms, at scale {SCALE:g}")
    for one in _storms:
        done = ", ".join(f"{number:,} {what}" for what, number in one.did.items())
        terminalreporter.line(f"{one.promise}{f' [{one.on}]' if one.on else ''}: {done}; faults: {len(one.faults)}; {one.seconds:.0f} s")
        for text in one.notes:
            terminalreporter.line(f"    {text}")
