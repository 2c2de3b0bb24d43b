"""JSON on the command line, written out or in files: what is none is refused with the option's name, before anything is written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from experiments.models import Split, Study
from mlops.tenancy.roles import Principal
from tests.experiments.cli.shell import Ended, shell
from tests.experiments.training.studying import make_split

pytestmark = pytest.mark.django_db
KIM = ("--as", "kim@example.com")
BAD: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"{", "not valid JSON"),
    "nothing": (b"", "not valid JSON"),
    "NaN": (b'{"a": NaN}', "NaN is not a JSON number"),
    "infinity": (b'{"a": [1e999]}', "a[0]: NaN and infinity"),
    "a key twice": (b'{"a": 1, "a": 2}', "a: the key is given twice"),
    "a lone surrogate": (b'{"a": "\\ud800"}', "a: lone surrogates"),
    "NUL": (b'{"a": "\\u0000"}', "a: the NUL character"),
    "deep": (b"[" * 100_000, "nested deeper than 64 levels"),
    "huge": (b'{"a": 1' + b"0" * 400 + b"}", "integers must fit in 64 bits"),
}
WRITTEN = ("search_space", "preprocessing", "postprocessing")


@pytest.fixture(autouse=True)
def kim(scope: Principal, principal: Callable[..., Principal]) -> Principal:
    return principal("data_scientist", "kim@example.com")


def study(option: str, value: str, *more: str) -> Ended:
    return shell("experiments", "create", "--name", "x", "--split-id", make_split().pk, option, value, *more, *KIM)


def records(path: Path, *more: str) -> Ended:
    return shell("splits", "create", "--name", "x", "--target", "y", "--task", "regression", "--records", path, *more, *KIM)


def refused(ended: Ended, option: str, said: str) -> None:
    (error,) = ended.error["errors"]
    assert (ended.code, ended.out, ended.error["code"], error["field"]) == (2, "", "invalid", option)
    assert said in error["message"]
    assert not Study.objects.exists()
    assert Split.objects.filter(name="x").count() == 0


@pytest.mark.parametrize("bad", BAD)
def test_json_that_is_none_is_refused_by_option(bad: str, tmp_path: Path) -> None:
    content, said = BAD[bad]
    file = tmp_path / "bad.json"
    file.write_bytes(content)

    refused(study("--search-space", content.decode(), "--json"), "--search-space", said)
    refused(study("--search-space", f"@{file}", "--json"), "--search-space", said)
    refused(records(file, "--json"), "--records", said)


@pytest.mark.parametrize("name", WRITTEN)
def test_every_option_that_is_json_is_read_alike(name: str) -> None:
    option = f"--{name.replace('_', '-')}"

    refused(study(option, '{"a": NaN}', "--json"), option, "NaN")
    refused(study(option, "[1]", "--json"), option, "dictionary")
    told = study(option, "{")

    assert (told.code, f"  {option}: Not acceptable JSON: not valid JSON" in told.err) == (2, True)


def test_files_that_hold_no_text_of_a_fair_size_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "MAX_BODY_BYTES", 1000)
    latin, large = tmp_path / "latin.json", tmp_path / "large.json"
    latin.write_bytes('{"a": "é"}'.encode("latin-1"))
    large.write_text('{"a": "%s"}' % ("x" * 1000))
    wanted: list[tuple[Any, str]] = [
        (latin, "not UTF-8"),
        (large, "is larger than 1,000 bytes"),
        (tmp_path, "cannot be read: Is a directory"),
        (tmp_path / "missing.json", "cannot be read: No such file"),
        ("a\0b", "cannot be read"),
    ]

    for path, said in wanted:
        refused(study("--search-space", f"@{path}", "--json"), "--search-space", said)
        refused(records(path, "--json"), "--records", said)


def test_what_a_service_refuses_is_named_by_option_too(tmp_path: Path) -> None:
    rows = tmp_path / "rows.json"
    rows.write_text('[{"x": 1, "y": 2}, 7]')

    refused(study("--metric", "beauty", "--json"), "--metric", "rmse")
    refused(
        study("--search-space", '{"learning_rate": {"type": "float", "low": 3, "high": 1}}', "--algorithm", "lightgbm", "--json"),
        "--search-space.learning_rate.low",
        "number from 0.0001 to 1",
    )
    refused(records(rows, "--json"), "--records", "object")


def test_what_is_no_list_of_objects_is_no_table(tmp_path: Path) -> None:
    for content in ("{}", "[]", "3", "null"):
        (tmp_path / "rows.json").write_text(content)

        ended = records(tmp_path / "rows.json", "--json")

        assert (ended.code, ended.error["errors"][0]["field"]) == (2, "--records")
