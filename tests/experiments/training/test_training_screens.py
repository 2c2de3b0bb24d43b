"""The pages of splits and studies: what they say, who may do what, and how little they ask the database."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from experiments.models import Split, Study, Trial
from experiments.services.studies import cancel_study
from experiments.states import SplitStatus, StudyStatus
from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Principal
from tests.conftest import NOON
from tests.experiments.training.splits import csv, cut_in_process, run_job
from tests.experiments.training.studying import ask_for_study, believe_own_artifacts, make_split, make_study, run_study
from tests.experiments.training.test_predicting import trained, version_of
from tests.registry.test_screens import MOST_QUERIES, reads

pytestmark = pytest.mark.django_db
Site = Callable[..., Client]
SPACE = {
    "learning_rate": {"type": "float", "low": 0.01, "high": 0.3, "log": True},
    "num_leaves": {"type": "int", "low": 8, "high": 128},
    "extra_trees": {"type": "categorical", "choices": [True, False]},
}


def url(name: str, *args: Any) -> str:
    return reverse(f"admin:experiments_{name}", args=args)


def make_trials(study: Study, count: int) -> None:
    """Trials whose value depends on the learning rate alone; every fifth was pruned, the last one failed."""
    Trial.objects.bulk_create(
        Trial(
            study=study,
            number=number,
            state="fail" if number == count - 1 else "pruned" if number % 5 == 4 else "complete",
            value=None if number == count - 1 else 0.2 + abs(0.01 + 0.01 * (number % 29) - 0.1),
            params={"learning_rate": 0.01 + 0.01 * (number % 29), "num_leaves": 8 + number * 37 % 120, "extra_trees": number % 2 == 0},
            started_at=NOON,
            finished_at=NOON + timedelta(seconds=number),
            duration_s=1.5,
            error="The data of trial <3> are odd." if number == count - 1 else "",
        )
        for number in range(count)
    )
    values = {trial.number: trial.value for trial in Trial.objects.filter(study=study, state="complete")}
    best = min(values, key=lambda number: (values[number], number))
    Study.objects.filter(pk=study.pk).update(best_number=best, best_value=values[best], finished_trials=count, last_trial_number=count)


@pytest.fixture
def running(scope: Principal) -> Study:
    """A study that is at work."""
    study = make_study(n_trials=100, search_space=SPACE, pruner="median")
    make_trials(study, 40)
    return Study.objects.get(pk=study.pk)


def test_empty_lists_teach_how_to_begin(site: Site) -> None:
    client = site("data_scientist")

    splits, studies = client.get(url("splits")).text, client.get(url("studies")).text

    assert "No data set was cut yet." in splits
    assert url("split_create") in splits
    assert "Nothing was searched yet." in studies
    assert url("study_create") in studies


def test_a_viewer_sees_the_lists_without_buttons(site: Site) -> None:
    client = site("viewer")

    assert url("split_create") not in client.get(url("splits")).text
    assert client.get(url("split_create")).status_code == 403
    assert client.get(url("study_create")).status_code == 403


@pytest.fixture
def uploaded(site: Site, scope: Principal, monkeypatch: pytest.MonkeyPatch) -> Split:
    """A split asked for by the form; its job waits."""
    cut_in_process(monkeypatch)
    values = {"name": "Houses", "target": "price", "task": "regression", "strategy": "time", "time_column": "sold", "seed": 3}
    shares = {"train": 0.6, "validation": 0.2, "test": 0.2}
    answer = site("data_scientist").post(url("split_create"), {**values, **shares, "file": SimpleUploadedFile("houses.csv", csv())})
    assert answer.status_code == 302, answer.text
    return Split.objects.get()


def test_the_form_sends_the_file_to_a_job_and_the_page_follows_it(uploaded: Split, client: Client) -> None:
    waiting = client.get(url("split", uploaded.pk)).text
    before = client.get(url("split_live", uploaded.pk)).json()

    run_job(str(uploaded.job_id))

    assert "houses.csv is being read and cut" in waiting
    assert url("split_live", uploaded.pk) in waiting
    assert before["over"] is False
    assert client.get(url("split_live", uploaded.pk)).json()["reload"] is True


def test_a_ready_split_shows_parts_boundaries_columns_and_how_it_was_read(uploaded: Split, client: Client) -> None:
    run_job(str(uploaded.job_id))
    uploaded.refresh_from_db()

    text = client.get(url("split", uploaded.pk)).text

    assert "60 rows are ready to predict price from 3 features" in text
    last = uploaded.boundaries["test"]["last"].removesuffix("T00:00:00Z")
    wanted = [
        uploaded.parts["test"]["sha256"],
        f'<time datetime="{last}" data-style="day">',
        "comma",
        "most frequent values by rows: town 0 10",
    ]
    assert [one for one in wanted if one not in text] == []
    assert text.count("ty-histogram") == 5


def test_warnings_stand_before_everything_else(scope: Principal, site: Site) -> None:
    leak = {"code": "leak", "message": "It tells the target.", "severity": "warning", "column": "refund", "rows": 0, "examples": []}
    split = make_split(warnings=[leak])

    text = site("viewer").get(url("split", split.pk)).text

    assert "but 1 thing asks for a look before you trust a score" in text
    assert "<code>refund</code> It tells the target." in text


def test_a_failed_split_says_why(scope: Principal, site: Site) -> None:
    problem = {"code": "x", "message": "There is no column <price>.", "severity": "error", "column": "price", "rows": 0, "examples": ["a"]}
    split = make_split(status=SplitStatus.FAILED, problems=[problem], rows=None)

    text = site("viewer").get(url("split", split.pk)).text

    assert "could not be cut" in text
    assert "There is no column &lt;price&gt;." in text
    assert url("study_create") not in text


def test_a_plan_that_cannot_be_is_said_beside_its_field(site: Site, customer: Customer) -> None:
    values = {"name": "Houses", "target": "price", "task": "regression", "strategy": "time", "seed": 3}
    shares = {"train": 0.6, "validation": 0.2, "test": 0.2}

    text = site("data_scientist").post(url("split_create"), {**values, **shares, "file": SimpleUploadedFile("houses.csv", csv())}).text

    assert "A split by time needs the column that tells it." in text


def test_the_study_page_says_how_far_it_is(running: Study, site: Site) -> None:
    text = site("viewer").get(url("study", running.pk)).text

    assert (
        f"40 of 100 trials are done; the best MAE is {running.best_value:.4f} units of the target, of trial {running.best_number}" in text
    )
    assert "The data of trial &lt;3&gt; are odd." in text
    assert url("study_cancel", running.pk) not in text
    assert "about" in text


def test_the_charts_hold_every_trial_and_find_the_parameter_that_matters(running: Study, site: Site) -> None:
    answer = site("viewer").get(url("study_live", running.pk)).json()

    data = answer["charts"]["data"]
    assert [trial["number"] for trial in data["trials"]] == list(range(40))
    assert [one["name"] for one in data["params"]] == sorted(SPACE)
    assert data["importances"][0]["name"] == "learning_rate"
    assert sum(one["share"] for one in data["importances"]) == pytest.approx(1)


def test_the_live_answer_sends_the_charts_again_only_when_they_changed(running: Study, site: Site) -> None:
    client = site("viewer")
    first = client.get(url("study_live", running.pk)).json()

    again = client.get(f"{url('study_live', running.pk)}?seen={first['seen']}").json()
    Study.objects.filter(pk=running.pk).update(finished_trials=41)
    changed = client.get(f"{url('study_live', running.pk)}?seen={first['seen']}").json()

    assert "charts" not in again
    assert "41 of 100" in changed["said"]
    assert "charts" in changed


def test_the_trials_are_paged_in_both_directions(running: Study, site: Site) -> None:
    client = site("viewer")

    latest, oldest = (client.get(f"{url('study', running.pk)}?order={order}").text for order in ("latest", "first"))

    assert 'scope="row">39' in latest
    assert 'scope="row">0' not in latest
    assert 'scope="row">0' in oldest
    assert "Page 1 of 2" in oldest


def test_the_form_begins_a_study(site: Site, scope: Principal) -> None:
    split = make_split()
    space = {"learning_rate": {"type": "float", "low": 0.05, "high": 0.2}}
    values = {"name": "First", "source": f"split:{split.pk}", "algorithm": "lightgbm", "metric": "mae", "n_trials": 7, "sampler": "random"}

    answer = site("data_scientist").post(url("study_create"), {**values, "seed": 1, "workers": 1, "search_space": json.dumps(space)})

    made = Study.objects.get()
    assert answer.headers["Location"] == url("study", made.pk)
    assert (made.metric, made.n_trials, made.sampler, made.split_id) == ("mae", 7, "random", split.pk)
    assert made.search_space["learning_rate"]["high"] == 0.2


def test_what_is_wrong_with_a_study_is_said_beside_its_field(site: Site, scope: Principal) -> None:
    split = make_split()
    values = {
        "name": "First",
        "source": f"split:{split.pk}",
        "algorithm": "lightgbm",
        "n_trials": 7,
        "sampler": "tpe",
        "seed": 1,
        "workers": 1,
    }
    client = site("data_scientist")

    no_json = client.post(url("study_create"), {**values, "search_space": "{"}).context["form"].errors
    no_parameter = client.post(url("study_create"), {**values, "search_space": '{"wings": 2}'}).context["form"].errors

    assert "Not acceptable JSON" in no_json["search_space"][0]
    assert "search_space" in no_parameter


def test_answers_of_a_study_are_asked_for_in_fields_and_shown_on_its_page(site: Site, scope: Principal) -> None:
    split = make_split()
    client = site("data_scientist")
    values = {
        "name": "First",
        "source": f"split:{split.pk}",
        "algorithm": "lightgbm",
        "n_trials": 7,
        "sampler": "tpe",
        "seed": 1,
        "workers": 1,
    }
    answers = {"clip": "on", "low": "0", "factor": "0.001", "decimals": "2", "unit": "thousand €", "min_category_rows": "5"}

    wrong = client.post(url("study_create"), {**values, "threshold": "0.3"}).context["form"].errors
    no_number = client.post(url("study_create"), {**values, "threshold": "often"}).context["form"].errors
    made = client.post(url("study_create"), {**values, **answers})
    study = Study.objects.get()
    page = client.get(made.headers["Location"]).text

    assert "Unknown option of a regression" in wrong["threshold"][0]
    assert "Must be a number" in no_number["threshold"][0]
    assert study.postprocessing == {"clip": True, "low": 0.0, "factor": 0.001, "decimals": 2, "unit": "thousand €"}
    assert study.preprocessing == {"min_category_rows": 5}
    assert "at least 0, times 0.001, rounded to 2 decimals, in thousand €" in page
    assert "those of fewer than 5 rows are pooled" in page


def test_the_defaults_of_every_algorithm_stand_below_the_form(site: Site) -> None:
    text = site("data_scientist").get(url("study_create")).text

    assert text.count("Default search space: ") == 13
    assert "&quot;learning_rate&quot;" in text


def test_cancelling_says_what_will_happen_and_then_does_it(site: Site, scope: Principal) -> None:
    study = ask_for_study(scope)
    client = site("data_scientist")

    asked = client.get(url("study_cancel", study.pk)).text
    client.post(url("study_cancel", study.pk), {"revision": study.revision})

    assert "No version is registered" in asked
    assert Study.objects.get(pk=study.pk).status == StudyStatus.CANCELLED
    assert "was cancelled after 0 of 3 trials" in client.get(url("study", study.pk)).text


def test_a_study_that_changed_meanwhile_is_not_cancelled_unseen(site: Site, scope: Principal) -> None:
    study = ask_for_study(scope)
    client = site("data_scientist")
    cancel_study(study_id=study.pk, by=scope, at=NOON)

    answer = client.post(url("study_cancel", study.pk), {"revision": study.revision})

    assert answer.status_code == 409
    assert client.get(url("study_cancel", study.pk)).status_code == 409


def test_the_best_leads_on_to_its_version_and_why_it_answers_so(site: Site, scope: Principal) -> None:
    study = trained(scope)
    Study.objects.filter(pk=study.pk).update(best_value=0.5, best_number=0, finished_trials=1)

    text = site("viewer").get(url("study", study.pk)).text

    assert "Trial 0 is the best of 1: MAE 0.5000 units of the target. It became v1 of churn." in text
    assert url("importance", study.version_id) in text


def test_importance_is_told_and_the_form_is_filled_in(site: Site, scope: Principal) -> None:
    version = version_of(trained(scope))

    answer = site("viewer").get(url("importance", version.pk))

    assert "v1 goes by x1 most" in answer.text
    assert {name: field.label for name, field in answer.context["form"].fields.items()} == {"f0": "x1", "f1": "x2", "f2": "kind"}
    assert answer.context["form"]["f0"].initial is not None


def test_a_waterfall_goes_from_the_average_to_the_answer(site: Site, scope: Principal) -> None:
    version = version_of(trained(scope))

    answer = site("viewer").post(url("importance", version.pk), {"f0": "0.5", "f1": "-1", "f2": "a"})

    row = answer.context["row"]
    steps = row["chart"]["steps"]
    assert steps[0]["label"] == "average answer"
    assert {step["label"] for step in steps[1:-1]} == {"x1 = 0.5", "x2 = -1", "kind = a"}
    assert steps[-2]["to"] == pytest.approx(row["raw"])
    assert row["raw"] == pytest.approx(float(row["prediction"]), rel=1e-5)


def test_a_missing_value_is_asked_as_one(site: Site, scope: Principal) -> None:
    version = version_of(trained(scope))

    answer = site("viewer").post(url("importance", version.pk), {"f0": "", "f1": "1", "f2": "b"})

    assert "x1 = missing" in [step["label"] for step in answer.context["row"]["chart"]["steps"]]


def test_a_studys_version_remembers_what_was_measured_in_training(site: Site, scope: Principal, monkeypatch: pytest.MonkeyPatch) -> None:
    believe_own_artifacts(monkeypatch)
    made = version_of(run_study(ask_for_study(scope)))

    text = site("viewer").get(url("importance", made.pk)).text

    assert "TreeSHAP by the booster itself" in text
    assert "share of the mean absolute contribution" in text


def test_another_customer_finds_nothing(running: Study, site: Site, other_customer: Customer, client: Client) -> None:
    with acting(Principal("system", "x", "admin", other_customer.pk)):  # type: ignore[arg-type]  # a role by its word
        split, study = make_split(), make_study()

    logged_in = site("viewer")

    assert logged_in.get(url("split", split.pk)).status_code == 404
    assert logged_in.get(url("study", study.pk)).status_code == 404
    assert logged_in.get(url("study_live", study.pk)).status_code == 404


def test_every_page_asks_the_database_little(running: Study, site: Site, scope: Principal) -> None:
    for number in range(5):
        make_study(name=f"Study {number}", split=running.split)
    version = version_of(trained(scope))
    client = site("ml_manager")
    pages = [
        url("splits"),
        url("split", running.split_id),
        url("studies"),
        url("study", running.pk),
        url("study_live", running.pk),
        url("study_create"),
        url("study_cancel", running.pk),
        url("importance", version.pk),
    ]

    assert {page: count for page in pages if (count := reads(client, page)) > MOST_QUERIES} == {}
