"""`/v1/splits`: what it takes, what it answers, what it refuses, and to whom."""

import errno
import hashlib
import io
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from django.conf import settings as live
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from experiments.models import Split
from experiments.services import split_files
from mlops.artifacts.storage import storage
from mlops.audit.models import AuditEvent
from mlops.jobs.models import Job
from mlops.tenancy.models import Customer
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import system
from tests.experiments.training.splits import PLAN, URL, csv, cut_in_process, kept, post_file, post_records, rows, run_job
from tests.experiments.training.studying import make_split, make_study

pytestmark = pytest.mark.django_db
Api = Callable[..., APIClient]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """No child, but where a test says so."""
    if "child" not in request.fixturenames:
        cut_in_process(monkeypatch)


@pytest.fixture
def child() -> None:
    """Tables are cut by a real child."""


def errors(answer: Any) -> list[tuple[str, str]]:
    assert (answer.status_code, answer["Content-Type"]) == (400, "application/problem+json"), answer.content[:500]
    return [(error["field"], error["code"]) for error in answer.json()["errors"]]


def part(customer: Customer, body: dict[str, Any], name: str) -> pl.DataFrame:
    uri = body["parts"][name]["uri"]
    assert uri.startswith(f"artifacts:///splits/{customer.pk}/{body['id']}/")
    content = storage().read(uri.removeprefix("artifacts:///"), sha256=body["parts"][name]["sha256"])
    return pl.read_parquet(io.BytesIO(content))


def test_records_are_split_at_once(api: Api, customer: Customer) -> None:
    answer = post_records(api("data_scientist"))

    body = answer.json()
    assert (answer.status_code, body["status"], body["job_id"], body["rows"]) == (201, "ready", None, 60)
    assert {name: one["rows"] for name, one in body["parts"].items()} == {"train": 42, "validation": 9, "test": 9}
    assert body["features"] == ["size", "garden", "town", "sold"]
    assert {column["name"]: column["kind"] for column in body["profile"]} == {
        "size": "numeric", "garden": "boolean", "town": "categorical", "sold": "datetime", "price": "numeric",
    }  # fmt: skip
    assert [warning["code"] for warning in body["warnings"]] == ["time_ignored"]
    assert sum(part(customer, body, name).height for name in body["parts"]) == 60
    assert answer["Location"] == f"/v1/splits/{body['id']}"
    assert len(kept(customer)) == 3


def test_a_file_is_split_by_a_job(api: Api, customer: Customer) -> None:
    client = api("data_scientist")

    answer = post_file(
        client, fractions=json.dumps({"train": 0.5, "validation": 0.25, "test": 0.25}), features=json.dumps(["town", "size"])
    )

    body = answer.json()
    assert (answer.status_code, body["status"], body["parts"], body["features"]) == (202, "pending", {}, ["town", "size"])
    assert run_job(body["job_id"]).state == "succeeded"
    body = client.get(f"{URL}/{body['id']}").json()
    assert (body["status"], body["source_name"], body["source_sha256"]) == ("ready", "houses.csv", hashlib.sha256(csv()).hexdigest())
    assert {name: one["rows"] for name, one in body["parts"].items()} == {"train": 30, "validation": 15, "test": 15}
    assert part(customer, body, "test").columns == ["size", "town", "price"]
    assert {name: body["reading"][name] for name in ("format", "encoding", "delimiter", "header")} == {
        "format": "csv", "encoding": "utf-8", "delimiter": ",", "header": True,
    }  # fmt: skip
    assert len(kept(customer)) == 3


def test_a_parquet_file_gives_the_parts_that_its_records_give(api: Api, child: None, tmp_path: Path) -> None:
    client = api()
    pl.DataFrame(rows()).with_columns(pl.col("sold").str.to_datetime("%Y-%m-%d")).write_parquet(tmp_path / "f")

    pending = post_file(client, (tmp_path / "f").read_bytes(), file_name="houses").json()
    run_job(pending["job_id"])

    of_file = client.get(f"{URL}/{pending['id']}").json()
    of_records = post_records(client).json()
    assert of_file["reading"]["format"] == "parquet"
    assert [one["sha256"] for one in of_file["parts"].values()] == [one["sha256"] for one in of_records["parts"].values()]


