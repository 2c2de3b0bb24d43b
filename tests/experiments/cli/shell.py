"""Commands run as from a shell: what they print, and how they end."""

import io
import json
from dataclasses import dataclass
from typing import Any

from django.core.management import call_command, load_command_class


@dataclass(frozen=True)
class Ended:
    """One run of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed for programs."""
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        """The refusal it printed for programs."""
        return json.loads(self.err)["error"]


def shell(name: str, *arguments: object) -> Ended:
    """Run `manage.py NAME ARGUMENTS` in this process, with the exit code that a shell would see."""
    command = load_command_class("experiments", name)
    command._called_from_command_line = True
    out, err, code = io.StringIO(), io.StringIO(), 0
    try:
        call_command(command, *(str(one) for one in arguments), stdout=out, stderr=err)
    except SystemExit as end:
        code = int(end.code or 0)
    return Ended(code, out.getvalue(), err.getvalue())
