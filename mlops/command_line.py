"""The console script `tiltyard`: the same commands as `manage.py`, from any folder."""

import contextlib
import importlib
import os
import sys
from pathlib import Path

OVERVIEW = """usage: tiltyard COMMAND ACT …

  splits       create  read  list  update  delete
  experiments  create  read  list  run  update  cancel  register  delete
  models       list  read  promote  archive  delete
  db           init  migrate  upgrade  downgrade  reset
  maintenance  storage verify  seed demo-data  cleanup-artifacts  export-metrics

`tiltyard COMMAND --help` tells more; `tiltyard help` lists every other command."""

BROKEN_PIPE = 128 + 13
"""What a shell calls a program that SIGPIPE ended."""


def main() -> None:
    """Run one command; without one, say which there are."""
    if len(sys.argv) == 1 or sys.argv[1] in ("-h", "--help"):
        sys.stdout.write(f"{OVERVIEW}\n")
        return
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mlops.settings")
    sys.argv[0] = "tiltyard"  # however it was started
    from django.core.exceptions import ImproperlyConfigured

    try:
        # Celery puts the present folder before everything else to be found, and with it any file there that is named as a module is.
        with contextlib.chdir(Path(__file__).parent.parent):
            importlib.import_module("mlops.celery")
        from django.core.management import execute_from_command_line

        execute_from_command_line(sys.argv)
        sys.stdout.flush()
    except ImproperlyConfigured as missing:
        sys.exit(f"Error: {missing}")
    except BrokenPipeError:  # whoever read, `head` for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more when it ends
        sys.exit(BROKEN_PIPE)
