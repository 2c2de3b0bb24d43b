"""Promise 4: what was acknowledged is there, once and whole, although the web process is killed by SIGKILL again and again.

Each client writes one act after the other, under an `Idempotency-Key`, and repeats it until it is acknowledged. In the end the database has
to hold exactly what was acknowledged: nothing lost, nothing twice, no version without its audit event or its file.
"""

import hashlib
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from threading import Event
from typing import Any
from uuid import uuid4

import pytest

from engine.tabular.artifact import dump
from tests.engine.tabular.tables import trained
from tests.torture.calling import GONE, Answer, Caller
from tests.torture.installation import Installation, Shop
from tests.torture.storms import Storm, percentile, times, together

pytestmark = pytest.mark.torture
NewStorm = Callable[..., Storm]
WRITERS = 6
KILLS = 500
IN_PROGRESS = "idempotency_in_progress"
"""A killed request holds its key for five minutes: its client then goes on to the next act and repeats this one at the end."""
ANSWER_LOST = "idempotency_answer_lost"
"""Killed between the act and keeping its answer: the client is told that the act was performed, and has to look at what it made."""
CROWDED = "too_many_uploads"
"""The writers share one key, which may have so many files under way at once: one of them comes again a moment later."""

LATER = """
from mlops.api.models import IdempotencyRecord
with acting(system(given["shop"])):
    with transaction.atomic():
        said = IdempotencyRecord.objects.filter(status=0).update(expires_at=now)
"""
"""Five minutes later, for the keys of requests that were killed: nobody works on them any more."""

COUNT = """
from collections import Counter
from mlops.artifacts.storage import storage
from mlops.audit.models import AuditEvent
from mlops.audit.services import verify
from mlops.database.reading import reading
from mlops.lifecycle.models import Move
from registry.models import DecisionRecord, ModelVersion, RegisteredModel
import hashlib
with acting(system(given["shop"])):
    with reading():
        fields = ("pk", "notes", "version", "number", "status", "artifact_path", "artifact_sha256", "model_name")
        versions = list(ModelVersion.objects.values(*fields))
        events = list(AuditEvent.objects.values_list("action", "object_id", "object_label"))
        moves = list(Move.objects.order_by("stream_id", "sequence").values_list("stream_id", "sequence", "object_id", "source", "target"))
        counts = {one.name: [one.last_version_number, one.status_counts] for one in RegisteredModel.objects.all()}
        decisions = list(DecisionRecord.objects.values_list("version_id", flat=True))
    found = verify()
bad = []
for one in versions:
    if one["artifact_path"]:
        try:
            storage().read(one["artifact_path"], sha256=one["artifact_sha256"])
        except Exception as failure:
            bad.append(repr(failure))
said = {"versions": versions, "events": events, "moves": moves, "counts": counts, "intact": found.intact,
        "problem": found.problem, "bad": bad,
        "decisions": decisions, "objects": storage().list(f"models/{given['shop']}")}
"""


