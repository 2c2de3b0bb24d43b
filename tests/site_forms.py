"""The forms of a page as a browser would find them, and how it would send them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart
from django.urls import resolve


@dataclass
class Control:
    """What one name of a form is asked by: `words`, `json`, `number`, `choice`, `hidden` or `file`, and what it holds already."""

    kind: str
    value: str | None = ""
    options: list[str] = field(default_factory=list)


@dataclass
class SiteForm:
    """A form, where it is sent, and its controls by name."""

    url: str
    method: str
    multipart: bool
    controls: dict[str, Control] = field(default_factory=dict)

    @property
    def goes_to(self) -> str:
        """The name of the page that takes it."""
        return resolve(self.url.partition("?")[0]).url_name or ""

    def filled(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What a browser would send after somebody wrote into empty controls what `given` says."""
        found: dict[str, Any] = {}
        for name, control in self.controls.items():
            value = control.value
            if control.kind == "choice" and not value:
                value = next((one for one in control.options if one), value)
            if name in given or value is not None:
                found[name] = given[name] if name in given and (not value or control.kind == "file") else value
        return found

    def send(self, client: Client, values: Mapping[str, Any]) -> Any:
        """Send it as it would be sent; bytes go as they are, so that they need not be text."""
        if self.method == "get":
            return client.get(f"{self.url.partition('?')[0]}?{urlencode(values)}")
        if self.multipart:
            files = {name: _file(value) if self.controls[name].kind == "file" else value for name, value in values.items()}
            return client.generic("POST", self.url, encode_multipart(BOUNDARY, files), content_type=MULTIPART_CONTENT)
        return client.post(self.url, urlencode(values), content_type="application/x-www-form-urlencoded")


class _Reader(HTMLParser):
    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.form: SiteForm | None = None
        self.forms: list[SiteForm] = []
        self.select: Control | None = None
        self.area: Control | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form" and given.get("method") in ("get", "post"):
            action = given.get("action", "").partition("#")[0]
            self.form = SiteForm(action or self.url, given["method"], given.get("enctype") == "multipart/form-data")
            self.forms.append(self.form)
        elif tag == "option" and self.select is not None:
            self.select.options.append(given.get("value", ""))
            if "selected" in given:
                self.select.value = given["value"]
        elif self.form is not None and given.get("name", "csrfmiddlewaretoken") != "csrfmiddlewaretoken" and "disabled" not in given:
            self._control(tag, given, self.form)

    def _control(self, tag: str, given: dict[str, str], form: SiteForm) -> None:
        name, kind = given["name"], given.get("type", "text")
        if tag == "select":
            self.select = form.controls[name] = Control("choice")
        elif tag == "textarea":
            self.area = form.controls[name] = Control("json" if "ty-code" in given.get("class", "") else "words")
        elif tag in ("input", "button"):
            if kind in ("checkbox", "radio", "submit") or tag == "button":
                control = form.controls.setdefault(name, Control("choice", None))
                control.options.append(given.get("value", "on"))
                if "checked" in given or tag == "button":
                    control.value = control.value or given.get("value", "on")
            else:
                form.controls[name] = Control(kind if kind in ("number", "hidden", "file") else "words", given.get("value", ""))

    def handle_data(self, data: str) -> None:
        if self.area is not None:
            self.area.value = (self.area.value or "") + data

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            self.area = None
        elif tag == "select":
            self.select = None
        elif tag == "form":
            self.form = None


def forms_of(client: Client, url: str) -> list[SiteForm]:
    """The forms of a page; none where it does not open for this person."""
    answer = client.get(url)
    if answer.status_code != 200 or not answer.headers["Content-Type"].startswith("text/html"):
        return []
    return forms_in(answer.text, url)


def forms_in(text: str, url: str) -> list[SiteForm]:
    """The forms of a page that was answered by this address."""
    reader = _Reader(url)
    reader.feed(text)
    return reader.forms


def _file(value: Any) -> SimpleUploadedFile:
    content = value if isinstance(value, bytes) else str(value).encode()
    return SimpleUploadedFile("sent.csv", content, content_type="text/csv")
