"""Fields of forms that take what the API takes."""

import json
from typing import Any

from django import forms

from mlops.api.json import JSONProblem, loads

LONGEST_JSON = 100_000


class ObjectField(forms.Field):
    """A JSON object as text, read as strictly as the API reads it; an empty text is an empty object."""

    widget = forms.Textarea

    def __init__(self, **kwargs: Any) -> None:
        area = forms.Textarea(attrs={"rows": 5, "spellcheck": "false", "class": "ty-code", "maxlength": LONGEST_JSON})
        given: dict[str, Any] = {"required": False, "widget": area}
        super().__init__(**given | kwargs)

    def prepare_value(self, value: Any) -> Any:
        """The object as text; what somebody typed stays as it was typed."""
        if isinstance(value, dict):
            return json.dumps(value, indent=2, ensure_ascii=False) if value else ""
        return value

    def to_python(self, value: Any) -> dict[str, Any]:
        """The object."""
        text = str(value or "")
        if not text.strip():
            return {}
        if len(text) > LONGEST_JSON:
            raise forms.ValidationError(f"At most {LONGEST_JSON:,} characters.")
        try:
            found = loads(text.encode("utf-8", "surrogatepass"))
        except JSONProblem as problem:
            raise forms.ValidationError(f"Not acceptable JSON: {problem.message}.") from None
        if not isinstance(found, dict):
            raise forms.ValidationError('Must be a JSON object: {"name": value}.')
        return found
