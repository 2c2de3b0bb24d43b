"""A checkout as a reader of the documentation has it, and the shell in which the examples are run."""

import re
import sys
from pathlib import Path

COMMANDS = """
set -e -o pipefail
curl() { command curl --silent --show-error --fail-with-body "$@"; }
"""
"""As the reader's shell, but that the first command that fails is the end."""
PRINTED = "TILTYARD=http://127.0.0.1:8000 KEY=ty_…"


def make_checkout(folder: Path, *, admin_key: str) -> Path:
    """An interpreter, and the command that makes keys."""
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name, line in (("python", f'exec "{sys.executable}" "$@"'), ("tiltyard", f'[ "$1" = create_api_key ] && echo {admin_key}')):
        (programs / name).write_text(f"#!/bin/sh\n{line}\n")
        (programs / name).chmod(0o700)
    return folder


def with_address(text: str, *, url: str, key: str) -> str:
    """A page's commands in their order, with the address and the key that a reader puts in."""
    lines = "".join(re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    assert lines.count(PRINTED) == 1
    return lines.replace(PRINTED, f"TILTYARD={url} KEY={key}")
