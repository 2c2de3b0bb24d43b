"""JSON bodies, strictly: a value is of the JSON type that its field names, or the field is refused.

REST framework's fields would make one of another: 5 a text, "no" a truth value, "5" a number. In a form everything is text, and is left to
them.
"""

from collections.abc import Iterator
from itertools import islice
from types import UnionType
from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.utils import html

from mlops.api import json
from mlops.api.json import JSONProblem
from mlops.api.problems import Problem

MOST_ERRORS = 20
Field = serializers.Field[Any, Any, Any, Any]

_TYPES: tuple[tuple[type | UnionType, type | UnionType, str], ...] = (
    (serializers.BooleanField, bool, "true or false"),
    (serializers.IntegerField, int, "a whole number"),
    (serializers.FloatField, int | float, "a number"),
    (serializers.CharField | serializers.ChoiceField | serializers.UUIDField | serializers.DateField, str, "a text"),
    (serializers.ListField | serializers.ListSerializer, list, "a list"),
    (serializers.DictField | serializers.Serializer, dict, "an object"),
)
"""Of these fields a JSON value must be of this type, which is called so. Others judge for themselves."""


class NoBody(serializers.Serializer[Any]):
    """Nothing."""


class _FormText(str):
    """What a form holds for a field, not JSON yet."""


class JSONTextField(serializers.Field[Any, Any, Any, Any]):
    """A value that a form sends as JSON text. In a JSON body it stands as it is, and a text is a text."""

    default_error_messages = {"not_json": "Not acceptable JSON: {problem}."}

    def get_value(self, dictionary: Any) -> Any:
        """The field's value, marked where it comes from a form."""
        value = super().get_value(dictionary)
        return _FormText(value) if isinstance(value, str) and html.is_html_input(dictionary) else value

    def parsed(self, data: Any) -> Any:
        """The JSON value."""
        if not isinstance(data, _FormText):
            return data
        try:
            return json.loads(data.encode("utf-8", "surrogatepass"))
        except JSONProblem as problem:
            self.fail("not_json", problem=problem)

    def to_representation(self, value: Any) -> Any:
        """As it is."""
        return value


def checked(
    serializer: type[serializers.Serializer[Any]], data: Any, *, within: str = "", request: Request | None = None
) -> dict[str, Any]:
    """The validated fields of a body, or of the object in its field `within`. Raises a 400 naming each field that is unknown, of a wrong
    type, or wrong."""
    if not hasattr(data, "keys"):
        raise Problem(400, "invalid", "The body must be a JSON object.")
    bound = serializer(data=data, context={"request": request})
    unknown = sorted(set(data.keys()) - set(bound.fields))
    if unknown:
        known = ", ".join(name for name, field in bound.fields.items() if not field.read_only) or "none"
        errors = [_error(_joined(within, name), f"Unknown field. Known here: {known}.", "unknown") for name in unknown[:MOST_ERRORS]]
        raise Problem(400, "invalid", "Some fields are not known.", errors=errors)
    wrong = [] if html.is_html_input(data) else list(islice(_of_wrong_types(bound, data, within), MOST_ERRORS))
    if wrong:
        raise Problem(400, "invalid", "Some fields are not valid.", errors=wrong)
    if not bound.is_valid():
        raise serializers.ValidationError({within: bound.errors} if within else bound.errors)
    return dict(bound.validated_data)


def _of_wrong_types(field: Field, value: Any, path: str) -> Iterator[dict[str, str]]:
    """An error for each value in it that is of another type than its field. Null is left to the field: some may be."""
    if value is None:
        return
    for fields, wanted, name in _TYPES:
        if isinstance(field, fields):
            if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
                yield _error(path, f"Must be {name}{_choices(field)}, not {_called(value)}.", "invalid")
                return
            break
    for child, item, place in _parts(field, value, path):
        yield from _of_wrong_types(child, item, place)


def _parts(field: Any, value: Any, path: str) -> Iterator[tuple[Field, Any, str]]:
    """What is inside of a value, with its field and its name."""
    if isinstance(field, serializers.Serializer):
        yield from ((child, value[name], _joined(path, name)) for name, child in field.fields.items() if name in value)
    elif isinstance(field, serializers.ListField | serializers.ListSerializer):
        yield from ((_child(field), item, f"{path}[{position}]") for position, item in enumerate(value))
    elif isinstance(field, serializers.DictField):
        yield from ((_child(field), item, _joined(path, name)) for name, item in value.items())


def _child(field: Any) -> Field:
    child: Field = field.child
    return child


def _choices(field: Field) -> str:
    return f" ({', '.join(map(str, field.choices))})" if isinstance(field, serializers.ChoiceField) else ""


def _called(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    names = {str: "a text", int: "a number", float: "a number with a fraction", list: "a list", dict: "an object"}
    return names[type(value)]


def _joined(path: str, name: str) -> str:
    return f"{path}.{name[:100]}" if path else name[:100]


def _error(field: str, message: str, code: str) -> dict[str, str]:
    return {"field": field, "message": message, "code": code}