def test_a_json_file_gives_the_parts_that_its_records_give(api: Api, child: None) -> None:
    client = api()

    pending = post_file(client, json.dumps(rows()).encode(), file_name="houses.json").json()
    run_job(pending["job_id"])

    of_file = client.get(f"{URL}/{pending['id']}").json()
    of_records = post_records(client).json()
    assert (of_file["status"], of_file["reading"]["format"]) == ("ready", "json")
    assert [one["sha256"] for one in of_file["parts"].values()] == [one["sha256"] for one in of_records["parts"].values()]


def test_a_local_file_below_an_allowed_root_is_split(api: Api, customer: Customer, tmp_path: Path, settings: Any) -> None:
    settings.DATA_ROOTS = [tmp_path]
    (tmp_path / "houses.csv").write_bytes(csv())
    client = api()

    for uri in ("houses.csv", str(tmp_path / "houses.csv"), f"file://{tmp_path}/houses.csv"):
        answer = client.post(URL, PLAN | {"uri": uri})
        assert answer.status_code == 202
        run_job(answer.json()["job_id"])
        body = client.get(f"{URL}/{answer.json()['id']}").json()
        assert (body["status"], body["source"], body["source_name"], body["source_size"]) == ("ready", "uri", uri, len(csv()))


@pytest.mark.parametrize(
    "uri",
    ["/etc/passwd", "../../etc/passwd", "file:///etc/passwd", "file://otherhost/x", "ftp://host/x", "http://169.254.169.254/latest", "link",
     "", " ", "nowhere.csv", "folder", "s3://bucket/x", "gs://bucket/x", "az://box/x", "s3://allowed/../x", "s3://allowed/%2e%2e/x",
     "s3://allowedx/x", "s3://user@allowed/x", "s3://allowed/data?x=1", "s3://allowed/data//x", "s3://allowed/datax/f", "[", "x" * 501],
)  # fmt: skip
def test_other_places_are_refused_unseen(api: Api, tmp_path: Path, settings: Any, uri: str) -> None:
    settings.DATA_ROOTS, settings.DATA_URIS = [tmp_path], ["s3://allowed/data/"]
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "folder").mkdir()

    answer = api().post(URL, PLAN | {"uri": uri})

    assert {field for field, _ in errors(answer)} == {"uri"}


def test_a_split_by_time_tells_its_boundaries(api: Api) -> None:
    body = post_records(api(), strategy="time", time_column="sold").json()

    assert body["boundaries"] == {
        "train": {"first": "2024-01-01T00:00:00Z", "last": "2024-02-14T00:00:00Z"},
        "validation": {"first": "2024-02-15T00:00:00Z", "last": "2024-02-23T00:00:00Z"},
        "test": {"first": "2024-02-24T00:00:00Z", "last": "2024-03-04T00:00:00Z"},
    }
    assert "sold" not in body["features"]


def test_a_split_by_entity_keeps_towns_whole(api: Api, customer: Customer) -> None:
    body = post_records(api(), strategy="entity", entity_column="town", fractions={"train": 0.5, "validation": 0.25, "test": 0.25}).json()

    towns = [set(part(customer, body, name)["town"]) for name in body["parts"]]
    assert sum(map(len, towns)) == 6


