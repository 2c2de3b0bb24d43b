"""What a study says about itself, in words."""

from collections.abc import Sequence
from datetime import datetime

from engine.tabular.options import in_words
from experiments.models import Study
from experiments.queries.studies import remaining_seconds
from experiments.screens import metric_words
from experiments.services.study_rows import TIMED_OUT
from experiments.states import StudyStatus


def over(study: Study) -> bool:
    """Whether nothing about it will change by itself any more."""
    return not study.is_open


def sentence(study: Study, *, at: datetime) -> str:
    """How far it is, or what came of it. `study` comes with its model and its version."""
    done = f"{study.finished_trials:,} of {study.n_trials:,} trials"
    best = "" if study.best_value is None else f"the best {metric_words.label(study)} is {_measured(study)}, of trial {study.best_number}"
    if study.status == StudyStatus.COMPLETED:
        ended = study.user_attrs.get(TIMED_OUT)
        cut = f" Its time-out ended the search after {ended:,} of {study.n_trials:,} trials." if ended is not None else ""
        became = f" It became {study.version.version} of {study.model.name}." if study.version else " It led to no version."
        return (
            f"Trial {study.best_number} is the best of {ended or study.finished_trials:,}: "
            f"{metric_words.label(study)} {_measured(study)}.{cut}{became}"
        )
    if study.status == StudyStatus.FAILED:
        return f"The study failed after {done}: {study.error or 'nobody said why'}"
    if study.status == StudyStatus.CANCELLED:
        return f"The study was cancelled after {done}{'; ' + best if best else ''}. No version was made of it."
    if study.cancel_requested_at:
        return f"Stopping: the trial that runs now is the last one. {done.capitalize()} are done."
    if study.status == StudyStatus.PENDING:
        return "Waiting for a worker: no trial has begun."
    left = remaining_seconds(study, at=at)
    told = [f"{done} are done", best or "no trial has a value yet", f"about {duration(left)} to go" if left is not None else ""]
    return "; ".join(part for part in told if part) + "."


def list_sentence(count: int, rows: Sequence[Study]) -> str:
    """How many there are, and how many of those shown are under way."""
    if not count:
        return "Nothing was searched yet."
    running = sum(not over(one) for one in rows)
    start = f"{count:,} {'study' if count == 1 else 'studies'}"
    return f"{start}; {running or 'none'} {'is' if running == 1 else 'are'} under way." if rows else f"{start}."


def settings_of(study: Study) -> list[tuple[str, str]]:
    """What was asked for, as label and value."""
    named = ", ".join(part for part in (metric_words.label(study), metric_words.unit(study)) if part)
    rows = [
        ("Algorithm", study.get_algorithm_display()),
        ("Task", study.get_task_display()),
        ("Metric", f"{named}, {'higher' if study.direction == Study.Direction.MAXIMIZE else 'lower'} is better, on validation"),
        ("Sampler", study.sampler),
        ("Pruner", study.pruner),
        ("Seed", str(study.seed)),
        ("Workers", str(study.workers)),
        ("Time-out", duration(study.timeout_s) if study.timeout_s else "none"),
    ]
    rows += in_words(study.preprocessing, study.postprocessing)
    return rows + ([("Experiment", str(study.proposal))] if study.proposal else [])


def _measured(study: Study) -> str:
    return f"{value(study.best_value or 0.0)} {metric_words.unit(study)}".rstrip()


def value(number: float) -> str:
    """A metric's value: four decimals, or three digits that count of one too small for that."""
    return f"{number:.3g}" if 0 < abs(number) < 0.001 else f"{number:,.4f}"


def shown(param: object) -> str:
    """A parameter's value with the digits that count."""
    if isinstance(param, bool):
        return str(param).lower()
    return f"{param:.4g}" if isinstance(param, float) else str(param)


def duration(seconds: float) -> str:
    """Seconds in the unit people would use."""
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= 1.5 * size:
            return f"{round(seconds / size)} {unit}s"
    whole = max(round(seconds), 1)
    return f"{whole} second{'' if whole == 1 else 's'}"
