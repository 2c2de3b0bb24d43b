"""Fields of forms that take what the API takes."""

import json
from typing import Any

from django import forms

from mlops.api.json import JSONProblem, loads

LONGEST_JSON = 100_000


class ObjectField(forms.Field):
    """A JSON object as text, read as strictly as the API reads it; an empty text is `empty_value`."""

    widget = forms.Textarea

    def __init__(
        self, *, rows: int = 5, longest: int = LONGEST_JSON, required: bool = False, empty_value: dict[str, Any] | None, **kwargs: Any
    ) -> None:
        area = forms.Textarea(attrs={"rows": rows, "spellcheck": "false", "class": "ty-code", "maxlength": longest})
        super().__init__(required=required, widget=area, **kwargs)
        self.longest, self.empty_value = longest, empty_value

    def prepare_value(self, value: Any) -> Any:
        """The object as text; what somebody typed stays as it was typed."""
        if isinstance(value, dict):
            return json.dumps(value, indent=2, ensure_ascii=False) if value else ""
        return value

    def to_python(self, value: Any) -> dict[str, Any] | None:
        """The object."""
        text = str(value or "")
        if not text.strip():
            return self.empty_value
        if len(text) > self.longest:
            raise forms.ValidationError(f"At most {self.longest:,} characters.")
        try:
            found = loads(text.encode("utf-8", "surrogatepass"))
        except JSONProblem as problem:
            raise forms.ValidationError(f"Not acceptable JSON: {problem.placed}.") from None
        if not isinstance(found, dict):
            raise forms.ValidationError('Must be a JSON object: {"name": value}.')
        return found
