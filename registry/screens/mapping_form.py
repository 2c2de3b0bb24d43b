"""The mapping of a file as a form: one select per column, and the few choices that are about the whole file."""

from typing import Any

from django import forms
from django.core import signing

from engine.frames.mapping import CHOICES

ROLES = (
    ("", "not used"),
    ("date", "date"),
    ("target", "demand (what is forecast)"),
    ("key", "names the series"),
    ("key_segment", "names the series, and is a segment"),
    ("attribute", "describes the series"),
    ("attribute_segment", "describes the series, and is a segment"),
    ("price", "price"),
    ("promotion", "promotion"),
    ("stock", "stock on hand"),
    ("known", "known in advance (calendar, weather plan)"),
    ("order", "order number"),
    ("item", "an item of its own (wide file)"),
)
SINGLE = ("date", "target", "price", "promotion", "stock", "order")
MAX_COLUMNS = 80
"""A file with more columns (a wide one) is mapped by the API."""
SALT = "registry.proposed-mapping"
OPTION_TEXTS = {
    "shape": "How the file is laid out",
    "missing_days": "A day without a row means demand was",
    "unpriced": "Rows with neither sales nor a price",
    "negatives": "Negative demand",
    "duplicates": "Two rows for one series and day",
    "closed_days": "Days on which a whole place sold nothing",
    "decimal": "Decimal sign",
}


class MappingForm(forms.Form):
    """The columns of a file, their proposed or given roles. What contradicts itself is the service's to say."""

    def __init__(self, *args: Any, mapping: dict[str, Any], columns: list[dict[str, Any]], editable: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.before = dict(mapping)
        self.columns = columns[:MAX_COLUMNS]
        self.whole = len(columns) <= MAX_COLUMNS
        roles = _roles_of(self.before)
        for position, column in enumerate(self.columns):
            label = f"Role of {column['name']}"
            field = forms.ChoiceField(choices=ROLES, required=False, label=label, initial=roles.get(column["name"], ""))
            self.fields[f"role_{position}"] = field
        for name, label in OPTION_TEXTS.items():
            choices = [(one, one.replace("_", " ")) for one in CHOICES[name]]
            self.fields[name] = forms.ChoiceField(choices=choices, label=label, initial=self.before.get(name, choices[0][0]))
        pattern = forms.CharField(required=False, max_length=40, label="Date pattern", initial=self.before.get("date_format") or "")
        pattern.help_text = "Like %d/%m/%Y; empty lets the reader find it."
        self.fields["date_format"] = pattern
        for one in self.fields.values():
            one.disabled = not editable

    def column_rows(self) -> list[tuple[dict[str, Any], forms.BoundField]]:
        """Each column's profile with its select."""
        return [(column, self[f"role_{position}"]) for position, column in enumerate(self.columns)]

    def option_fields(self) -> list[forms.BoundField]:
        """The choices about the whole file."""
        return [self[name] for name in (*OPTION_TEXTS, "date_format")]

    def clean(self) -> dict[str, Any]:
        """A role that only one column can have is given once."""
        given: dict[str, Any] = super().clean() or {}
        chosen = [given.get(f"role_{position}", "") for position in range(len(self.columns))]
        for role in SINGLE:
            if chosen.count(role) > 1:
                second = [position for position, one in enumerate(chosen) if one == role][1]
                self.add_error(f"role_{second}", f"Another column is the {role} already.")
        if "date" not in chosen:
            self.add_error(None, "Say which column is the date.")
        return given

    def mapping(self) -> dict[str, Any]:
        """The mapping as the service takes it; what the form does not show stays as it was."""
        given = self.cleaned_data
        columns = [(column["name"], given[f"role_{position}"]) for position, column in enumerate(self.columns)]
        by_role: dict[str, list[str]] = {}
        for name, role in columns:
            by_role.setdefault(role, []).append(name)
        keys = [name for name, role in columns if role in ("key", "key_segment")]
        attributes = [name for name, role in columns if role in ("attribute", "attribute_segment")]
        wide = given["shape"] == "wide"
        item_key = [self.before.get("item_key", "item")] if wide and self.before.get("item_key") in self.before.get("segments", []) else []
        mapping = {name: given[name] for name in OPTION_TEXTS}
        mapping |= {role: next(iter(by_role.get(role, [])), None) for role in SINGLE}
        mapping |= {"keys": keys, "attributes": attributes, "known": by_role.get("known", []), "items": by_role.get("item", [])}
        mapping |= {"segments": [*by_role.get("key_segment", []), *by_role.get("attribute_segment", []), *item_key]}
        mapping["date_format"] = given["date_format"] or None
        return {**self.before, **mapping}


class ProposedMapping(MappingForm):
    """The mapping of a file that was refused and is sent once more. Nothing of it was kept, so what is known of its columns goes to the
    browser and comes back, signed."""

    @property
    def proposed(self) -> str:
        """For the page to send along."""
        return signing.dumps({"mapping": self.before, "columns": self.columns}, salt=SALT, compress=True)

    @classmethod
    def sent(cls, data: Any) -> "ProposedMapping | None":
        """The form that a page was sent with; None on the first try, and where the proposal is none of ours."""
        try:
            known = signing.loads(data.get("proposed", ""), salt=SALT)
        except signing.BadSignature:
            return None
        return cls(data, mapping=known["mapping"], columns=known["columns"])

    def is_for(self, columns: list[dict[str, Any]]) -> bool:
        """Whether these are its columns, so that what was chosen for them holds."""
        return [column["name"] for column in columns] == [column["name"] for column in self.columns]


def _roles_of(mapping: dict[str, Any]) -> dict[str, str]:
    segments = set(mapping.get("segments", []))
    roles = {mapping[role]: role for role in SINGLE if mapping.get(role)}
    for group, role in (("keys", "key"), ("attributes", "attribute")):
        roles |= {name: f"{role}_segment" if name in segments else role for name in mapping.get(group, [])}
    roles |= dict.fromkeys(mapping.get("known", []), "known")
    return roles | dict.fromkeys(mapping.get("items", []), "item")
