"""One row of a model's features as a form, filled in with what training saw most."""

from typing import Any

from django import forms

from mlops.form_fields import ObjectField
from registry.models import ModelVersion

MOST_FIELDS = 80
"""A model with more features takes its row as JSON."""
MOST_CHOICES = 200
LONGEST_ROW = 1_000_000
"""Characters of such a text: 2,000 features, as the longest names go."""


class RowForm(forms.Form):
    """Features by their place, since a column may have any name. An empty field is a missing value."""

    def __init__(self, *args: Any, version: ModelVersion, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.features: list[dict[str, Any]] = (version.signature or {}).get("features", [])
        reference = (version.reference_statistics or {}).get("features", {})
        typical = {feature["name"]: _typical(feature, reference.get(feature["name"])) for feature in self.features}
        self.as_json = len(self.features) > MOST_FIELDS
        if self.as_json:
            self.fields["row"] = ObjectField(
                empty_value={}, rows=12, longest=LONGEST_ROW, initial=typical, help_text="One object; null is a missing value."
            )
            return
        for place, feature in enumerate(self.features):
            self.fields[f"f{place}"] = _field(feature, typical[feature["name"]])

    def record(self) -> dict[str, Any]:
        """The row as the API would take it."""
        if self.as_json:
            row: dict[str, Any] = self.cleaned_data["row"]
            return row
        return {feature["name"]: _value(feature, self.cleaned_data[f"f{place}"]) for place, feature in enumerate(self.features)}

    def refuse(self, feature: str, message: str) -> None:
        """Say beside its field what is wrong with a feature."""
        names = [one["name"] for one in self.features]
        field = f"f{names.index(feature)}" if feature in names and not self.as_json else None
        self.add_error(field, message if field else f"{feature}: {message}")


def _field(feature: dict[str, Any], typical: Any) -> forms.Field:
    common: dict[str, Any] = {"label": feature["name"], "required": False, "initial": typical}
    match feature["dtype"]:
        case "number":
            return forms.FloatField(**common, help_text=_range(feature), widget=forms.NumberInput(attrs={"step": "any"}))
        case "integer":
            return forms.IntegerField(**common, help_text=_range(feature))
        case "boolean":
            return forms.ChoiceField(**common, choices=[("", "missing"), ("true", "true"), ("false", "false")])
        case "category" if feature.get("categories") and len(feature["categories"]) <= MOST_CHOICES:
            return forms.ChoiceField(**common, choices=[("", "missing"), *((one, one) for one in feature["categories"])])
    return forms.CharField(**common, max_length=1_000, strip=False)


def _value(feature: dict[str, Any], given: Any) -> Any:
    if given in ("", None):
        return None
    return given == "true" if feature["dtype"] == "boolean" else given


def _range(feature: dict[str, Any]) -> str:
    low, high = feature.get("low"), feature.get("high")
    return f"Training saw {_short(low)} to {_short(high)}." if low is not None and high is not None else ""


def _short(number: float) -> str:
    return f"{number:,.0f}" if 1_000 <= abs(number) < 1e12 else f"{number:.6g}"


def _typical(feature: dict[str, Any], reference: dict[str, Any] | None) -> Any:
    """The median of training, or its most frequent value; where that is unknown the middle of the range, or nothing."""
    whole = feature["dtype"] == "integer"
    if reference and reference.get("quantiles"):
        middle = reference["quantiles"][len(reference["quantiles"]) // 2]
        return round(middle) if whole else float(f"{middle:.6g}")
    if reference and reference.get("labels"):
        return reference["labels"][0]
    if feature.get("low") is not None and feature.get("high") is not None and feature["dtype"] in ("number", "integer"):
        middle = (feature["low"] + feature["high"]) / 2
        return round(middle) if whole else float(f"{middle:.6g}")
    return next(iter(feature.get("categories") or []), None)