def test_the_same_records_and_seed_give_the_same_digests(api: Api) -> None:
    client = api()

    first, again, other = (post_records(client, seed=seed).json()["parts"]["test"]["sha256"] for seed in (1, 1, 2))

    assert first == again != other


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"fractions": {"train": 0.7, "validation": 0.2, "test": 0.2}}, "fractions"),
        ({"fractions": {"train": 0.7, "validation": 0.3}}, "fractions"),
        ({"fractions": {"train": 0.7, "validation": 0.3, "test": 0, "more": 0}}, "fractions"),
        ({"fractions": {"train": 0.7, "validation": 0.3, "test": 0}}, "fractions.test"),
        ({"fractions": {"train": "0.7", "validation": 0.15, "test": 0.15}}, "fractions"),
        ({"fractions": [0.7, 0.15, 0.15]}, "fractions"),
        ({"fractions": None}, "fractions"),
        ({"strategy": "magic"}, "strategy"),
        ({"strategy": "time"}, "time_column"),
        ({"strategy": "entity"}, "entity_column"),
        ({"task": "forecast"}, "task"),
        ({"task": "clustering"}, "task"),
        ({"target": ""}, "target"),
        ({"target": "x" * 300}, "target"),
        ({"target": "nope"}, "target"),
        ({"target": "town"}, "target"),
        ({"strategy": "time", "time_column": "nope"}, "time_column"),
        ({"strategy": "time", "time_column": "town"}, "time_column"),
        ({"features": ["nope"]}, "features"),
        ({"features": ["price"]}, "features"),
        ({"features": ["size", "size"]}, "features"),
        ({"features": []}, "features"),
        ({"features": "size"}, "features"),
        ({"features": [1]}, "features"),
        ({"seed": -1}, "seed"),
        ({"seed": "1"}, "seed"),
        ({"features": '["size"]'}, "features"),
        ({"fractions": '{"train": 0.7, "validation": 0.15, "test": 0.15}'}, "fractions"),
        ({"seed": 2**63 - 1, "target": "nope"}, "target"),
        ({"name": " "}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"speed": 1}, "speed"),
        ({"records": []}, "records"),
        ({"records": {"price": 1}}, "records"),
        ({"records": [1]}, "records"),
        ({"records": [{"price": 1, "x": 1}]}, "records"),
        ({"records": [{"price": 1, "x": [1]}, {"price": 2, "x": 1}]}, "records.x"),
        ({"records": [{"price": number, "x": None} for number in range(9)]}, "records"),
        ({"records": [{"price": 5, "x": number} for number in range(9)]}, "target"),
        ({"uri": "houses.csv"}, "records"),
    ],
)  # fmt: skip
def test_what_cannot_be_split_names_the_field_and_leaves_nothing(api: Api, customer: Customer, values: dict[str, Any], field: str) -> None:
    answer = post_records(api(), **values)

    assert {found for found, _ in errors(answer)} == {field}
    assert kept(customer) == []
    assert list(Path(live.FILE_UPLOAD_TEMP_DIR).glob("*")) == []
    with acting(system(customer.pk)):
        assert not Split.objects.exists()


def test_a_part_that_would_be_empty_is_named(api: Api) -> None:
    answer = post_records(api(), rows(5), fractions={"train": 0.98, "validation": 0.01, "test": 0.01})

    assert "validation would be empty" in answer.json()["detail"]


