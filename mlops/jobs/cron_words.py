"""A crontab's five fields in words: `0 2 * * 0` is Sundays at 02:00 UTC."""

from collections.abc import Iterable

from django_celery_beat.models import CrontabSchedule

from mlops.sentences import listed

DAYS = ("Sundays", "Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays")
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
WEEK, MONTH, YEAR, HOURS, MINUTES = set(range(7)), set(range(1, 32)), set(range(1, 13)), set(range(24)), set(range(60))
MOST_TIMES = 4


def in_words(crontab: CrontabSchedule) -> str:
    """When it fires. Times that no short sentence tells stay a crontab, and are called one."""
    days, times = _days(crontab), _times(crontab)
    if not days or not times:
        fields = (crontab.minute, crontab.hour, crontab.day_of_month, crontab.month_of_year, crontab.day_of_week)
        return f"Crontab {' '.join(fields)}, UTC"
    return f"{days} {times} UTC"


def _days(crontab: CrontabSchedule) -> str:
    schedule = crontab.schedule
    of_week, of_month, months = schedule.day_of_week, schedule.day_of_month, schedule.month_of_year
    if of_week != WEEK and (of_month != MONTH or months != YEAR):
        return ""
    if of_week == set(range(1, 6)):
        return "Mondays to Fridays"
    if of_week != WEEK:
        return listed(DAYS[day] for day in _from_monday(of_week))
    when = f" of {listed(MONTHS[month - 1] for month in sorted(months))}" if months != YEAR else ""
    if of_month == MONTH:
        return f"Every day{when}"
    return f"On day {listed(str(day) for day in sorted(of_month))}{when or ' of each month'}" if len(of_month) <= MOST_TIMES else ""


def _times(crontab: CrontabSchedule) -> str:
    hours, minutes = crontab.schedule.hour, crontab.schedule.minute
    if hours == HOURS and minutes == MINUTES:
        return "every minute,"
    if len(minutes) > MOST_TIMES:
        return ""
    if hours == HOURS:
        return f"every hour at {listed(f':{minute:02}' for minute in sorted(minutes))}"
    times = [f"{hour:02}:{minute:02}" for hour in sorted(hours) for minute in sorted(minutes)]
    return f"at {listed(times)}" if len(times) <= MOST_TIMES else ""


def _from_monday(days: Iterable[int]) -> list[int]:
    return sorted(days, key=lambda day: (day - 1) % 7)
