"""Promises 2 and 3: one champion in every view at every instant, and histories that are paths of the table, with many clients at work."""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from threading import Event
from typing import Any

import pytest

from tests.torture.calling import Caller
from tests.torture.installation import Installation, Shop
from tests.torture.storms import Storm, times, together

pytestmark = pytest.mark.torture
NewStorm = Callable[..., Storm]
CROWD = 16
READERS = 2
MOVERS = 12

# Spelled out anew on purpose: changing the life cycle means changing it here too.
PATHS = {
    "candidate": {"shadow", "challenger", "champion", "archived"},
    "shadow": {"challenger", "champion", "archived"},
    "challenger": {"shadow", "champion", "archived"},
    "champion": {"deprecated"},
    "deprecated": {"champion", "archived"},
    "archived": set(),
}
VERBS = {"shadow": "shadow", "challenge": "challenger", "promote": "champion", "rollback": "champion", "archive": "archived"}
WEIGHTS = {"shadow": 25, "challenge": 25, "promote": 20, "rollback": 25, "archive": 5}
REPEATED = (0, 503)
"""No answer, or a server that was busy: whether the move was made is seen in the history."""


def champions(views: dict[str, Any], name: str) -> dict[str, list[str]]:
    """Whom each view takes for the champion."""
    row = next((one for one in views["models"]["results"] if one["name"] == name), {})
    held = {"model": views["model"], "list": row, "health": views["health"], "production": {"champion": views["production"]}}
    found = {view: [one["champion"]["version"]] if one.get("champion") else [] for view, one in held.items()}
    found["by status"] = [one["version"] for one in views["by_status"]["results"]]
    found["versions"] = [one["version"] for one in views["versions"]["results"] if one["status"] == "champion"]
    found["counted"] = ["counted"] * views["model"]["versions"].get("champion", 0)
    return found


def look(caller: Caller, name: str, raging: Storm) -> None:
    base = f"/api/v1/models/{name}"
    wanted = {
        "model": base,
        "models": f"/api/v1/models?page_size=100&search={name}",
        "by_status": f"{base}/versions?status=champion",
        "versions": f"{base}/versions?page_size=100",
        "production": f"{base}/production",
        "health": f"/api/v1/models/health?model_name={name}",
    }
    views = {}
    for view, path in wanted.items():
        answer = caller.get(path)
        raging.count("reads")
        if answer.status != 200:
            raging.fault(f"a view failed: {view} {answer}")
            return
        views[view] = answer.json()
    for view, found in champions(views, name).items():
        raging.expect(len(found) == 1, f"{len(found)} champions in a view: {view} {found}")


def register(caller: Caller, name: str) -> str:
    answer = caller.post(f"/api/v1/models/{name}/versions", {})
    assert answer.status == 201, answer
    return str(answer.json()["version"])


def history(installation: Installation, shop: Shop, name: str) -> dict[str, Any]:
    """Every move of the model in order, how its versions stand, and what verifying the audit found."""
    return dict(installation.ask(HISTORY, shop=shop.id, name=name))


HISTORY = """
from mlops.audit.services import verify
from mlops.database.reading import reading
from mlops.lifecycle.models import Move
from registry.models import ModelVersion, RegisteredModel
with acting(system(given["shop"])):
    with reading():
        model = RegisteredModel.objects.get(name=given["name"])
        rows = Move.objects.filter(stream_id=model.pk).order_by("sequence")
        moves = list(rows.values_list("sequence", "object_type", "object_id", "source", "target"))
        standing = {str(pk): status for pk, status in ModelVersion.objects.filter(model=model).values_list("pk", "status")}
        counts = dict(model.status_counts)
    found = verify()
said = {"moves": moves, "standing": standing, "counts": counts, "intact": found.intact, "problem": found.problem}
"""


def judge_history(found: dict[str, Any], raging: Storm) -> None:
    """Sequences without gaps, every step in the table and from where the version stood, the standing the end of its path."""
    moves = found["moves"]
    raging.expect([one[0] for one in moves] == list(range(1, len(moves) + 1)), "a gap: in `sequence`")
    standing = dict.fromkeys(found["standing"], "candidate")
    crowned = 0
    for sequence, kind, version, source, target in moves:
        if kind != "registry.modelversion":
            continue
        raging.expect(target in PATHS[source], f"no such step: {sequence} {source} to {target}")
        raging.expect(standing[version] == source, f"a state was skipped: {sequence} from {source} where it was {standing[version]}")
        standing[version] = target
        crowned += (target == "champion") - (source == "champion")
        raging.expect(crowned in (0, 1), f"{crowned} champions in the history: after {sequence}")
    raging.expect(standing == found["standing"], "a version stands where its path does not end: ")
    counted = {status: number for status, number in found["counts"].items() if number}
    raging.expect(counted == dict(Counter(standing.values())), f"the counts differ: {counted} {Counter(standing.values())}")
    raging.expect(found["intact"], f"the audit chain: {found['problem']}")
    raging.count("moves in the history", len(moves))


