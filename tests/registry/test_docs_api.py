"""The examples of docs/api.md work as printed, in their order."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from mlops.tenancy.roles import Principal
from tests.engine.formats.samples import model_text

pytestmark = pytest.mark.django_db
PAGE = Path(__file__).parents[2] / "docs" / "api.md"


def examples() -> list[list[str]]:
    """The arguments of every curl call of the page."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line.replace("$TILTYARD", "").replace("$KEY", "key"))[1:] for line in lines if line.startswith("curl ")]


def send(client: APIClient, words: list[str]) -> Any:
    """What curl would send."""
    method, path, body, parts = "GET", "", None, {}
    pairs = iter(words)
    for word in pairs:
        if word == "-X":
            method = next(pairs)
        elif word == "-d":
            body = next(pairs)
        elif word == "-F":
            name, _, value = next(pairs).partition("=")
            parts[name] = SimpleUploadedFile(value[1:], model_text().encode()) if value.startswith("@") else value
        elif word == "-H":
            next(pairs)
        else:
            path = word
    if parts:
        return client.post(path, parts, format="multipart")
    return client.generic(method, path, (body or "").encode(), content_type="application/json")


def test_every_example_works_as_printed(api: Callable[..., APIClient], scope: Principal) -> None:
    client = api()

    answers = [(words, send(client, words)) for words in examples()]

    assert len(answers) >= 20
    assert [(words, answer.content) for words, answer in answers if answer.status_code >= 300] == []
