"""Promises 4, 5 and 6: jobs under kill -9 of their workers, with the leases of production; and three beats."""

import contextlib
import json
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from threading import Event
from typing import Any

import pytest

from tests.servers import NoServer, wait_until
from tests.torture.installation import Installation
from tests.torture.storms import Storm, percentile, times, together

pytestmark = pytest.mark.torture
NewStorm = Callable[..., Storm]
WORKER = (sys.executable, "-m", "celery", "-A", "tests.torture.worker_app", "worker", "-Q", "jobs", "-c", "4")
QUIET = ("--without-mingle", "--without-gossip", "--without-heartbeat")
NOTICED_S, TAKEN_S = 60.0, 120.0
KILLS = 200
CALM_S = 900.0
"""How long after the last kill everything may take to end: a poison job alone loses three attempts, each noticed by its lease."""

REQUESTS = """
from mlops.jobs import services
said = []
with acting(system(given["shop"])), transaction.atomic():
    for kind, number in given["kinds"].items():
        for one in range(number):
            payload = {"longest": given["longest"]}
            job = services.request(kind=kind, payload=payload, label=f"{kind} {one}", by=system(given["shop"]), at=now)
            said.append(str(job.pk))
"""
WATCH = """
import os
from mlops.jobs.models import Job
print("READY", flush=True)
for line in sys.stdin:
    rows = Job.objects.filter(customer_id=given["shop"]).values_list("pk", "kind", "state", "attempt", "last_error")
    with open(given["file"] + ".new", "w") as file:
        json.dump([list(map(str, row)) for row in rows], file)
    os.replace(given["file"] + ".new", given["file"])
    print("DONE", flush=True)
"""
JUDGE = """
from mlops.audit.models import AuditEvent
from mlops.audit.services import verify
from mlops.database.reading import reading
from mlops.jobs.models import Job
with acting(system(given["shop"])):
    with reading():
        outputs = list(AuditEvent.objects.filter(action="storm.output").values_list("object_label", flat=True))
        from alerts.models import MLAlert
        alerts = [str(one) for one in MLAlert.objects.values_list("details", flat=True)]
    intact = verify().intact
fields = ("pk", "kind", "state", "attempt", "last_error", "lease_expires_at")
said = {"jobs": list(Job.objects.filter(customer_id=given["shop"]).values(*fields)), "outputs": outputs, "alerts": alerts, "intact": intact}
"""


class Watch:
    """How the jobs stand, asked again and again; and when each attempt was seen to begin and to be given up."""

    def __init__(self, ask: Callable[[], list[list[str]]]) -> None:
        self.ask = ask
        self.running: dict[tuple[str, int], float] = {}
        self.ended: dict[tuple[str, int], float] = {}
        self.rows: list[list[str]] = []

    def look(self) -> None:
        self.rows, now = self.ask(), time.monotonic()
        for pk, _, state, attempt, _ in self.rows:
            this = (pk, int(attempt))
            if state == "running":
                self.running.setdefault(this, now)
            for other in [one for one in self.running if one[0] == pk and one not in self.ended]:
                if state != "running" or other != this:
                    self.ended[other] = now

    @property
    def open(self) -> int:
        return sum(state in ("queued", "running") for _, _, state, _, _ in self.rows)


def test_jobs_end_once_although_their_workers_are_killed(installation: Installation, storm: NewStorm) -> None:
    raging = storm("4, 5 · kill -9 of workers")
    shop = installation.shop("Killed workers")
    kills = times(KILLS, least=6)
    installation.up("relay", "events")
    installation.up("jobs", command=(*WORKER, *QUIET))
    kinds = {"storm.output": kills, "storm.poison": times(20, least=1)}
    installation.ask(REQUESTS, shop=shop.id, kinds=kinds, longest=8.0)
    victims: dict[tuple[str, int], float] = {}
    over = Event()
    file = installation.folder / "standing.json"
    with installation.talking(WATCH, shop=shop.id, file=str(file)) as tell:

        def ask() -> list[list[str]]:
            tell(None)
            return list(json.loads(file.read_text()))

        watch = Watch(ask)

        def keep_watch() -> None:
            deadline = float("inf")
            while time.monotonic() < deadline:
                watch.look()
                if over.is_set():
                    deadline = min(deadline, time.monotonic() + CALM_S)
                    if not watch.open:
                        return
                time.sleep(0.25)

        def kill() -> None:
            chance = random.Random(5)
            try:
                for _ in range(kills):
                    time.sleep(0.4 + chance.random() * 1.6)
                    alive = {one for one, began in watch.running.items() if one not in watch.ended}
                    _kill_some(installation, chance, raging)
                    raging.count("kills")
                    for one in alive:
                        victims.setdefault(one, time.monotonic())
                    if not watch.open:
                        installation.ask(REQUESTS, shop=shop.id, kinds={"storm.output": 10}, longest=8.0)
            finally:
                over.set()

        together([keep_watch, kill])
    time.sleep(3)
    _judge(installation.ask(JUDGE, shop=shop.id), raging)
    noticed = [watch.ended[one] - when for one, when in victims.items() if one in watch.ended and watch.ended[one] > when]
    slow = [one for one in noticed if one > NOTICED_S]
    raging.expect(not slow, f"noticed late: after {max(noticed, default=0):.0f} s")
    raging.note(f"a dead attempt was noticed after {percentile(noticed, 0.5):.0f} s in the middle, {max(noticed, default=0):.0f} s at most")
    raging.assert_kept(kills=kills)