def test_storms_of_promotions_leave_one_champion_in_every_view(installation: Installation, storm: NewStorm) -> None:
    raging = storm("2 · one champion in every view")
    shop = installation.shop("Sixteen")
    installation.up("web")
    callers = [installation.caller(shop.keys["ml_manager"]) for _ in range(CROWD)]
    name = f"crown_{time.monotonic_ns()}"
    assert callers[0].post("/api/v1/models", {"name": name}).status == 201
    assert callers[0].post(f"/api/v1/models/{name}/promote/{register(callers[0], name)}").status == 200
    over = Event()

    def read() -> None:
        caller = installation.caller(shop.keys["viewer"])
        while not over.is_set():
            look(caller, name, raging)

    def rage() -> None:
        try:
            for _ in range(times(1_000, least=3)):
                fresh = together([lambda one=one: register(one, name) for one in callers])
                acts = [lambda c=c, v=v: c.post(f"/api/v1/models/{name}/promote/{v}") for c, v in zip(callers, fresh, strict=True)]
                for answer in together(acts):
                    raging.count("promotions", answer.status == 200)
                    raging.expect(answer.status in (200, 409), f"an odd answer: {answer}")
                raging.count("storms")
        finally:
            over.set()

    together([rage, *[read] * READERS])

    judge_history(history(installation, shop, name), raging)
    raging.assert_kept(storms=times(1_000, least=3), reads=1)


def a_move(caller: Caller, name: str, versions: list[str], chance: random.Random, raging: Storm) -> None:
    """One move that somebody wishes, whether the table has it or not."""
    verb = chance.choices(list(WEIGHTS), weights=list(WEIGHTS.values()))[0]
    body = {"reason": "Because."} | ({"emergency": True} if chance.random() < 0.1 and verb == "rollback" else {})
    answer = caller.post(f"/api/v1/models/{name}/versions/{chance.choice(versions)}/{verb}", body)
    raging.count("moves wished")
    raging.count("moves made", answer.status == 200)
    if answer.status == 409 and answer.code == "illegal_transition":
        said = answer.json()
        possible = PATHS[said["current"]] - ({"deprecated"} if said["current"] == "champion" else set())
        raging.expect(set(said["allowed"]) == possible, f"a refusal names other moves: {said}")
        raging.expect(said["wanted"].startswith(VERBS[verb]), f"a refusal names another wish: {said}")
    elif answer.status not in (200, 404, 409, *REPEATED):  # 404: not registered yet
        raging.fault(f"an odd answer: {verb} {answer}")


def test_random_moves_of_twelve_clients_are_paths_of_the_table(installation: Installation, storm: NewStorm) -> None:
    raging = storm("3 · histories are paths of the table")
    shop = installation.shop("Movers")
    installation.up("web")
    first = installation.caller(shop.keys["ml_manager"])
    names = [f"moving_{number}_{time.monotonic_ns()}" for number in range(2)]
    for name in names:
        assert first.post("/api/v1/models", {"name": name}).status == 201

    def move(seed: int) -> None:
        chance, caller, name = random.Random(seed), installation.caller(shop.keys["ml_manager"]), names[seed % len(names)]
        mine = [register(caller, name) for _ in range(3)]
        for number in range(times(20_000, least=240) // MOVERS):
            if number % 12 == 0:  # versions end up archived
                mine.append(register(caller, name))
            others = [f"v{chance.randint(1, len(mine) * MOVERS // len(names))}" for _ in range(2)]
            a_move(caller, name, [*mine[-4:], *others], chance, raging)

    together([lambda seed=seed: move(seed) for seed in range(MOVERS)])

    judge_all((history(installation, shop, name) for name in names), raging)
    raging.assert_kept(**{"moves wished": times(20_000, least=240) // MOVERS * MOVERS, "moves made": 50})


def judge_all(found: Iterable[dict[str, Any]], raging: Storm) -> None:
    for one in found:
        judge_history(one, raging)