BAD: dict[str, tuple[bytes, str]] = {
    "not a table": (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, "binary_file"),
    "pretends to be parquet": (b"PAR1" + b"x" * 200 + b"PAR1", "damaged_parquet"),
    "zip": (b"PK\x03\x04" + b"\0" * 50, "unknown_format"),
    "one row": (csv(1), "too_few_rows"),
    "no such target": (b"x,y\n1,2\n2,3\n", "no_column"),
    "10,000 columns": (",".join(f"c{n}" for n in range(10_000)).encode() + b"\n", "too_many_columns"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_cannot_be_split_ends_failed_with_its_problems_and_leaves_nothing(api: Api, customer: Customer, name: str) -> None:
    content, code = BAD[name]
    client = api()

    pending = post_file(client, content).json()
    job = run_job(pending["job_id"])

    body = client.get(f"{URL}/{pending['id']}").json()
    assert (job.state, job.attempt) == ("failed", 1)
    assert (body["status"], body["parts"], [problem["code"] for problem in body["problems"]]) == ("failed", {}, [code])
    assert kept(customer) == []
    assert list(Path(live.FILE_UPLOAD_TEMP_DIR).glob("*")) == []


def test_an_empty_file_is_refused_at_once(api: Api, customer: Customer) -> None:
    assert {field for field, _ in errors(post_file(api(), b""))} == {"file"}
    assert kept(customer) == []


def test_a_file_larger_than_allowed_is_413(api: Api, customer: Customer, settings: Any) -> None:
    settings.MAX_DATASET_BYTES = 100

    answer = post_file(api())

    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert kept(customer) == []


def test_records_hold_no_what_json_cannot(api: Api) -> None:
    client = api()

    for value in ("NaN", '"\\u0000"', '"\\ud800"', "1e999", str(2**70)):
        answer = client.generic(
            "POST", URL, json.dumps(PLAN)[:-1] + f', "records": [{{"price": {value}}}]}}', content_type="application/json"
        )
        assert answer.status_code == 400


# --- changing and deleting --------------------------------------------------------------------------------------------------------------
def test_a_split_is_renamed_under_its_etag(api: Api) -> None:
    client = api("data_scientist")
    made = post_records(client)
    where = made["Location"]

    answer = client.patch(where, {"name": "homes", "description": "Sold ones."}, headers={"If-Match": made["ETag"]})

    assert (answer.status_code, answer.json()["name"], answer.json()["revision"]) == (200, "homes", made.json()["revision"] + 1)
    assert client.patch(where, {"name": "late"}, headers={"If-Match": made["ETag"]}).status_code == 412
    assert client.patch(where, {"seed": 1}).json()["errors"][0]["field"] == "seed"
    assert client.patch(where, {"name": ""}).status_code == 400


def test_deleting_hides_a_split_and_keeps_its_files(api: Api, customer: Customer) -> None:
    made = post_records(api("data_scientist")).json()
    where, admin = f"{URL}/{made['id']}", api("admin")

    answer = admin.delete(where)

    assert (answer.status_code, answer.content) == (204, b"")
    assert [admin.get(where).status_code, admin.delete(where).status_code, admin.patch(where, {}).status_code] == [404, 404, 404]
    assert admin.get(URL).json()["count"] == 0
    assert len(kept(customer)) == 3


def test_deleting_with_artifacts_takes_the_files_too(api: Api, customer: Customer, django_capture_on_commit_callbacks: Any) -> None:
    made = post_records(api()).json()

    with django_capture_on_commit_callbacks(execute=True):
        assert api("admin").delete(f"{URL}/{made['id']}?delete_artifacts=true").status_code == 204

    assert kept(customer) == []


@pytest.fixture
def broken_storage(settings: Any, tmp_path: Path) -> Path:
    """An artifact storage whose folder is a file."""
    settings.ARTIFACT_STORAGE_URL = f"file://{tmp_path / 'artifacts'}"
    storage()
    shutil.rmtree(tmp_path / "artifacts")
    (tmp_path / "artifacts").write_text("a file")
    return tmp_path / "artifacts"


@pytest.mark.django_db(transaction=True)
def test_a_deletion_is_done_although_the_storage_is_down(api: Api, customer: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    with acting(system(customer.pk)), transaction.atomic():
        made = make_split()

    def fail(_: str) -> None:
        raise NotADirectoryError(errno.ENOTDIR, "Not a directory")

    monkeypatch.setattr(split_files, "empty", fail)

    assert api("admin").delete(f"{URL}/{made.pk}?delete_artifacts=true").status_code == 204
    assert api("admin").get(f"{URL}/{made.pk}").status_code == 404


def test_a_storage_that_is_broken_is_503_and_leaves_nothing(api: Api, customer: Customer, broken_storage: Path) -> None:
    answer = post_records(api())

    assert (answer.status_code, answer.json()["code"], answer["Retry-After"]) == (503, "storage_unavailable", "30")
    with acting(system(customer.pk)):
        assert Split.objects.count() == 0


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, "storage_full"), (errno.EROFS, "storage_unavailable")])
def test_a_folder_of_ours_that_takes_nothing_is_503(api: Api, monkeypatch: pytest.MonkeyPatch, number: int, code: str) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(number, "no")

    monkeypatch.setattr(tempfile, "mkdtemp", fail)

    assert (post_records(api()).status_code, post_records(api()).json()["code"]) == (503, code)


def test_a_missing_folder_for_temporary_files_is_503(api: Api, settings: Any, tmp_path: Path) -> None:
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path / "gone")

    answer = post_records(api())

    assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")


def test_a_split_that_a_study_uses_is_not_deleted(api: Api, customer: Customer) -> None:
    made = post_records(api()).json()
    with acting(system(customer.pk)):
        make_study(split=Split.objects.get())

    for query in ("", "?delete_artifacts=true"):
        answer = api("admin").delete(f"{URL}/{made['id']}{query}")
        assert (answer.status_code, answer.json()["code"]) == (409, "split_in_use")
    assert len(kept(customer)) == 3


def test_deleting_while_it_is_prepared_stops_the_job(api: Api, customer: Customer) -> None:
    pending = post_file(api()).json()

    assert api("admin").delete(f"{URL}/{pending['id']}").status_code == 204

    assert Job.objects.get(pk=pending["job_id"]).state == "cancelled"


