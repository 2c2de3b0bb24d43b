"""When to try again, and when to give up. Pure; the caller brings the clock and the dice."""

from datetime import timedelta

FIRST = timedelta(seconds=5)
FACTOR = 4.0
LONGEST = timedelta(hours=12)
GIVE_UP_AFTER = timedelta(days=3)
LONGEST_PAUSE = timedelta(minutes=15)
JITTER = 0.25


def next_try(*, attempts: int, dice: float, retry_after_s: float | None = None) -> timedelta:
    """How long after the failure of attempt number `attempts` the next one comes: 5 s, 20 s, 80 s, … up to 12 h, each ± 25 %.

    `dice` is a number from 0 to 1. A receiver that names a longer time in `Retry-After` gets it, up to 12 h.
    """
    step = min(FIRST * FACTOR ** min(attempts - 1, 16), LONGEST) * (1 - JITTER + 2 * JITTER * dice)
    asked = timedelta(seconds=min(retry_after_s or 0.0, LONGEST.total_seconds()))
    return max(step, asked)


def pause(*, failures: int, dice: float) -> timedelta:
    """How long a receiver is left alone after that many failures in a row, whatever else waits for it: 2 s, 4 s, … up to 15 min, ± 25 %."""
    return min(timedelta(seconds=2.0 ** min(failures, 12)), LONGEST_PAUSE) * (1 - JITTER + 2 * JITTER * dice)
