"""A verdict as pages show it beside a decision: who was judged against whom, in one sentence, and gate by gate."""

from dataclasses import dataclass
from typing import Any

from registry.models import Verdict
from registry.queries.arena_page import Arena
from registry.screens.words import short

SHOWN_UNITS = dict.fromkeys(("units", "mae", "rmse"), "units") | dict.fromkeys(("worse segments", "segments"), "worse segments")
IN_POINTS = ("naive", "bias", "coverage", "stockout_miss_rate", "overstock_rate")
"""Gates whose numbers differ by percentage points; others by percent of the champion's."""
ALONE = ("segments", "significance")
"""Gates with one number, which is of both versions together."""


@dataclass(frozen=True)
class ShownVerdict:
    """A verdict with the labels of both versions. `sentence` says so where it is no verdict on the version in question against the
    champion of now: `counts` is False then, and the policy's gates do not go by it."""

    verdict: Verdict
    version: str
    against: str
    sentence: str
    gates: list[dict[str, Any]]
    counts: bool = True

    @property
    def passed(self) -> int:
        """How many gates passed."""
        return len([gate for gate in self.gates if gate["passed"]])


def shown_verdict(arena: Arena) -> ShownVerdict | None:
    """The verdict on the chosen version against the champion; where there is none, that on the champion against it, else its newest."""
    champion, chosen = arena.champion, arena.chosen
    if champion is None or chosen is None:
        return None
    labels: dict[Any, str] = {one.pk: one.version for one in arena.versions}
    if arena.verdict is not None:
        return _shown(arena.verdict, chosen.version, champion.version, short(arena.verdict))
    unjudged = f"{chosen.version} has not been judged against {champion.version}."
    if arena.reverse is not None:
        said = f"{unjudged} The other way round: {short(arena.reverse)}"
        return _shown(arena.reverse, champion.version, chosen.version, said, counts=False)
    last = arena.verdicts.get(chosen.pk)
    if last is None or not last.gates:
        return None
    against = labels.get(last.against_id, "an earlier champion")
    return _shown(last, chosen.version, against, f"{unjudged} Its last verdict, against {against}: {short(last)}", counts=False)


def rested_on(verdict: Verdict | None) -> ShownVerdict | None:
    """The verdict that a decision rested on, whoever serves by now. Both its versions have to be loaded."""
    if verdict is None:
        return None
    return _shown(verdict, verdict.version.version, verdict.against.version if verdict.against else "nobody", short(verdict))


def evidence_sentence(arena: Arena, shown: ShownVerdict | None) -> str:
    """What the evidence beside a decision says, or why there is none."""
    if arena.first:
        return "There is no champion to compare it with."
    return shown.sentence if shown else short(None)


def _shown(verdict: Verdict, version: str, against: str, sentence: str, *, counts: bool = True) -> ShownVerdict:
    gates = sorted((_gate(gate) for gate in verdict.gates), key=lambda gate: gate["passed"])
    return ShownVerdict(verdict, version, against, sentence, gates, counts)


def _gate(gate: dict[str, Any]) -> dict[str, Any]:
    """A gate with both numbers in the unit people read. Gates keep what they were written with: older ones give other units."""
    unit, name = gate["unit"], gate["name"]
    fraction = unit in ("fraction", "wape") or name == "wape"
    percent = fraction or unit == "%" or name == "mape"
    mine, theirs = (100 * value if fraction and value is not None else value for value in (gate["candidate"], gate["champion"]))
    if name in ALONE:
        theirs = None
    change = None
    if mine is not None and theirs is not None:
        change = mine - theirs if name in IN_POINTS else (100 * (mine / theirs - 1) if theirs else None)
    missing = not gate["passed"] and None in {"significance": [mine], "segments": [0.0]}.get(name, [mine, theirs])
    return {
        **gate,
        "candidate": mine,
        "champion": theirs,
        "shown_unit": "%" if percent else SHOWN_UNITS.get(unit, ""),
        "digits": {"significance": 4, "segments": 0}.get(name, 1 if percent else 3),
        "change": change,
        "change_unit": "pp" if name in IN_POINTS else "%",
        "state": "passed" if gate["passed"] else ("no input" if missing else "failed"),
    }