def _kill_some(installation: Installation, chance: random.Random, raging: Storm) -> None:
    """One of the worker's processes, or the whole worker, which the supervisor starts anew."""
    with contextlib.suppress(NoServer):
        wait_until(lambda: len(installation.processes("jobs")) > 1, seconds=20, what="the worker's processes")
    found = installation.processes("jobs")
    if len(found) > 1 and chance.random() < 0.85:
        chance.choice(found[1:]).send_signal(signal.SIGKILL)
        raging.count("processes")
        return
    installation.kill("jobs")
    installation.up("jobs", command=(*WORKER, *QUIET))
    raging.count("whole workers")


def _judge(found: dict[str, Any], raging: Storm) -> None:
    outputs = Counter(found["outputs"])
    ends = Counter(f"{one['kind'].removeprefix('storm.')} {one['state']}" for one in found["jobs"])
    raging.note(f"jobs: {dict(ends)}; most attempts: {max(one['attempt'] for one in found['jobs'])}")
    for one in found["jobs"]:
        pk, state = str(one["pk"]), one["state"]
        raging.expect(state in ("succeeded", "failed"), f"stuck: {state} {one}")
        raging.expect(outputs[pk] == (state == "succeeded"), f"{outputs[pk]} outputs: of a job that {state}")
        raging.expect(one["attempt"] <= 3 and one["lease_expires_at"] is None, f"too many attempts, or a lease left: {one}")
        if state == "failed":
            raging.expect(one["attempt"] == 3 and "stopped answering" in one["last_error"], f"failed without a reason: {one}")
            raging.expect(any(pk in alert for alert in found["alerts"]), f"failed without an alert: {one}")
        raging.expect(one["kind"] != "storm.poison" or state == "failed", f"a poison job did not fail: {one}")
    raging.expect(found["intact"], "the audit chain is broken: ")


EVERY_MINUTE = """
from django_celery_beat.models import CrontabSchedule, PeriodicTask, PeriodicTasks
from mlops.jobs.models import Schedule
fields = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
crontab, _ = CrontabSchedule.objects.get_or_create(**dict.fromkeys(fields, "*"), timezone="UTC")
for number in range(given["shops"]):
    tenancy.create_customer(name=f"Beaten {given['mark']} {number}", at=now)
beaten = Schedule.objects.filter(customer__name__startswith=f"Beaten {given['mark']}")
ours = PeriodicTask.objects.filter(pk__in=beaten.values("periodic_task_id"))
for task in ours:
    task.crontab = crontab
    task.save()
said = ours.count()
"""
SLOTS = """
from mlops.jobs.models import Job
rows = Job.objects.filter(customer__name__startswith=f"Beaten {given['mark']}").exclude(slot=None).values_list("schedule", "slot")
said = [[name, slot.isoformat()] for name, slot in rows]
"""
DONE = """
from mlops.jobs.models import Job
said = Job.objects.filter(customer__name__startswith=f"Beaten {given['mark']}", state="queued").update(state="succeeded", finished_at=now)
"""
BEATS = ("beat", "beat2", "beat3")


def test_three_beats_fire_each_slot_once(installation: Installation, storm: NewStorm) -> None:
    raging = storm("6 · three beats")
    mark = time.monotonic_ns()
    slots = times(200, least=16)
    schedules = installation.ask(EVERY_MINUTE, shops=max(1, slots // 8 // 2), mark=mark)
    installation.up(*BEATS)
    deadline = time.monotonic() + 480
    found: list[list[str]] = []
    minutes = 0
    while time.monotonic() < deadline and len({slot for _, slot in found}) < 3:
        time.sleep(max(61 - time.time() % 60, 5))
        minutes += 1
        found = installation.ask(SLOTS, mark=mark)
        installation.ask(DONE, mark=mark)
        if minutes == 1:
            installation.kill("beat2")
        if minutes == 2:
            installation.up("beat2")
            installation.kill("beat")
            installation.up("beat")
    fired = Counter(tuple(one) for one in found)
    per_slot = Counter(slot for _, slot in found)
    raging.count("slots", len(fired))
    raging.note(f"{schedules} schedules over {len(per_slot)} minutes: {dict(sorted(per_slot.items()))}")
    for one, number in fired.items():
        raging.expect(number == 1, f"fired {number} times: {one}")
    whole = sorted(per_slot)[1:]
    raging.expect(bool(whole), "nothing fired: ")
    for slot in whole:
        raging.expect(per_slot[slot] == schedules, f"a slot was missed: {slot} {per_slot[slot]} of {schedules}")
    for name in BEATS:
        raging.expect(not installation.tracebacks(name), f"a traceback: {installation.tracebacks(name)[:1]}")
    raging.assert_kept(slots=slots)
