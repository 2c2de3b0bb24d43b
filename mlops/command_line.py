"""The console script `tiltyard`: the same commands as `manage.py`, from any folder."""

import contextlib
import importlib
import os
import sys
from pathlib import Path

OVERVIEW = """usage: tiltyard COMMAND ACT …

  splits       create  read  list  update  delete
  experiments  create  read  list  run  cancel  delete
  models       list  read  promote  archive  delete
  db           init  migrate  upgrade  downgrade  reset
  maintenance  storage verify  seed demo-data  cleanup-artifacts  export-metrics

`tiltyard COMMAND --help` tells more; `tiltyard help` lists every other command."""


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
    except ImproperlyConfigured as missing:
        sys.exit(f"Error: {missing}")
