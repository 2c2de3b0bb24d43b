"""What several of these tests begin with."""

import pytest

from mlops.jobs import runner


@pytest.fixture
def own_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """No kind of job is known but those that the test makes."""
    monkeypatch.setattr(runner, "_work", {})
