"""A model's settings, a version registered by hand, and actuals, through Django's client."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from mlops.audit.models import AuditEvent
from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import system
from registry.models import Actual, ModelVersion, RegisteredModel
from registry.screens.actuals_form import Problems, read_rows
from tests.engine.formats.samples import model_text
from tests.registry import factories as make

pytestmark = pytest.mark.django_db
Site = Callable[..., Client]
MOST_QUERIES = 12
DAY = make.TODAY - timedelta(days=2)


@pytest.fixture
def model(customer: Customer) -> Iterator[RegisteredModel]:
    """A forecast with a champion, a challenger and data."""
    with acting(system(customer.pk)):
        champion, _ = make.make_arena()
        yield RegisteredModel.objects.get(pk=champion.model_id)


def url(name: str, model: RegisteredModel) -> str:
    return reverse(f"admin:registry_{name}", args=[model.pk])


def settings_of(client: Client, model: RegisteredModel, **changes: Any) -> dict[str, Any]:
    """What the form of the settings would send, with changes."""
    form = client.get(url("settings", model)).context["form"]
    shown = {name: form[name].value() for name in form.fields}
    given = {**shown, **changes}
    return {name: "on" if value is True else value for name, value in given.items() if value not in (False, None)}


def test_settings_show_what_is_and_change_what_differs(model: RegisteredModel, site: Site) -> None:
    client = site()
    given = settings_of(client, model, display_name="Demand", domain="grocery", scheduled=False, retention_days="365", reason="Tidy.")

    done = client.post(url("settings", model), given)

    event = AuditEvent.objects.get(action="model.configured")
    assert done.url == url("model_page", model)
    assert event.after == {"display_name": "Demand", "domain": "grocery", "scheduled": False, "retention_days": 365}
    assert (event.reason, event.actor) == ("Tidy.", "ml_manager@example.com")


def test_the_recipe_and_the_folder_are_settings_too(model: RegisteredModel, site: Site, settings: Any, tmp_path: Path) -> None:
    settings.DATA_ROOTS = [tmp_path.resolve()]
    (tmp_path / "sales.csv").write_text("date,item,units\n")
    client, recipe = site(), '{"kind": "lightgbm", "rounds": 300}'

    client.post(url("settings", model), settings_of(client, model, recipe=recipe, data_dir=str(tmp_path / "sales.csv")))

    model.refresh_from_db()
    assert (model.recipe, model.data_dir) == ({"kind": "lightgbm", "rounds": 300}, str(tmp_path.resolve() / "sales.csv"))


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("recipe", '{"rounds": 0}', "1"),
        ("recipe", '{"depth": 3}', "Unknown setting."),
        ("recipe", "rounds: 3", "Not acceptable JSON"),
        ("recipe", '{"rounds": NaN}', "NaN is not a JSON number"),
        ("recipe", "[" * 4000, "nested deeper"),
        ("recipe", "[1]", "Must be a JSON object"),
        ("data_dir", "/etc/passwd", "allowed roots"),
        ("retention_days", "0", "greater than or equal to 1"),
        ("domain", "x" * 65, "at most 64"),
    ],
)
def test_a_setting_that_will_not_do_is_refused_beside_its_field(
    model: RegisteredModel, site: Site, field: str, value: str, said: str
) -> None:
    client = site()

    answer = client.post(url("settings", model), settings_of(client, model, **{field: value}))

    assert said in " ".join(answer.context["form"].errors[field])
    assert RegisteredModel.objects.get(pk=model.pk).revision == model.revision


def test_settings_that_changed_meanwhile_are_not_overwritten(model: RegisteredModel, site: Site) -> None:
    client = site()
    given = settings_of(client, model, display_name="Mine")
    RegisteredModel.objects.filter(pk=model.pk).update(revision=77)

    late = client.post(url("settings", model), given)
    again = client.post(url("settings", model), {**given, "revision": late.context["form"]["revision"].value()})

    assert "The model has changed since you opened the page" in late.text
    assert 'value="Mine"' in late.text
    assert again.status_code == 302
    assert RegisteredModel.objects.get(pk=model.pk).display_name == "Mine"


def test_settings_that_do_not_differ_write_nothing(model: RegisteredModel, site: Site) -> None:
    RegisteredModel.objects.filter(pk=model.pk).update(description="One line\nand another")
    client = site()

    told = client.post(url("settings", model), settings_of(client, model, description="One line\r\nand another"), follow=True)

    assert "Nothing was different" in told.text
    assert RegisteredModel.objects.get(pk=model.pk).revision == model.revision


def test_a_model_that_learns_in_studies_has_neither_folder_nor_recipe(customer: Customer, site: Site) -> None:
    with acting(system(customer.pk)):
        prices = make.make_model("prices", task="regression")

    form = site().get(url("settings", prices)).context["form"]

    assert {"recipe", "data_dir"} & set(form.fields) == set()


@pytest.mark.parametrize(
    ("role", "allowed"),
    [("viewer", []), ("data_scientist", ["version_register", "actuals"]), ("ml_manager", ["settings", "version_register", "actuals"])],
)
def test_each_role_finds_and_opens_its_own_forms(model: RegisteredModel, site: Site, role: str, allowed: list[str]) -> None:
    client = site(role)
    page = client.get(url("model_page", model)).text

    for name in ("settings", "version_register", "actuals"):
        answers = [client.get(url(name, model)).status_code, client.post(url(name, model), {"metrics": "["}).status_code]
        assert (url(name, model) in page, answers) == (name in allowed, [200, 200] if name in allowed else [403, 403])


def test_another_customers_model_has_no_forms_here(other_customer: Customer, site: Site) -> None:
    with acting(system(other_customer.pk)):
        foreign = make.make_model("theirs")
    client = site()

    assert [client.get(url(name, foreign)).status_code for name in ("settings", "version_register", "actuals")] == [404, 404, 404]


def test_the_forms_ask_the_database_little(model: RegisteredModel, site: Site) -> None:
    client = site()

    for name in ("settings", "version_register", "actuals"):
        with CaptureQueriesContext(connection) as captured:
            client.get(url(name, model))
        assert sum(query["sql"].startswith("SELECT") and "set_config" not in query["sql"] for query in captured) <= MOST_QUERIES


def test_a_version_is_registered_by_its_numbers(model: RegisteredModel, site: Site) -> None:
    client = site("data_scientist")
    parent = ModelVersion.objects.get(version="v2")
    given = {"version": "2.1.0", "algorithm": "prophet", "metrics": '{"mae": 1.2}', "hyperparameters": '{"depth": 6}'}

    done = client.post(url("version_register", model), {**given, "parent": str(parent.pk), "notes": "From the notebook."})

    made = ModelVersion.objects.get(version="2.1.0")
    assert done.url == f"{url('model_page', model)}?version=2.1.0"
    assert (made.algorithm, made.metrics, made.hyperparameters) == ("prophet", {"mae": 1.2}, {"depth": 6})
    assert (made.parent_id, made.notes, made.created_by) == (parent.pk, "From the notebook.", "data_scientist@example.com")
    assert (made.status, made.has_artifact) == ("candidate", False)


def test_a_version_without_anything_gets_the_next_label(model: RegisteredModel, site: Site) -> None:
    done = site("data_scientist").post(url("version_register", model), {})

    assert done.url.endswith("?version=v4")


def test_a_version_brings_its_file(model: RegisteredModel, site: Site) -> None:
    file = SimpleUploadedFile("model.txt", model_text().encode())

    done = site("data_scientist").post(url("version_register", model), {"version": "blue", "file": file})

    made = ModelVersion.objects.get(version="blue")
    assert done.status_code == 302
    assert (made.artifact_format, made.has_artifact, made.algorithm) == ("lightgbm", True, "lightgbm")


@pytest.mark.parametrize(
    ("given", "field", "said"),
    [
        ({"version": "with space"}, "version", "Must be 1 to 64"),
        ({"version": "v2"}, "version", "has a version v2 already"),
        ({"metrics": '{"mae": '}, "metrics", "Not acceptable JSON"),
        ({"hyperparameters": "[]"}, "hyperparameters", "Must be a JSON object"),
        ({"parent": "00000000-0000-0000-0000-00000000ffff"}, "parent", "Select a valid choice"),
        ({"file": SimpleUploadedFile("model.pkl", b"\x80\x04\x95cos\nsystem\n")}, "file", ""),
    ],
)
def test_a_version_that_will_not_do_is_refused_beside_its_field(
    model: RegisteredModel, site: Site, given: dict[str, Any], field: str, said: str
) -> None:
    answer = site("data_scientist").post(url("version_register", model), {"notes": "Keep me.", **given})

    assert said in " ".join(answer.context["form"].errors[field])
    assert "Keep me." in answer.text
    assert model.versions.count() == 3


ROWS = f"date,item_id,store_id,value\n{DAY},FOODS_1,CA_1,4\n{DAY},FOODS_2,CA_1,2.5\n"


@pytest.mark.parametrize(
    "given",
    [
        {"rows": ROWS},
        {"rows": ROWS.replace(",", ";")},
        {"rows": ROWS.replace(",", "\t").replace("\n", "\r\n")},
        {"file": ("actuals.csv", "\ufeff" + ROWS)},
    ],
)
def test_actuals_are_sent_as_text_or_as_a_file(model: RegisteredModel, site: Site, given: dict[str, Any]) -> None:
    sent = {name: SimpleUploadedFile(value[0], value[1].encode()) if name == "file" else value for name, value in given.items()}

    told = site("data_scientist").post(url("actuals", model), sent, follow=True)

    assert "2 rows are kept: 2 new, 0 corrected." in told.text
    assert sorted(Actual.objects.values_list("value", flat=True)) == [2.5, 4.0]


def test_the_form_of_actuals_names_the_columns_it_wants(model: RegisteredModel, site: Site) -> None:
    assert "date,item_id,store_id,value" in site("data_scientist").get(url("actuals", model)).text


def test_rows_that_cannot_be_true_are_named_by_their_lines(model: RegisteredModel, site: Site) -> None:
    late = make.TODAY + timedelta(days=4000)
    rows = f"{ROWS}{late},FOODS_1,CA_1,4\n{DAY},FOODS_1,CA_1,9\n"

    text = site("data_scientist").post(url("actuals", model), {"rows": rows}).text

    assert "line 4" in text
    assert "This day has not been yet." in text
    assert "line 5" in text
    assert "stand twice" in text
    assert not Actual.objects.exists()


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("", "Write the rows, or choose a file."),
        ("date,value\n", "There is no row below the header."),
        ("day,value\n2026-01-01,2\n", "The header needs the columns date and value"),
        ("date,value,value\n2026-01-01,2,3\n", "names value twice"),
        ("date,value\n2026-01-01\n", "line 2"),
        ("date,value\n1.1.2026,2\n", "Write the day as 2026-03-01"),
        ("date,value\n2026-01-01,many\n", "Must be a number"),
        ("date,value\n2026-01-01,nan\n", "Must be a number"),
        ("date,value\n2026-01-01,1e300\n", "Must be a number"),
        (f"date,item_id,value\n2026-01-01,{'x' * 300},1\n", "longer than 254"),
        ("date,value\n" + "2026-01-01,1\n" * 10_001, "10,000 rows at a time"),
        ('date,value\n"2026-01-01,1\n', "line 2"),
    ],
)
def test_text_that_is_no_table_of_actuals_is_refused(model: RegisteredModel, site: Site, rows: str, said: str) -> None:
    assert said in site("data_scientist").post(url("actuals", model), {"rows": rows}).text


def test_a_file_that_is_no_text_is_refused(model: RegisteredModel, site: Site) -> None:
    answer = site("data_scientist").post(url("actuals", model), {"file": SimpleUploadedFile("a.csv", b"\xff\xfe\x00d")})

    assert "is not UTF-8" in answer.text


def test_a_model_without_data_says_what_comes_first(customer: Customer, site: Site) -> None:
    with acting(system(customer.pk)):
        bare = make.make_model("bare")

    told = site("data_scientist").post(url("actuals", bare), {"rows": ROWS})

    assert "has no data yet" in told.text


def test_lines_are_counted_as_an_editor_counts_them() -> None:
    rows, lines = read_rows('\ndate,item,value\n\n2026-01-01,"two\nlines",1\n2026-01-02,b,2\n')

    assert [(row.keys, row.value) for row in rows] == [({"item": "two\nlines"}, 1.0), ({"item": "b"}, 2.0)]
    assert lines == [4, 6]


def test_problems_are_all_told_at_once() -> None:
    with pytest.raises(Problems) as told:
        read_rows("date,value\nx,1\n2026-01-01,y\n")

    assert [(line, column) for line, column, _ in told.value.found] == [(2, "date"), (3, "value")]
