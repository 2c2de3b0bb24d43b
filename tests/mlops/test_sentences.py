"""Counting, listing and crontabs in words."""

import pytest
from django_celery_beat.models import CrontabSchedule

from mlops.jobs.cron_words import in_words
from mlops.jobs.schedules import CRON_FIELDS
from mlops.sentences import counted, listed, some


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        ("0 2 * * 0", "Sundays at 02:00 UTC"),
        ("0 2 * * sun", "Sundays at 02:00 UTC"),
        ("15 7 * * 1,2", "Mondays and Tuesdays at 07:15 UTC"),
        ("0 6 * * 1-5", "Mondays to Fridays at 06:00 UTC"),
        ("0 6 * * 0,6", "Saturdays and Sundays at 06:00 UTC"),
        ("30 3 * * *", "Every day at 03:30 UTC"),
        ("0 6,18 * * *", "Every day at 06:00 and 18:00 UTC"),
        ("*/15 * * * *", "Every day every hour at :00, :15, :30 and :45 UTC"),
        ("0 5 1 * *", "On day 1 of each month at 05:00 UTC"),
        ("0 5 1,15 1,7 *", "On day 1 and 15 of January and July at 05:00 UTC"),
        ("0 5 13 * 5", "Crontab 0 5 13 * 5, UTC"),
        ("*/5 * * * *", "Crontab */5 * * * *, UTC"),
    ],
)
def test_a_crontab_is_said_in_words_or_called_one(cron: str, said: str) -> None:
    assert in_words(CrontabSchedule(**dict(zip(CRON_FIELDS, cron.split(), strict=True)), timezone="UTC")) == said


@pytest.mark.parametrize(("number", "said"), [(0, "no job"), (1, "1 job"), (1204, "1,204 jobs")])
def test_what_there_is_none_of_is_singular(number: int, said: str) -> None:
    assert counted(number, "job") == said


@pytest.mark.parametrize(("names", "said"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")])
def test_names_are_listed_with_an_and(names: list[str], said: str) -> None:
    assert listed(names) == said


@pytest.mark.parametrize(("number", "said"), [(0, "none waits"), (1, "1 waits"), (2, "2 wait"), (1204, "1,204 wait")])
def test_what_some_do(number: int, said: str) -> None:
    assert some(number, "waits", "wait") == said
