"""What each act is called, and what it will do, in words."""

from dataclasses import dataclass

from registry.models import ModelVersion, Verdict
from registry.queries.arena_page import Arena
from registry.services.promotion import UNMEASURABLE
from registry.states import VERSION_LIFECYCLE, VersionStatus


@dataclass(frozen=True)
class Act:
    """Something a person can do with a version. `dangerous` ones ask for the version's name to be typed."""

    name: str
    label: str
    icon: str
    action: str
    target: str
    dangerous: bool = False


ACTS: dict[str, Act] = {
    act.name: act
    for act in (
        Act("promote", "Promote", "trophy", "version.promote", VersionStatus.CHAMPION),
        Act("rollback", "Roll back to", "undo", "version.rollback", VersionStatus.CHAMPION, dangerous=True),
        Act("judge", "Judge", "gavel", "version.judge", ""),
        Act("challenge", "Make challenger", "swords", "version.challenge", VersionStatus.CHALLENGER),
        Act("shadow", "Shadow", "contrast", "version.shadow", VersionStatus.SHADOW),
        Act("archive", "Reject", "inventory_2", "version.archive", VersionStatus.ARCHIVED, dangerous=True),
    )
}


def possible(act: Act, version: ModelVersion) -> bool:
    """Whether the act is open to a version that stands as this one does."""
    if act.name == "judge":
        return version.status not in (VersionStatus.ARCHIVED, VersionStatus.CHAMPION)
    wanted = act.name == "rollback"
    if act.target == VersionStatus.CHAMPION and (version.status == VersionStatus.DEPRECATED) != wanted:
        return False
    return act.target in VERSION_LIFECYCLE.allowed(version.status)


def not_possible(act: Act, version: ModelVersion) -> str:
    """Why the act is not open to the version: how that one stands now."""
    stands = "the champion already" if version.status == VersionStatus.CHAMPION else f"{version.status} now"
    return f"“{act.label} {version.version}” is not possible: {version.version} is {stands}."


def headline(arena: Arena) -> str:
    """The verdict in one sentence, or why there is none."""
    champion, chosen = arena.champion, arena.chosen
    if not arena.versions and not arena.forecasts:
        return "No version yet. A study makes one from a split, or the API registers it."
    if not arena.versions:
        return "No version yet. Retrain the model: the seasonal naive becomes its first champion, and what is trained has to beat it."
    if chosen is None:
        return f"{champion.version} serves, and nothing competes with it." if champion else "Nothing serves."
    if champion is None:
        return f"Nothing serves yet; {chosen.version} would be the first champion."
    if arena.verdict is None:
        return f"{chosen.version} has not been judged against {champion.version} yet."
    return arena.verdict.brief


def short(verdict: Verdict | None) -> str:
    """The verdict in one sentence, or that there is none."""
    return verdict.brief if verdict else "Not judged against the present champion."


def consequences(act: Act, arena: Arena, *, approving: bool = False) -> list[str]:
    """What will happen, sentence by sentence; `approving`: when somebody else asked for it and it is granted."""
    version = arena.chosen
    if version is None:
        return []
    champion = arena.champion.version if arena.champion else ""
    if act.target == VersionStatus.CHAMPION:
        return [
            *_throne(act, arena, version.version, champion, approving=approving),
            "The decision, the gates, your name and your reason are kept as one evidence record.",
        ]
    told = {
        "judge": [
            f"{version.version} and {champion or 'the champion'} {_ground(arena)}, then compared gate by gate.",
            "The verdict advises. No version changes its status.",
        ],
        "challenge": [
            f"{version.version} becomes a challenger: it competes, and predicts beside the champion each day.",
            "The champion stays.",
        ],
        "shadow": [
            f"{version.version} predicts beside the champion each day, on the same inputs, and answers nobody.",
            "The champion stays.",
        ],
        "archive": [
            f"{version.version} is rejected and archived for good. An archived version cannot come back.",
            "Its files and its evidence are kept.",
        ],
    }
    return told[act.name]


def _ground(arena: Arena) -> str:
    if arena.forecasts:
        return "are backtested on the same window and data"
    return f"answer the same rows, the test part of {arena.chosen.version}'s split" if arena.chosen else "answer the same rows"


def _throne(act: Act, arena: Arena, version: str, champion: str, *, approving: bool) -> list[str]:
    urgent = act.name == "rollback" and arena.barred
    asks = arena.policy.four_eyes and not approving and not urgent
    serves = f"{version} becomes champion of {arena.model.name} and serves by default"
    lines = [f"You ask that {serves}." if asks else f"{serves}, at once."]
    if champion:
        lines.append(f"{champion} is deprecated and kept, so that you can roll back to it.")
    if arena.chosen and arena.forecasts and not arena.chosen.has_artifact:
        lines.append(UNMEASURABLE)
    if asks:
        lines.append("Four eyes: another manager has to approve. Whoever trained, proposed or asked cannot be the one who approves.")
    if act.name == "promote" and arena.gates_failed:
        rule = (
            "and the policy enforces its gates: tick the override and give a reason"
            if arena.policy.enforce_gates
            else "so it is marked as an override"
        )
        lines.append(f"{'A gate failed' if arena.verdict else 'It was not judged against the present champion'}, {rule}.")
    if urgent:
        lines.append(_past_gates_back(arena, approving=approving))
    return lines


def _past_gates_back(arena: Arena, *, approving: bool) -> str:
    why = "A gate failed" if arena.verdict else "It was not judged against the present champion"
    if approving:
        return f"{why}, and the policy enforces its gates: nobody can approve this. An emergency gets past them; else reject it."
    return (
        f"{why}, and the policy enforces its gates: only an emergency gets past them. Tick it and give a reason. "
        "It waits for nobody, is marked in the record, and opens a review that another manager closes."
    )
