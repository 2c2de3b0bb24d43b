"""Splits, studies and explanations in a real browser: what moves while work is under way, and how everything looks."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from engine.tabular.columns import Column
from engine.tabular.profiling import Profiler
from experiments.models import Split, Study, Trial
from experiments.states import SplitStatus, StudyStatus
from mlops.tenancy.models import Customer
from registry.models import ModelVersion
from tests.browser.chromium import Complaints
from tests.browser.looking import LogIn, choose_theme, picture, problems
from tests.browser.shops import make_shop, person, working_for
from tests.experiments.training.studying import make_split, make_study, table
from tests.experiments.training.test_predicting import trained, version_of
from tests.experiments.training.test_training_screens import SPACE, make_trials

pytestmark = pytest.mark.django_db(transaction=True)
LEAK = {
    "code": "target_copy",
    "message": "It alone tells 99.8 % of the target's variance: is it known before the answer is?",
    "severity": "warning",
    "column": "x2",
    "rows": 0,
    "examples": [],
}
MISSING = {
    "code": "missing_column",
    "message": "The file has no such column.",
    "severity": "error",
    "column": "price",
    "rows": 0,
    "examples": [],
}


def make_profiled_split() -> Split:
    """A ready split with everything its page can show."""
    frame = table(600, seed=1)
    kinds = {"x1": "numeric", "x2": "numeric", "kind": "categorical", "y": "numeric"}
    profiler = Profiler(tuple(Column(name, kinds[name]) for name in frame.columns))  # type: ignore[arg-type]  # words of a Literal
    profiler.add(frame)
    parts = {
        name: {"rows": rows, "path": "x", "sha256": "ab12" * 16, "size": 20_480}
        for name, rows in (("train", 360), ("validation", 120), ("test", 120))
    }
    return make_split(
        name="Customers, June export",
        features=["x1", "x2", "kind"],
        rows=600,
        parts=parts,
        profile=[column.to_json() for column in profiler.profile()],
        reading={"format": "csv", "encoding": "utf-8", "delimiter": ";", "left_out": {"a target that is missing": 3}},
        warnings=[LEAK],
        source="file",
        source_name="customers.csv",
        source_sha256="cd34" * 16,
        source_size=81_920,
    )


@pytest.fixture
def shop(transactional_db: None) -> Customer:
    """A tenant with a split of each status, a study at work, and a version that a study made."""
    customer = make_shop()
    with working_for(customer):
        split = make_profiled_split()
        make_split(name="Broken", status=SplitStatus.FAILED, rows=None, problems=[MISSING], parts={})
        make_split(name="Waiting", status=SplitStatus.PENDING, rows=None, parts={}, job_id=uuid4())
        study = make_study(
            name="Churn, first search", split=split, n_trials=60, search_space=SPACE, started_at=timezone.now() - timedelta(minutes=3)
        )
        make_trials(study, 40)
        made = trained(person(customer, "kim@example.com"))
        make_trials(made, 12)
        Study.objects.filter(pk=made.pk).update(name="Churn, done", best_value=0.2, best_number=9, finished_trials=12, n_trials=12)
    return customer


def study_of(shop: Customer) -> Study:
    with working_for(shop):
        return Study.objects.get(name="Churn, first search")


def version(shop: Customer) -> ModelVersion:
    with working_for(shop):
        return version_of(Study.objects.select_related("version").get(name="Churn, done"))


def address(name: str, *args: object) -> str:
    return reverse(f"admin:experiments_{name}", args=args)


def screens(shop: Customer) -> dict[str, str]:
    """Every page of training."""
    with working_for(shop):
        named = {split.name: split.pk for split in Split.objects.all()}
        done = Study.objects.get(name="Churn, done").pk
    return {
        "splits": address("splits"),
        "split": address("split", named["Customers, June export"]),
        "split-failed": address("split", named["Broken"]),
        "split-pending": address("split", named["Waiting"]),
        "split-create": address("split_create"),
        "studies": address("studies"),
        "study": address("study", study_of(shop).pk),
        "study-done": address("study", done),
        "study-create": address("study_create"),
        "trial-register": address("trial_register", done, 3),
        "study-cancel": address("study_cancel", study_of(shop).pk),
        "importance": address("importance", version(shop).pk),
        "model": reverse("admin:registry_model_page", args=[version(shop).model_id]),
    }


@pytest.mark.parametrize(("theme", "widths"), [("light", (1400, 390, 2560)), ("dark", (390, 1400))])
def test_the_screens_of_training_are_accessible_and_fit(
    page: Page, shop: Customer, live_server: LiveServer, log_in: LogIn, complaints: Complaints, theme: str, widths: tuple[int, ...]
) -> None:
    choose_theme(page, theme)
    log_in(page)

    found = {name: problems(page, f"{live_server.url}{url}", name=f"{name}-{theme}", widths=widths) for name, url in screens(shop).items()}

    assert len(found) == 13
    assert {name: said for name, said in found.items() if said} == {}
    assert complaints.lines == []


def test_ticks_of_an_axis_are_written_alike_and_the_axis_has_a_unit(
    page: Page, shop: Customer, live_server: LiveServer, log_in: LogIn
) -> None:
    log_in(page)
    page.goto(f"{live_server.url}{address('study', study_of(shop).pk)}")

    written = page.evaluate("() => [17.8, 17.9, 18, 18.6].map(window.tiltyardCharts.ticks([17.79, 18.62]))")
    few = page.evaluate("() => [[], [3, 3], [0, 400]].map((values) => window.tiltyardCharts.ticks(values)(3))")

    assert written == ["17.8", "17.9", "18.0", "18.6"]
    assert few == ["3.00", "3.00", "3"]
    expect(page.locator("#study-trials").get_by_role("columnheader", name="MAE units of the target")).to_be_visible()
    assert "MAE, in units of the target" in page.locator("[data-chart=history] .ty-numbers").text_content()


def test_a_running_study_goes_on_in_place_until_it_is_over(
    page: Page, shop: Customer, live_server: LiveServer, log_in: LogIn, complaints: Complaints
) -> None:
    study = study_of(shop)
    log_in(page)
    page.goto(f"{live_server.url}{address('study', study.pk)}")
    expect(page.get_by_text("40 of 60 trials are done")).to_be_visible()
    page.evaluate("window.notLoadedAgain = true")
    page.locator("[data-chart=history] summary").click()
    picture(page, "study", height=1500)

    with working_for(shop):
        params = {"learning_rate": 0.1, "num_leaves": 31, "extra_trees": True}
        Trial.objects.create(study=study, number=40, state="complete", value=0.00012, params=params)
        Study.objects.filter(pk=study.pk).update(finished_trials=41, last_trial_number=41, best_number=40, best_value=0.00012)

    expect(page.get_by_text("41 of 60 trials are done; the best MAE is 0.00012 units of the target, of trial 40")).to_be_visible()
    expect(page.locator("#study-trials").get_by_role("rowheader", name="40")).to_be_visible()
    expect(page.locator("[data-chart=history] .ty-numbers").get_by_role("rowheader", name="40", exact=True)).to_have_count(1)

    with working_for(shop):
        Study.objects.filter(pk=study.pk).update(status=StudyStatus.CANCELLED)

    expect(page.locator("[data-over]")).to_contain_text("was cancelled after 41 of 60 trials")
    expect(page.get_by_role("link", name="Cancel …")).to_have_count(0)
    assert page.evaluate("window.notLoadedAgain")
    assert complaints.lines == []


def test_somebody_asks_why_one_row_is_answered_so(
    page: Page, shop: Customer, live_server: LiveServer, log_in: LogIn, complaints: Complaints
) -> None:
    made = version(shop)
    log_in(page)
    page.goto(f"{live_server.url}{reverse('admin:registry_model_page', args=[made.model_id])}")
    page.get_by_role("link", name=f"Why {made.version} answers so").click()
    page.get_by_label("x1").fill("1.5")
    page.get_by_role("button", name="Explain this row").click()

    expect(page.get_by_role("heading", name="This row:")).to_be_visible()
    page.locator("[data-chart=waterfall] summary").click()
    numbers = page.locator("[data-chart=waterfall] .ty-numbers")
    expect(numbers.get_by_role("rowheader", name="x1 = 1.5")).to_be_visible()
    expect(numbers.get_by_role("rowheader", name="this row")).to_be_visible()
    picture(page, "explanation", height=1000)
    assert complaints.lines == []


def test_the_form_of_a_split_says_what_is_missing_without_losing_what_was_typed(
    page: Page, shop: Customer, live_server: LiveServer, log_in: LogIn, complaints: Complaints
) -> None:
    log_in(page)
    page.get_by_role("link", name="Splits").first.click()
    page.get_by_role("link", name="Cut a file").click()
    page.get_by_label("Name").fill("Houses")
    page.get_by_label("Target").fill("price")
    page.get_by_label("Strategy").select_option("time")
    page.get_by_label("File").set_input_files({"name": "houses.csv", "mimeType": "text/csv", "buffer": b"size,price\n1,2\n3,4\n"})
    page.get_by_role("button", name="Cut it").click()

    expect(page.get_by_text("A split by time needs the column that tells it.")).to_be_visible()
    expect(page.get_by_label("Target")).to_have_value("price")
    assert complaints.lines == []