@pytest.mark.parametrize("value", ["yes", "1", "TRUE"])
def test_delete_artifacts_is_true_or_false(api: Api, value: str) -> None:
    made = post_records(api()).json()

    assert api("admin").delete(f"{URL}/{made['id']}?delete_artifacts={value}").status_code == 400


# --- who --------------------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("role", "status"), [("viewer", 403), ("service", 403), ("data_scientist", 201), ("ml_manager", 201), ("admin", 201)]
)
def test_data_scientists_and_above_make_splits(api: Api, role: str, status: int) -> None:
    assert post_records(api(role)).status_code == status


@pytest.mark.parametrize(("role", "status"), [("data_scientist", 403), ("ml_manager", 403), ("admin", 204)])
def test_administrators_alone_delete_splits(api: Api, role: str, status: int) -> None:
    made = post_records(api()).json()

    assert api(role).delete(f"{URL}/{made['id']}").status_code == status


def test_viewers_read(api: Api) -> None:
    made = post_records(api()).json()

    assert api("viewer").get(f"{URL}/{made['id']}").json()["id"] == made["id"]


def test_nobody_is_401(client: Any) -> None:
    assert client.get(URL).status_code == 401


def test_another_customers_split_is_not_there(api: Api, other_customer: Customer) -> None:
    made = post_records(api()).json()
    stranger = api("admin", of=other_customer)

    where = f"{URL}/{made['id']}"
    assert [stranger.get(where).status_code, stranger.patch(where, {"name": "x"}).status_code, stranger.delete(where).status_code] == [
        404
    ] * 3
    assert stranger.get(URL).json()["count"] == 0


# --- lists and trails -------------------------------------------------------------------------------------------------------------------
def test_the_list_filters_orders_and_searches(api: Api) -> None:
    client = api()
    post_records(client, name="alpha")
    post_records(client, name="beta", strategy="time", time_column="sold")
    post_file(client, name="gamma")

    def names(query: str) -> list[str]:
        return [row["name"] for row in client.get(f"{URL}?{query}").json()["results"]]

    assert names("") == ["gamma", "beta", "alpha"]
    assert names("strategy=time") == ["beta"]
    assert names("status=pending&source=file") == ["gamma"]
    assert names("ordering=name") == ["alpha", "beta", "gamma"]
    assert names("search=ALP") == ["alpha"]
    assert client.get(f"{URL}?colour=red").status_code == 400
    assert "profile" not in client.get(URL).json()["results"][0]


def test_the_list_asks_the_same_number_of_queries_whatever_its_length(api: Api, customer: Customer) -> None:
    client = api()
    post_records(client)
    client.get(URL)
    with CaptureQueriesContext(
        connection,
    ) as one:
        client.get(URL)
    with acting(system(customer.pk)):
        only = Split.objects.get()
        for number in range(12):
            only.pk = None
            only.id = Split().id
            only.name = f"copy {number}"
            only.save(force_insert=True)

    with CaptureQueriesContext(connection) as many:
        assert client.get(URL).json()["count"] == 13

    assert len(many) == len(one)


def test_making_and_changing_leave_a_trail(api: Api, customer: Customer) -> None:
    made = post_records(api()).json()
    api().patch(f"{URL}/{made['id']}", {"name": "other"})
    api("admin").delete(f"{URL}/{made['id']}")

    with acting(system(customer.pk)):
        actions = list(AuditEvent.objects.filter(object_id=made["id"]).order_by("number").values_list("action", flat=True))
    assert actions == ["split.created", "split.ready", "split.changed", "split.deleted"]


def test_a_repeated_post_makes_one_split(api: Api, customer: Customer) -> None:
    client = api()

    first, again = (client.post(URL, PLAN | {"records": rows()}, headers={"Idempotency-Key": "k"}) for _ in range(2))

    assert (first.status_code, again.status_code, first.json()["id"]) == (201, 201, again.json()["id"])
    with acting(system(customer.pk)):
        assert Split.objects.count() == 1


def test_formulas_stay_text(api: Api, customer: Customer) -> None:
    records = [row | {"note": "=HYPERLINK(1)"} for row in rows()]

    body = post_records(api(), records).json()

    note = next(column for column in body["profile"] if column["name"] == "note")
    assert (note["kind"], note["top"]) == ("categorical", [{"value": "=HYPERLINK(1)", "count": 60}])
    assert part(customer, body, "test")["note"].unique().to_list() == ["=HYPERLINK(1)"]
