"""How threads of native libraries wait."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(("given", "told"), [(None, "GOMP_SPINCOUNT = '1000'"), ("active", "OMP_WAIT_POLICY = 'ACTIVE'")])
def test_threads_of_openmp_soon_sleep_while_they_wait_unless_told_otherwise(given: str | None, told: str) -> None:
    settings = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    env = {name: value for name, value in os.environ.items() if name not in settings} | {"OMP_DISPLAY_ENV": "verbose"}
    if given:
        env["OMP_WAIT_POLICY"] = given

    said = subprocess.run(
        [sys.executable, "-c", "from engine.forecasting.boosting import library; library()"],
        env=env, check=True, capture_output=True, text=True, timeout=60,
    ).stderr  # fmt: skip

    assert told in said