class Writer:
    """One client: registers versions, with and without a file, and promotes some of them. `acknowledged` maps a mark to the answer."""

    def __init__(self, caller: Caller, model: str, seed: int, artifact: bytes) -> None:
        self.caller, self.model, self.artifact = caller, model, artifact
        self.chance = random.Random(seed)
        self.acknowledged: dict[str, Any] = {}
        self.promoted: dict[str, str] = {}
        self.open: dict[str, tuple[str, Any, dict[str, str]]] = {}
        self.lost: set[str] = set()
        self.odd: list[str] = []
        self.waits: list[float] = []

    def write(self) -> None:
        """One act, repeated until it is answered."""
        mark = uuid4().hex
        path, headers = f"/api/v1/models/{self.model}/versions", {"Idempotency-Key": mark}
        body: Any = {"notes": mark}
        if self.chance.random() < 0.15:
            body, headers["Content-Type"] = self._form(mark), "multipart/form-data; boundary=storm"
        answer = self._send(path, body, headers)
        if answer is None:
            self.open[mark] = (path, body, headers)
            return
        if not self._note(mark, answer):
            return
        if self.chance.random() < 0.3:
            label = answer.json()["version"]
            key = {"Idempotency-Key": f"promote-{mark}"}
            crowned = self._send(f"/api/v1/models/{self.model}/promote/{label}", {"reason": mark}, key)
            if crowned is not None and crowned.status == 200:
                self.promoted[mark] = label
            elif crowned is not None:
                self.odd.append(f"an odd answer: promote {crowned}")

    def finish(self, *, within: float) -> None:
        """Repeat what a killed request held. Its claim ends after five minutes; what is left then stays unacknowledged."""
        deadline = time.monotonic() + within
        while self.open and time.monotonic() < deadline:
            for mark, (path, body, headers) in list(self.open.items()):
                answer = self._send(path, body, headers)
                if answer is not None:
                    del self.open[mark]
                    self._note(mark, answer)
            time.sleep(0.5)

    def _note(self, mark: str, answer: Answer) -> bool:
        if answer.status == 201:
            self.acknowledged[mark] = answer.json()
            return True
        if answer.status == 409 and answer.code == ANSWER_LOST:
            self.lost.add(mark)
            return False
        self.odd.append(f"an odd answer: {answer}")
        return False

    def _send(self, path: str, body: Any, headers: dict[str, str]) -> Answer | None:
        """The answer; None while an earlier sending of it holds the key."""
        began = time.monotonic()
        while time.monotonic() - began < 120:
            answer = self.caller.try_once("POST", path, body=body, headers=headers)
            crowded = answer.status == 429 and answer.code == CROWDED
            if (crowded or answer.status == 503) and "retry-after" not in answer.headers:
                self.odd.append(f"{answer.status} without Retry-After: {answer}")
            if answer.status == 409 and answer.code == IN_PROGRESS:
                return None
            if answer.status not in (GONE, 503) and not crowded:
                self.waits.append(time.monotonic() - began)
                return answer
            time.sleep(0.05)
        self.odd.append(f"no answer: for two minutes, {path}")
        return None

    def _form(self, mark: str) -> bytes:
        head = '--storm\r\nContent-Disposition: form-data; name="{}"{}\r\n\r\n'
        fields = head.format("metadata", "").encode() + b'{"notes": "' + mark.encode() + b'"}\r\n'
        return fields + head.format("file", '; filename="model.json"').encode() + self.artifact + b"\r\n--storm--\r\n"


def kill_one(installation: Installation, chance: random.Random) -> str:
    """SIGKILL to the worker of the server, which starts it anew, or to the whole program; or SIGTERM to it, as at an upgrade."""
    server = installation.processes("web")[:1]
    workers = [one for one in server[0].children() if "granian" in one.cmdline()] if server else []
    way = chance.random()
    if workers and way < 0.6:
        workers[0].send_signal(signal.SIGKILL)
        return "workers killed"
    if way < 0.75:
        installation.stop("web")
    else:
        installation.kill("web")
    installation.up("web", wait=False)
    return "servers stopped in order" if way < 0.75 else "servers killed"


def judge(writers: list[Writer], found: dict[str, Any], raging: Storm) -> None:
    """Compare what was acknowledged with what is there."""
    marks = Counter(one["notes"] for one in found["versions"])
    acknowledged = {mark: answer for writer in writers for mark, answer in writer.acknowledged.items()}
    unsure = {mark for writer in writers for mark in writer.open}
    by_mark = {one["notes"]: one for one in found["versions"]}
    raging.count("acknowledged versions", len(acknowledged))
    raging.note(
        f"{len(unsure)} acts still held by the key of a killed request at the end; {sum(marks[one] for one in unsure)} of them are there"
    )
    for mark, answer in acknowledged.items():
        raging.expect(marks[mark] == 1, f"{marks[mark]} times there although acknowledged once: {mark}")
        row = by_mark.get(mark)
        raging.expect(row is not None and row["version"] == answer["version"], f"there under another label: {mark}")
    lost = {mark for writer in writers for mark in writer.lost}
    raging.note(f"{len(lost)} acts were performed although their answer was lost, as their clients were told")
    for mark in lost:
        raging.expect(marks[mark] == 1, f"{marks[mark]} times there although said to be performed: {mark}")
    for mark, number in marks.items():
        raging.expect(number == 1, f"doubled: {mark}")
        raging.expect(mark in acknowledged or mark in unsure or mark in lost, f"there, but nobody was told: {mark}")
    registered = Counter(object_id for action, object_id, _ in found["events"] if action == "version.registered")
    raging.expect(registered == Counter(str(one["pk"]) for one in found["versions"]), "versions and audit events differ: half-written")
    for name, (last, counts) in found["counts"].items():
        numbers = sorted(one["number"] for one in found["versions"] if one["model_name"] == name)
        raging.expect(numbers == list(range(1, last + 1)), f"a gap in the labels: {name} {last}")
        stand = dict(Counter(one["status"] for one in found["versions"] if one["model_name"] == name))
        raging.expect(stand == {status: number for status, number in counts.items() if number}, f"the counts differ: {stand} {counts}")
    _judge_promotions(writers, found, raging)
    raging.expect(not found["bad"], f"an artifact cannot be read: {found['bad'][:2]}")
    paths = {one["artifact_path"] for one in found["versions"]} - {""}
    raging.expect(paths <= set(found["objects"]), "a version's file is missing: in the storage")
    raging.note(
        f"{len(paths)} versions with files; {len(set(found['objects']) - paths)} files of killed requests left, which belong to nobody"
    )
    raging.expect(found["intact"], f"the audit chain: {found['problem']}")


