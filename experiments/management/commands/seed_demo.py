"""Fill the demo tenant: synthetic retail data, or your own file or folder with --data. Run again, it only prints the logins."""

import json
from datetime import date, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any, Self

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection
from django.utils import timezone
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from engine.frames.synthetic import retail_chain
from experiments.cli.output import as_json
from experiments.services import demo
from mlops.errors import DomainError
from mlops.jobs.models import Job, JobState
from mlops.telemetry.quiet import warnings_only
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import system
from mlops.tenancy.services import DEMO_CUSTOMER
from registry.services.dataset_files import own

ACCESS_FILE = "demo-access.json"


class _Bar:
    """A progress bar of the job that runs in this process, and a line for each step that ended."""

    def __init__(self, console: Console) -> None:
        columns = TextColumn("[bold]demo"), BarColumn(bar_width=30), TextColumn("{task.description}"), TimeElapsedColumn()
        self.progress = Progress(*columns, console=console, transient=True)
        self.task = self.progress.add_task("starting", total=1.0)
        self.done = Event()

    def __enter__(self) -> Self:
        self.progress.start()
        self.thread = Thread(target=self._follow, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()
        self.progress.stop()

    def report(self, text: str) -> None:
        """Print a finished step."""
        self.progress.console.print(f"  • {text}", highlight=False)

    def _follow(self) -> None:
        while not self.done.wait(0.5):
            row = Job.objects.filter(customer_id=DEMO_CUSTOMER, state=JobState.RUNNING).values_list("progress", "progress_text").first()
            fraction, text = row or (0.0, "")
            self.progress.update(self.task, completed=fraction, description=text)
        connection.close()


class Command(BaseCommand):
    """The demo."""

    help = __doc__
    stealth_options = ("as_json",)

    def add_arguments(self, parser: CommandParser) -> None:
        """`--data PATH`, `--sundays N`."""
        parser.add_argument("--data", type=Path, help="a CSV or Parquet file, or a folder of them")
        parser.add_argument("--sundays", type=int, help="weeks to live through before the last day (default: 2 synthetic, 0 with --data)")

    @warnings_only()
    def handle(self, *args: Any, **options: Any) -> None:
        """Seed if needed, then say how to get in. Raises CommandError when the data cannot be used, or an address is taken."""
        self.console = Console(stderr=True, quiet=bool(options.get("as_json")))
        customer = demo.demo_customer(at=timezone.now())
        if not demo.is_seeded():
            self._seed(options["data"], options["sundays"])
        elif options["data"] and options["data"].name != demo.seeded_from():
            self.console.print(
                f"[bold yellow]{settings.VAR_DIR} holds a demo on {demo.seeded_from()} already, so {options['data']} was not read.[/] "
                "Upload it under Data sets, or start with another VAR_DIR, or after `make clean`.",
                highlight=False,
            )
        elif options["sundays"] is not None:
            self.console.print(
                f"[bold yellow]{settings.VAR_DIR} holds a demo already, so no Sundays were lived through.[/] "
                "Start with another VAR_DIR, or after `make clean`.",
                highlight=False,
            )
        access_file = settings.VAR_DIR / ACCESS_FILE
        if access_file.exists():
            access = demo.Access(**json.loads(access_file.read_text()))
        else:
            try:
                access = demo.grant_access(customer, at=timezone.now())  # the seeding took minutes
            except DomainError as refusal:  # an address of the demo is somebody's account elsewhere
                raise CommandError(str(refusal)) from None
            access_file.touch(mode=0o600)
            access_file.write_text(json.dumps({"logins": access.logins, "api_key": access.api_key}))
        if options.get("as_json"):
            people = [{"email": email, "role": demo.PEOPLE[email], "password": password} for email, password in access.logins.items()]
            self.stdout.write(as_json({"url": settings.PUBLIC_URL, "api_key": access.api_key, "logins": people}))
        else:
            self._show(access)

    def _seed(self, path: Path | None, sundays: int | None) -> None:
        if path is not None and not path.exists():
            raise CommandError(f"{path} does not exist.")
        with _Bar(self.console) as bar:
            source = path or self._synthetic()
            weeks = sundays if sundays is not None else (0 if path else 2)
            try:
                demo.seed(path=source, synthetic=path is None, sundays=weeks, report=bar.report, at=timezone.now())
            except (DomainError, demo.DemoFailed) as failure:
                raise CommandError(str(failure)) from None

    def _synthetic(self) -> Path:
        """Below an allowed root, so that `data/seed` can be named where a folder is asked for."""
        self.console.print("  • no data named: making synthetic retail data, openly labelled so")
        with acting(system(DEMO_CUSTOMER)):
            path = Path(own(str(settings.DATA_ROOTS[0]))) / "seed" / "synthetic_retail_sales.parquet"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            retail_chain(last_day=date.today() - timedelta(days=1)).write_parquet(path)  # noqa: DTZ011 - a day, not a moment
        return path

    def _show(self, access: demo.Access) -> None:
        table = Table(title="Demo logins", title_justify="left")
        table.add_column("e-mail")
        table.add_column("role")
        table.add_column("password")
        for email, password in access.logins.items():
            table.add_row(email, demo.PEOPLE[email].label, password)
        console = Console(width=100)
        console.print(table)
        console.print(f"URL      {settings.PUBLIC_URL}", highlight=False)
        console.print(f"API key  {access.api_key}", highlight=False, soft_wrap=True)
