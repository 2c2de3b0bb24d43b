"""Studies (`/v1/experiments`): searches for the best hyper-parameters of a model."""

from typing import Any

from django.core.management.base import CommandParser

from engine.tuning.limits import ALGORITHMS
from engine.tuning.samplers import PRUNERS, SAMPLERS
from experiments.api.training.study_answers import registration_row, study_detail, study_row, trial_row
from experiments.api.training.study_bodies import NewStudyBody, StudyChanges
from experiments.cli import following
from experiments.cli.checked import as_id, checked, json_value, wrong
from experiments.cli.frame import Act, ActsCommand, Call, Refusal, page_of, paging_arguments, whole
from experiments.cli.output import Column
from experiments.models import Split, Study
from experiments.queries.studies import studies, trials_of
from experiments.services.studies import cancel_study, change_study, create_study, delete_study
from experiments.services.study_rows import find_study, open_jobs
from experiments.services.trial_registration import register_trial
from experiments.states import StudyStatus
from mlops.database.reading import reading
from mlops.jobs.models import Job, JobState
from registry.api.doors import dataset_of

COLUMNS: list[Column] = [
    ("id", "id"),
    ("name", "name"),
    ("status", "status"),
    ("algorithm", "algorithm"),
    ("metric", "metric"),
    ("best", lambda row: row["progress"]["best_value"]),
    ("trials", lambda row: f"{row['progress']['finished']}/{row['progress']['total']}"),
    ("model", "model_name"),
    ("version", "version"),
    ("created", "created_at"),
]
TRIALS: list[Column] = [
    ("trial", "number"),
    ("state", "state"),
    ("value", "value"),
    ("seconds", "duration_s"),
    ("parameters", "params"),
    ("error", "error"),
]
FACTS = ("id", "name", "description", "status", "algorithm", "task", "metric", "split_id", "model_name", "version", "version_id", "error")
WRITTEN = ("search_space", "preprocessing", "postprocessing")
"""What is written as JSON."""
ASKED = tuple(name for name in NewStudyBody().get_fields() if name not in WRITTEN)
BEST_SHOWN = 10


def create(call: Call) -> None:
    """Create a study and start it."""
    asked = call.given(*ASKED)
    for name in WRITTEN:
        if call.options[name] is not None:
            asked[name] = json_value(call.options[name], argument=f"--{name.replace('_', '-')}")
    body = checked(NewStudyBody, asked)
    with reading():
        dataset = dataset_of(body.pop("dataset_id", None))
    study = create_study(by=call.by, at=call.at, dataset=dataset, **body)
    if call.options["here"] or call.options["wait"]:
        _work(call, study, here=call.options["here"])
    else:
        _show(call, study)


def run(call: Call) -> None:
    """Do a study's waiting work in this process, as a worker would; follow what a worker does already."""
    call.by.authorize("study.run")
    with reading():
        study = find_study(call.options["id"])
    if not study.is_open:
        raise Refusal(f"{study} is {study.status}; there is nothing left to run.", code="illegal_transition")
    _work(call, study, here=True)


def _work(call: Call, study: Study, *, here: bool) -> None:
    with reading():
        jobs = open_jobs(study)
    if here:
        following.do_here([job for job in jobs if job.state == JobState.QUEUED])
    following.follow([job.pk for job in jobs])
    with reading():
        ended = find_study(study.pk)
    _show(call, ended)
    if ended.status != StudyStatus.COMPLETED:
        raise Refusal(f"{ended} is {ended.status}. {ended.error}".strip(), code=f"study_{ended.status}")


def read(call: Call) -> None:
    """One study with its best trials."""
    _show(call, find_study(call.options["id"]))


def list_studies(call: Call) -> None:
    """Studies, newest first."""
    rows, count = page_of(call, studies().filter(**call.given("status", "algorithm", "split_id")))
    call.out.rows([study_row(row) for row in rows], COLUMNS, count=count)


def update(call: Call) -> None:
    """Rename or describe."""
    changes = checked(StudyChanges, call.given("name", "description"))
    if not changes:
        raise wrong("--name", "Give a --name or a --description.")
    study = change_study(study_id=call.options["id"], changes=changes, by=call.by, at=call.at)
    with reading():
        whole = study_detail(find_study(study.pk))
    call.out.done(f"{study} ({study.pk}) is changed.", whole)


def cancel(call: Call) -> None:
    """Stop a study within a trial."""
    study = cancel_study(study_id=call.options["id"], by=call.by, at=call.at)
    with reading():
        whole = study_detail(find_study(study.pk))
    stopped = study.status == StudyStatus.CANCELLED
    call.out.done(f"{study} is cancelled." if stopped else f"{study} stops within the trial that runs.", whole)