def _judge_promotions(writers: list[Writer], found: dict[str, Any], raging: Storm) -> None:
    crowned = Counter(one[2] for one in found["moves"] if one[4] == "champion")
    ids = {one["notes"]: str(one["pk"]) for one in found["versions"]}
    for mark in (mark for writer in writers for mark in writer.promoted):
        raging.count("acknowledged promotions")
        raging.expect(crowned[ids.get(mark, "")] == 1, f"promoted {crowned[ids.get(mark, '')]} times: acknowledged once, {mark}")
    raging.expect(crowned == Counter(map(str, found["decisions"])), "promotions and decisions differ: half-written")
    streams: dict[str, list[int]] = {}
    for stream, sequence, *_ in found["moves"]:
        streams.setdefault(stream, []).append(sequence)
    raging.expect(all(one == list(range(1, len(one) + 1)) for one in streams.values()), "a gap: in `sequence`")


def _wait_as_the_supervisor(installation: Installation, caller: Caller) -> None:
    """Until the server answers. One whose worker dies within six seconds of its start ends itself, and the supervisor starts it anew."""
    deadline = time.monotonic() + 180
    while caller.try_once("GET", "/api/v1/me").status == GONE:
        assert time.monotonic() < deadline, installation.log("web")[-2000:]
        installation.up("web", wait=False)
        time.sleep(0.1)


def begin(installation: Installation, shop: Shop) -> list[Writer]:
    """A client and a model each."""
    artifact = dump(trained("regression", "lightgbm").model)
    writers = []
    for seed in range(WRITERS):
        caller = installation.caller(shop.keys["ml_manager"], seconds=60)
        model = f"killed_{seed % 3}"
        assert caller.surely("POST", "/api/v1/models", body={"name": model}).status in (201, 409)
        writers.append(Writer(caller, model, seed, artifact))
    return writers


def test_what_was_acknowledged_outlives_a_killed_web_server(installation: Installation, storm: NewStorm) -> None:
    raging = storm("4 · kill -9 of web")
    shop = installation.shop("Killed web")
    installation.up("web")
    writers = begin(installation, shop)
    over = Event()

    def write(writer: Writer) -> None:
        while not over.is_set():
            writer.write()

    def kill() -> None:
        chance, caller = random.Random(4), installation.caller(seconds=5)
        try:
            for _ in range(times(KILLS, least=5)):
                _wait_as_the_supervisor(installation, caller)
                time.sleep(0.05 + chance.random() * 1.2)
                raging.count(kill_one(installation, chance))
                raging.count("kills")
        finally:
            over.set()

    together([kill, *(lambda one=one: write(one) for one in writers)])
    installation.up("web")
    raging.note(f"{installation.ask(LATER, shop=shop.id)} keys were held by killed requests; they were repeated after their claims ended")
    together([lambda one=one: one.finish(within=60) for one in writers])

    judge(writers, installation.ask(COUNT, shop=shop.id), raging)
    raging.faults.extend(odd for writer in writers for odd in writer.odd)
    waits = [one for writer in writers for one in writer.waits]
    raging.note(f"an act took {percentile(waits, 0.5):.2f} s in the middle, {max(waits):.1f} s at most, its repetitions included")
    raging.note(f"{len(list((installation.folder / 'tmp').iterdir()))} temporary files of killed requests, which upkeep removes")
    raging.expect(not installation.tracebacks("web"), f"a traceback: {installation.tracebacks('web')[:1]}")
    raging.assert_kept(**{"kills": times(KILLS, least=5), "acknowledged versions": WRITERS})


def test_an_artifact_is_what_was_sent(installation: Installation, storm: NewStorm) -> None:
    """The storm's own aim: its writers do send a file that is taken."""
    raging = storm("4 · the writers' file")
    shop = installation.shop("Whole")
    installation.up("web")
    writer = begin(installation, shop)[0]
    answer = writer._send(
        f"/api/v1/models/{writer.model}/versions",
        writer._form("mark"),
        {"Content-Type": "multipart/form-data; boundary=storm"},
    )
    assert answer is not None
    raging.count("files")
    raging.expect(answer.status == 201, f"an odd answer: {answer}")
    raging.expect(answer.json().get("artifact_sha256") == hashlib.sha256(writer.artifact).hexdigest(), f"another digest: {answer}")
    raging.assert_kept(files=1)
