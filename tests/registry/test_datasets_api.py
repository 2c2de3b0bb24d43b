"""The doors of data sets: what they take, what they refuse, and how they say so."""

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from mlops.artifacts.storage import storage
from mlops.jobs.models import Job
from mlops.tenancy.models import Customer
from mlops.tenancy.roles import Principal
from mlops.tenancy.services import create_customer
from registry.checks import customers_have_data_of_their_own
from registry.models import Dataset, DatasetVersion
from tests.conftest import NOON
from tests.engine.frames.samples import days, long_csv, order_lines, single_csv
from tests.registry.readers import read_each_file_once

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same file is read once in the whole run."""
    read_each_file_once(monkeypatch)


URL = "/api/v1/datasets"
Api = Callable[..., APIClient]


def csv_file(text: str | bytes | None = None, name: str = "sales.csv") -> SimpleUploadedFile:
    text = long_csv(40) if text is None else text
    return SimpleUploadedFile(name, text.encode() if isinstance(text, str) else text)


def upload(client: APIClient, text: str | bytes | None = None, *, url: str = URL, file_name: str = "sales.csv", **fields: Any) -> Any:
    fields = ({"name": "sales"} if url == URL else {}) | fields
    values = {name: value for name, value in fields.items() if value is not None}
    return client.post(url, {**values, "file": csv_file(text, file_name)}, format="multipart")


def stored(customer: Customer) -> list[str]:
    return storage().list(f"datasets/{customer.pk}")


def wide_csv() -> str:
    return "\n".join(["date,ale,bun,cake", *(f"{day},{day.day},{day.day + 3},{day.day % 4}" for day in days(40))]) + "\n"


def bomb(path: Path) -> bytes:
    """Less than a megabyte of Parquet that decodes to a gigabyte: one value, over and over."""
    million = pl.DataFrame({"date": [date(2024, 1, 1)], "units": [0], "store": ["x"]})
    million = million.select(pl.all().repeat_by(1_000_000).explode())
    with pq.ParquetWriter(path, million.to_arrow().schema) as writer:
        for _ in range(41):
            writer.write_table(million.to_arrow())
    return path.read_bytes()


def test_upload_of_a_long_file_answers_the_ready_version_with_its_report(api: Api) -> None:
    answer = upload(api())

    assert answer.status_code == 201, answer.json()
    body = answer.json()
    assert (body["dataset"], body["number"], body["status"], body["job_id"], body["repeated"]) == ("sales", 1, "ready", None, False)
    assert (body["rows"], body["series"], body["first_day"], body["last_day"]) == (160, 4, "2024-01-01", "2024-02-09")
    assert body["mapping"]["keys"] == ["store", "item"]
    assert body["report"]["rows_read"] == 160
    assert [column["name"] for column in body["profile"]["columns"]] == ["date", "store", "item", "units"]


@pytest.mark.parametrize(
    ("text", "shape", "series"),
    [(wide_csv(), "wide", 3), (order_lines(60), "transactions", 4), (single_csv(40, header="date;units", separator=";"), "long", 1)],
    ids=["wide", "transactions", "single series"],
)
def test_upload_finds_the_shape_of_the_file(api: Api, text: str, shape: str, series: int) -> None:
    body = upload(api(), text).json()

    assert (body["status"], body["mapping"]["shape"], body["series"]) == ("ready", shape, series)


def test_upload_of_parquet_is_read(api: Api, tmp_path: Path) -> None:
    pl.read_csv(long_csv(40).encode(), try_parse_dates=True).write_parquet(tmp_path / "f")

    body = upload(api(), (tmp_path / "f").read_bytes(), file_name="sales.parquet").json()

    assert (body["status"], body["rows"]) == ("ready", 160)


def test_upload_under_a_given_mapping_is_read_so(api: Api) -> None:
    mapping = {"shape": "transactions", "date": "date", "target": "units", "keys": ["item"]}

    body = upload(api(), mapping=json.dumps(mapping)).json()

    assert (body["status"], body["series"], body["mapping"]["keys"]) == ("ready", 2, ["item"])


LINES = {"shape": "long", "date": "date", "target": "units"}
MIXED = single_csv(40).encode() + "2024-02-10,é\n".encode("latin-1") + "2024-02-11,é\n".encode()
BAD: dict[str, tuple[str | bytes, dict[str, Any] | None, str | None, str]] = {
    "missing column": (
        long_csv(40),
        {"shape": "long", "date": "date", "target": "sold", "keys": ["store", "item"]},
        "missing_column",
        "sold",
    ),
    "unparsable dates": (single_csv(40) + "soon,5\n", LINES, "unparsable_dates", "date"),
    "duplicate days": (long_csv(40), LINES | {"keys": ["store"]}, "duplicate_days", "file"),
    "negative target": (single_csv(40) + "2024-02-10,-5\n", None, "negative_target", "units"),
    "no number": (single_csv(40) + "2024-02-10,many\n", LINES, "not_a_number", "units"),
    "header only": ("date,units\n", None, "no_rows", "file"),
    "mixed encodings": (
        MIXED,
        None,
        "mixed_encodings",
        "file",
    ),
    "zip renamed": (b"PK\x03\x04" + bytes(200), None, "unknown_format", "file"),
    "no table": ("hello world\n", None, None, "file"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_file_is_refused_naming_what_is_wrong_and_leaves_nothing(api: Api, customer: Customer, scope: Principal, case: str) -> None:
    text, mapping, code, field = BAD[case]

    answer = upload(api(), text, mapping=json.dumps(mapping) if mapping else None)

    assert answer.status_code == 400
    body = answer.json()
    assert body["code"] == "unreadable_file"
    assert code is None or (field, code) in [(error["field"], error["code"]) for error in body["errors"]]
    assert {"rows", "examples", "severity"} <= set(body["problems"][0])
    assert not Dataset.objects.exists()
    assert stored(customer) == []


def test_empty_file_is_refused(api: Api) -> None:
    answer = upload(api(), b"")

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "file"


def test_parquet_bomb_is_refused_by_the_child(api: Api, tmp_path: Path, customer: Customer) -> None:
    content = bomb(tmp_path / "bomb")

    answer = upload(api(), content)

    assert len(content) < 1_000_000
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["code"] in ("memory", "too_many_rows")
    assert stored(customer) == []


def test_csv_bomb_is_refused(api: Api) -> None:
    answer = upload(api(), "\n".join(["date," + ",".join(f"c{number}" for number in range(100_000)), "2024-01-01"]))

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["code"] == "too_many_columns"


def test_refusal_shows_the_proposal_to_correct_the_mapping_by(api: Api) -> None:
    body = upload(api(), single_csv(40) + "2024-02-10,-5\n").json()

    assert body["proposal"]["mapping"]["target"] == "units"
    assert [column["name"] for column in body["proposal"]["columns"]] == ["date", "units"]


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"--x\r\nnonsense", "multipart/form-data; boundary=x"),
        (b"anything", "multipart/form-data"),
        (b"", "multipart/form-data; boundary=x"),
        (b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\nsales\r\n--x--\r\n', "multipart/form-data; boundary=x"),
        (b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\ndate,units\r\n--x--\r\n', "multipart/form-data; boundary=x"),
    ],
    ids=["cut off", "no boundary", "no body", "no file", "file as text"],
)
def test_wrong_multipart_is_400(api: Api, content: bytes, content_type: str) -> None:
    answer = api().generic("POST", URL, content, content_type=content_type)

    assert answer.status_code == 400
    assert answer.json()["code"]


def test_two_files_are_refused_naming_the_field(api: Api) -> None:
    answer = api().post(URL, {"name": "sales", "file": [csv_file(), csv_file()]}, format="multipart")

    assert answer.status_code == 400
    assert answer.json()["errors"] == [{"field": "file", "message": "Sent more than once.", "code": "repeated"}]


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "a\x00b"},
        {"name": "Two Words"},
        {"name": "00000000-0000-0000-0000-000000000001"},
        {"name": "x" * 129},
        {"name": ""},
        {"surprise": "1"},
        {"model_name": "nobody"},
        {"mapping": "{"},
        {"mapping": "[]"},
        {"mapping": '{"shape": "long", "shape": "long"}'},
        {"mapping": '{"shape": "long", "date": "a\\u0000"}'},
        {"mapping": '{"shape": "round", "date": "date"}'},
        {"mapping": '{"shape": "long", "date": "date", "target": NaN}'},
        {"mapping": '{"date": "date"}'},
    ],
    ids=str,
)
def test_bad_fields_are_refused_by_name(api: Api, fields: dict[str, str], scope: Principal) -> None:
    answer = upload(api(), **fields)

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"].split(".")[0] == next(iter(fields))
    assert not Dataset.objects.exists()


@pytest.mark.parametrize("name", ["x." + "y" * 300, "../../../etc/passwd", "a\x00.csv", "é\u202e.csv", ".", "", "a;b=c.csv"])
def test_any_file_name_is_taken_or_refused_but_never_breaks(api: Api, name: str) -> None:
    fields = f'form-data; name="name"\r\n\r\nsales\r\n--x\r\nContent-Disposition: form-data; name="file"; filename="{name}"'
    head = f"--x\r\nContent-Disposition: {fields}"
    content = f"{head}\r\n\r\n{long_csv(40)}\r\n--x--\r\n".encode()

    answer = api().generic("POST", URL, content, content_type="multipart/form-data; boundary=x")

    assert answer.status_code in (201, 400)
    assert "/" not in answer.json().get("source_name", "")
    assert answer.status_code == (400 if name in (".", "") else 201)


def test_a_body_above_the_limit_is_413(api: Api, settings: Any) -> None:
    client = api()
    upload(client)
    settings.MAX_DATASET_BYTES = settings.MAX_ARTIFACT_BYTES = 1000

    answers = [upload(client), upload(client, url=f"{URL}/sales/versions")]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(413, "too_large")] * 2


def test_other_content_is_415(api: Api) -> None:
    assert api().generic("POST", URL, b"date,units", content_type="text/csv").status_code == 415


def test_taken_name_is_409(api: Api) -> None:
    upload(api())

    answer = upload(api(), single_csv(40))

    assert (answer.status_code, answer.json()["code"]) == (409, "duplicate")


def test_same_file_again_is_the_same_version(api: Api) -> None:
    client = api()
    upload(client)

    again = upload(client, url=f"{URL}/sales/versions")

    assert again.status_code == 200
    assert (again.json()["number"], again.json()["repeated"]) == (1, True)


def test_newer_file_is_read_under_the_same_mapping(api: Api) -> None:
    client = api()
    first = upload(client).json()

    second = upload(client, long_csv(50), url=f"{URL}/sales/versions")

    assert second.status_code == 201
    assert (second.json()["number"], second.json()["last_day"]) == (2, "2024-02-19")
    assert second.json()["mapping"] == first["mapping"]


def test_newer_file_without_the_columns_is_refused_and_the_former_version_stays(api: Api) -> None:
    client = api()
    upload(client)

    answer = upload(client, single_csv(50), url=f"{URL}/sales/versions")

    assert answer.status_code == 400
    assert {error["field"] for error in answer.json()["errors"]} == {"store", "item"}
    assert client.get(f"{URL}/sales").json()["newest"]["number"] == 1


def test_corrected_mapping_makes_a_version_from_the_same_source(api: Api) -> None:
    client = api()
    first = upload(client).json()
    mapping = {"shape": "transactions", "date": "date", "target": "units", "keys": ["store"]}

    second = client.post(f"{URL}/sales/mapping", {"mapping": mapping})

    assert second.status_code == 201, second.json()
    assert (second.json()["number"], second.json()["series"]) == (2, 2)
    assert second.json()["source_sha256"] == first["source_sha256"]
    assert client.get(f"{URL}/sales").json()["mapping"]["keys"] == ["store"]


def test_a_mapping_in_a_json_body_is_an_object(api: Api) -> None:
    client = api()
    first = upload(client).json()

    answer = client.post(f"{URL}/sales/mapping", {"mapping": json.dumps(first["mapping"])})

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "mapping")


def test_mapping_that_does_not_fit_is_refused_naming_the_column(api: Api) -> None:
    client = api()
    upload(client)

    answer = client.post(f"{URL}/sales/mapping", {"mapping": {"shape": "long", "date": "day", "target": "units"}})

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "day"
    assert client.get(f"{URL}/sales/versions").json()["count"] == 1


def test_same_mapping_again_is_the_same_version(api: Api) -> None:
    client = api()
    first = upload(client).json()

    again = client.post(f"{URL}/sales/mapping", {"mapping": first["mapping"]})

    assert (again.status_code, again.json()["id"]) == (200, first["id"])


def test_preview_shows_the_first_rows_of_the_panel(api: Api) -> None:
    client = api()
    upload(client)

    body = client.get(f"{URL}/sales/versions/1/preview?limit=3").json()

    assert len(body["results"]) == 3
    assert body["results"][0]["date"] == "2024-01-01"
    assert body["results"][0]["target"] == 11.0
    assert body["results"][0]["keys"] == {"store": "North", "item": "ale"}


@pytest.mark.parametrize("limit", ["0", "101", "x", "-1", "1e2"])
def test_preview_limits_are_checked(api: Api, limit: str) -> None:
    client = api()
    upload(client)

    assert client.get(f"{URL}/sales/versions/1/preview?limit={limit}").status_code == 400


def test_id_stands_for_the_name(api: Api, scope: Principal) -> None:
    client = api()
    upload(client)

    assert client.get(f"{URL}/{Dataset.objects.get().pk}").json()["name"] == "sales"


@pytest.mark.parametrize("path", ["sales", "sales/versions", "sales/versions/1", "sales/versions/1/preview"])
def test_foreign_tenant_gets_404(api: Api, other_customer: Customer, path: str) -> None:
    upload(api())
    foreign = api(of=other_customer)

    assert foreign.get(f"{URL}/{path}").status_code == 404
    assert foreign.get(URL).json()["count"] == 0


def test_foreign_tenant_cannot_write(api: Api, other_customer: Customer, scope: Principal) -> None:
    body = upload(api()).json()
    foreign = api(of=other_customer)

    for reference in ("sales", DatasetVersion.objects.get().dataset_id):
        assert upload(foreign, url=f"{URL}/{reference}/versions").status_code == 404
        assert foreign.post(f"{URL}/{reference}/mapping", {"mapping": body["mapping"]}).status_code == 404


def test_viewer_reads_and_writes_nothing(api: Api) -> None:
    upload(api())
    viewer = api("viewer")

    assert viewer.get(f"{URL}/sales/versions/1/preview").status_code == 200
    assert upload(viewer, name="other").status_code == 403
    assert upload(viewer, url=f"{URL}/sales/versions").status_code == 403
    assert viewer.post(f"{URL}/sales/mapping", {"mapping": {}}).status_code == 403


def test_service_key_reads_nothing(api: Api) -> None:
    assert api("service").get(URL).status_code == 403


def test_a_session_needs_its_token(site: Callable[..., Client]) -> None:
    browser = site("data_scientist")
    browser.handler.enforce_csrf_checks = True

    assert browser.post(URL, {"name": "sales", "file": csv_file()}).status_code == 403


@pytest.mark.parametrize("path", ["nobody", "nobody/versions", "sales/versions/9", "sales/versions/9/preview", "%ED%A0%80"])
def test_what_is_not_there_is_404(api: Api, path: str) -> None:
    client = api()
    upload(client)

    assert client.get(f"{URL}/{path}").status_code == 404


def test_data_dir_below_a_root_is_taken_in(api: Api, settings: Any, tmp_path: Path) -> None:
    settings.DATA_ROOTS = [tmp_path]
    (tmp_path / "parts").mkdir()
    for store in ("North", "South"):
        (tmp_path / "parts" / f"{store}.csv").write_text(long_csv(40, stores=(store,)))

    file = api().post(URL, {"name": "one", "data_dir": "parts/North.csv"})
    folder = api().post(URL, {"name": "both", "data_dir": str(tmp_path / "parts")})

    assert (file.status_code, file.json()["series"]) == (201, 2)
    assert (folder.status_code, folder.json()["series"], folder.json()["source_name"]) == (201, 4, "parts")


def test_a_root_that_names_the_customer_is_closed_to_the_others(
    api: Api, settings: Any, tmp_path: Path, customer: Customer, other_customer: Customer
) -> None:
    settings.DATA_ROOTS = [tmp_path / "{customer}"]
    for owner in (customer, other_customer):
        (tmp_path / str(owner.pk)).mkdir()
        (tmp_path / str(owner.pk) / "prices.csv").write_text(long_csv(40))

    own = api().post(URL, {"name": "own", "data_dir": "prices.csv"})
    named = [f"{other_customer.pk}/prices.csv", f"../{other_customer.pk}/prices.csv", str(tmp_path / str(other_customer.pk) / "prices.csv")]
    refused = [api().post(URL, {"name": "theirs", "data_dir": text}) for text in [*named, "{customer}/prices.csv"]]

    assert own.status_code == 201
    assert [answer.status_code for answer in refused] == [400] * 4


def test_shared_roots_are_warned_of_where_there_are_several_customers(customer: Customer, settings: Any) -> None:
    settings.DATA_ROOTS, settings.DATA_URIS = [Path("/srv/{customer}"), Path("/srv/all")], ["s3://sales/{customer}/"]
    alone = customers_have_data_of_their_own()
    create_customer(name="Another", at=NOON)
    found = customers_have_data_of_their_own()
    settings.DATA_ROOTS = [Path("/srv/{customer}")]

    assert (alone, customers_have_data_of_their_own()) == ([], [])
    assert [one.msg for one in found] == ["Every customer may read what lies below /srv/all."]


@pytest.mark.parametrize(
    "data_dir",
    [
        "/etc/passwd",
        "../outside.csv",
        "link.csv",
        "folder/../../outside.csv",
        "linked/outside.csv",
        "missing.csv",
        "loop",
        "~/x",
        "x" * 400,
        " ",
    ],
)
def test_data_dir_out_of_the_roots_is_refused(api: Api, settings: Any, tmp_path: Path, scope: Principal, data_dir: str) -> None:
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (tmp_path / "outside.csv").write_text(long_csv(40))
    (root / "link.csv").symlink_to(tmp_path / "outside.csv")
    (root / "linked").symlink_to(tmp_path)
    (root / "loop").symlink_to(root / "loop")
    settings.DATA_ROOTS = [root]

    answer = api().post(URL, {"name": "sales", "data_dir": data_dir})

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "data_dir"
    assert not Dataset.objects.exists()


def test_links_inside_a_folder_are_not_followed(api: Api, settings: Any, tmp_path: Path) -> None:
    (tmp_path / "root" / "parts").mkdir(parents=True)
    (tmp_path / "outside.csv").write_text(long_csv(40))
    (tmp_path / "root" / "parts" / "link.csv").symlink_to(tmp_path / "outside.csv")
    settings.DATA_ROOTS = [tmp_path / "root"]

    answer = api().post(URL, {"name": "sales", "data_dir": "parts"})

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["message"] == "The folder holds no file."


def test_unreadable_data_dir_is_named_as_such(api: Api, settings: Any, tmp_path: Path) -> None:
    settings.DATA_ROOTS = [tmp_path]
    (tmp_path / "bad.csv").write_bytes(b"PK\x03\x04" + bytes(100))

    answer = api().post(URL, {"name": "sales", "data_dir": "bad.csv"})

    assert answer.json()["errors"][0]["field"] == "data_dir"


def test_file_and_data_dir_together_are_refused(api: Api) -> None:
    assert upload(api(), data_dir="sales.csv").status_code == 400
    assert api().post(URL, {"name": "sales"}).status_code == 400


def test_large_file_is_left_to_a_job(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.services.datasets.SMALL_FILE", 100)

    answer = upload(api())

    assert answer.status_code == 202
    assert (answer.json()["status"], answer.json()["rows"]) == ("received", None)
    assert Job.objects.get(pk=answer.json()["job_id"]).kind == "import_dataset"
    waiting = api().get(f"{URL}/sales/versions/1/preview")
    assert (waiting.status_code, waiting.json()["code"]) == (409, "dataset_not_ready")


def test_idempotency_key_performs_the_upload_once(api: Api, scope: Principal) -> None:
    client = api()
    first = client.post(URL, {"name": "sales", "file": csv_file()}, format="multipart", HTTP_IDEMPOTENCY_KEY="k1")

    second = client.post(URL, {"name": "sales", "file": csv_file()}, format="multipart", HTTP_IDEMPOTENCY_KEY="k1")

    assert (first.status_code, second.status_code) == (201, 201)
    assert second.json()["id"] == first.json()["id"]
    assert DatasetVersion.objects.count() == 1


def test_list_filters_searches_and_orders(api: Api) -> None:
    client = api()
    for name in ("alpha", "beta", "gamma"):
        upload(client, single_csv(30), name=name)

    def names(query: str) -> list[str]:
        return [row["name"] for row in client.get(f"{URL}?{query}").json()["results"]]

    assert names("") == ["alpha", "beta", "gamma"]
    assert names("ordering=-name&page_size=2") == ["gamma", "beta"]
    assert names("name=beta") == ["beta"]
    assert names("search=AM") == ["gamma"]
    assert client.get(f"{URL}?nam=beta").status_code == 400
    assert client.get(f"{URL}/beta/versions?status=failed").json()["count"] == 0


def test_queries_do_not_grow_with_rows(api: Api) -> None:
    client = api()
    upload(client, single_csv(30), name="first")
    client.get(URL)  # the key's last use is written once a minute
    pages = [URL, f"{URL}/first", f"{URL}/first/versions"]

    def queries() -> list[int]:
        counts = []
        for page in pages:
            with CaptureQueriesContext(connection) as captured:
                client.get(page)
            counts.append(len(captured))
        return counts

    before = queries()
    for number in range(3):
        upload(client, single_csv(30), name=f"more{number}")
        upload(client, single_csv(40 + number), url=f"{URL}/first/versions")

    assert queries() == before