def register(call: Call) -> None:
    """Have a chosen trial made a candidate."""
    asked: dict[str, Any] = {"study_id": call.options["id"], "number": call.options["trial"]}
    made = register_trial(**asked, by=call.by, at=call.at)
    if made.job_id and (call.options["here"] or call.options["wait"]):
        job = Job.objects.get(pk=made.job_id)
        if call.options["here"]:
            following.do_here([job])
        (job,) = following.follow([job.pk])
        if job.state != JobState.SUCCEEDED:
            raise Refusal(f"{job.label} is {job.state}. {job.last_error}".strip(), code=f"job_{job.state}")
        made = register_trial(**asked, by=call.by, at=call.at)
    with reading():
        told = registration_row(made)
    became = f"{told['version']} of {told['model_name']}" if made.version else f"a candidate of {told['model_name']}: job {made.job_id}"
    call.out.done(f"{made.trial} {'is' if made.version else 'becomes'} {became}.", told)


def delete(call: Call) -> None:
    """Hide a study that has ended."""
    too = call.options["delete_artifacts"]
    delete_study(study_id=call.options["id"], by=call.by, at=call.at, delete_artifacts=too)
    call.out.done(f"Deleted {call.options['id']}.", {"id": call.options["id"], "deleted": True, "artifacts_deleted": too})


def _show(call: Call, study: Study) -> None:
    with reading():
        detail = study_detail(find_study(study.pk))
        best = trials_of(study).exclude(value=None).order_by("value" if study.direction == Study.Direction.MINIMIZE else "-value", "number")
        trials = [trial_row(trial) for trial in best[:BEST_SHOWN]]
    progress = {name.replace("_", " "): value for name, value in detail["progress"].items()}
    call.out.facts({name: detail[name] for name in FACTS} | progress, detail)
    if trials and not call.out.as_json:
        call.out.rows(trials, TRIALS, title="Best trials")


def _id(parser: CommandParser) -> None:
    parser.add_argument("id", type=as_id, metavar="ID", help="The study's id.")


def _create_arguments(parser: CommandParser) -> None:
    parser.add_argument("--name", required=True)
    parser.add_argument("--description")
    parser.add_argument("--split-id", metavar="ID", help="Required, unless the task is forecast.")
    parser.add_argument("--dataset-id", metavar="ID", help="Of a forecast; the model's own where it is left out.")
    parser.add_argument("--algorithm", choices=ALGORITHMS, help="Default catboost; a forecast takes lightgbm.")
    parser.add_argument("--task", choices=Split.Task.values, help="The split's own where it is left out.")
    parser.add_argument("--metric", help="Default by task: rmse, roc_auc, mae.")
    parser.add_argument("--n-trials", type=int, metavar="N", help="Default 20; of a grid all points.")
    parser.add_argument("--timeout-s", type=int, metavar="SECONDS", help="Ends the search, within a trial too.")
    parser.add_argument("--sampler", choices=SAMPLERS, help="Default tpe.")
    parser.add_argument("--pruner", choices=PRUNERS, help="Default median.")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--workers", type=int, metavar="N", help="How many jobs share the search.")
    parser.add_argument("--search-space", metavar="JSON", help="As in the API, or @FILE that holds it.")
    parser.add_argument("--preprocessing", metavar="JSON", help="most_categories, min_category_rows; or @FILE.")
    parser.add_argument("--postprocessing", metavar="JSON", help="threshold; or clip, low, high, factor, decimals, unit; or @FILE.")
    parser.add_argument("--model-name", help="Made from the study's name where it is left out.")
    parser.add_argument("--proposal-id", metavar="ID", help="The approved experiment it belongs to.")
    parser.add_argument("--warm-start-from", metavar="ID", help="A study whose best trials are tried first.")
    following.working_arguments(parser)


def _list_arguments(parser: CommandParser) -> None:
    parser.add_argument("--status", choices=StudyStatus.values)
    parser.add_argument("--algorithm", choices=ALGORITHMS)
    parser.add_argument("--split-id", type=as_id, metavar="ID")
    paging_arguments(parser)


def _register_arguments(parser: CommandParser) -> None:
    _id(parser)
    parser.add_argument("--trial", required=True, type=whole(0, 1_000_000), metavar="N", help="The trial's number; it has to be complete.")
    following.working_arguments(parser)


def _delete_arguments(parser: CommandParser) -> None:
    _id(parser)
    parser.add_argument("--delete-artifacts", action="store_true", help="Delete trials and unused files too.")


def _update_arguments(parser: CommandParser) -> None:
    _id(parser)
    parser.add_argument("--name")
    parser.add_argument("--description")


class Command(ActsCommand):
    """`experiments create|read|list|update|run|cancel|register|delete`."""

    help = __doc__
    acts = (
        Act("create", "Create a study and start it.", create, _create_arguments, "write"),
        Act("read", "Show one study with its best trials.", read, _id),
        Act("list", "List studies, newest first.", list_studies, _list_arguments),
        Act("update", "Rename or describe a study.", update, _update_arguments, "write"),
        Act("run", "Do a study's waiting work in this process.", run, _id, "write"),
        Act("cancel", "Stop a study within a trial.", cancel, _id, "write"),
        Act("register", "Make a candidate of a chosen trial.", register, _register_arguments, "write"),
        Act("delete", "Hide a study that has ended; administrators only.", delete, _delete_arguments, "write"),
    )
