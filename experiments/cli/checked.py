"""Arguments held to the shape that the API's bodies have, so that a command lets nothing in that a call would not."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from rest_framework import serializers

from experiments.cli.frame import USAGE, Refusal
from mlops.api import json
from mlops.api.json import JSONProblem


def checked(serializer: type[serializers.Serializer[Any]], values: Mapping[str, Any]) -> dict[str, Any]:
    """The validated values. Raises Refusal naming each argument that is wrong."""
    bound = serializer(data=dict(values))
    if bound.is_valid():
        return dict(bound.validated_data)
    errors = [{"field": f"--{name.replace('_', '-')}", "message": " ".join(_texts(said))} for name, said in bound.errors.items()]
    raise Refusal("An argument cannot be used.", code="invalid", returncode=USAGE, errors=errors)


def json_value(text: str, *, argument: str) -> Any:
    """JSON written out, or `@path` of a file that holds it. Raises Refusal."""
    content = read_bytes(Path(text[1:]), argument=argument) if text.startswith("@") else text.encode("utf-8", "surrogatepass")
    try:
        return json.loads(content)
    except JSONProblem as problem:
        raise wrong(argument, f"Not acceptable JSON: {problem.placed}.") from None


def read_bytes(path: Path, *, argument: str) -> bytes:
    """A small file's bytes. Raises Refusal where it is none, cannot be read, or is larger than a request's body may be."""
    try:
        with path.open("rb") as file:
            content = file.read(settings.MAX_BODY_BYTES + 1)
    except (OSError, ValueError) as error:
        raise wrong(argument, f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    if len(content) > settings.MAX_BODY_BYTES:
        raise wrong(argument, f"{path} is larger than {settings.MAX_BODY_BYTES:,} bytes.")
    return content


def readable(path: Path, *, argument: str) -> Path:
    """The path of a file that can be opened. Raises Refusal."""
    try:
        if not path.is_file():
            raise wrong(argument, f"{path} is no file.")
        path.open("rb").close()
    except (OSError, ValueError) as error:
        raise wrong(argument, f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    return path


def as_id(text: str) -> UUID:
    """An argument's type: the UUID in its usual form."""
    return UUID(text)


as_id.__name__ = "UUID"


def wrong(argument: str, message: str) -> Refusal:
    """An argument that cannot be used, and why."""
    return Refusal("An argument cannot be used.", code="invalid", returncode=USAGE, errors=[{"field": argument, "message": message}])


def _texts(said: Any) -> list[str]:
    if isinstance(said, Mapping):
        return [f"{name}: {' '.join(_texts(one))}" for name, one in said.items()]
    if isinstance(said, list):
        return [text for one in said for text in _texts(one)]
    return [str(said)]
