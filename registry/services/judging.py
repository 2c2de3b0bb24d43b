"""The arena at work: gather the evidence of both sides, ask the rule, keep the answer, and act on it where the policy says so."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog
from django.db import transaction

from mlops.database.reading import reading
from mlops.errors import InvalidField
from mlops.outbox.services import publish
from mlops.tenancy.roles import Principal
from registry.events import PromotionPending
from registry.models import BacktestRun, DecisionRecord, ModelVersion, RegisteredModel, Verdict
from registry.models.accuracy import OVERALL
from registry.queries.backtests import MOST_RUNS, newest_pair
from registry.rules.arena import Evidence, Judgement, judge
from registry.rules.policy import Policy, parse
from registry.services.evidence import record_decision
from registry.services.lookups import champion_of, lock_version
from registry.services.moves import move_version
from registry.services.promotion import promote
from registry.states import AUTO_PROMOTING, VERSION_LIFECYCLE, Trigger, VersionStatus

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Deliberation:
    """A judgement that is not kept yet, with the champion that it is against and what it rests on."""

    version: ModelVersion
    champion: ModelVersion | None
    policy: Policy
    judgement: Judgement
    runs: tuple[BacktestRun | None, BacktestRun | None] = (None, None)


Court = Callable[[ModelVersion, ModelVersion, Policy], Judgement]
_courts: dict[str, Court] = {}


def judges(*tasks: str) -> Callable[[Court], Court]:
    """Decorator: the function judges versions of models of these tasks against their champion. It may take long and holds no lock."""

    def register(court: Court) -> Court:
        _courts.update(dict.fromkeys(tasks, court))
        return court

    return register


def pronounce(*, version: ModelVersion, trigger: str, at: datetime) -> Verdict:
    """Judge the version against the champion of now on what there is, and keep the verdict. See `deliberate`."""
    return keep(deliberate(version), trigger=trigger, at=at)


def deliberate(version: ModelVersion) -> Deliberation:
    """Judge the version against the champion of now: a forecast on the newest backtests both have in common, others by their task's court.

    Missing evidence fails its gates closed; it raises nothing. Raises InvalidField for the champion itself.
    """
    policy, task = parse(version.model.policy), version.model.task
    with reading():
        champion = champion_of(version.model)
    if champion is not None and champion.pk == version.pk:
        raise InvalidField("version", "This version is the champion; it is what others are judged against.")
    court = _courts.get(task)
    if champion is not None and court is not None:
        return Deliberation(version, champion, policy, court(version, champion, policy))
    with reading():
        run, against_run = _common_runs(version, champion)
        mine = _evidence(version, run)
        theirs = None if champion is None else (_evidence(champion, against_run) or Evidence(champion.version, {}))
    p_value, method = _paired_test(mine, theirs, policy.horizon)
    judgement = judge(mine, theirs, policy, p_value=p_value, p_method=method, task=task)
    return Deliberation(version, champion, policy, judgement, (run, against_run))


def keep(found: Deliberation, *, trigger: str, at: datetime) -> Verdict:
    """Write the verdict down."""
    with transaction.atomic():
        return Verdict.objects.create(
            version=found.version,
            against=found.champion,
            run=found.runs[0],
            against_run=found.runs[1],
            policy=found.policy.to_json(),
            policy_revision=found.version.model.policy_revision,
            gates=found.judgement.gates_json(),
            passed=found.judgement.passed,
            summary=found.judgement.summary,
            trigger=trigger,
            created_at=at,
        )


def act_on(*, verdict: Verdict, trigger: Trigger, by: Principal, at: datetime) -> ModelVersion:
    """Do what the policy says with a judged candidate: crown it, let it compete, or ask a person. Locks the model.

    Only `scheduled` and `manual` crown by themselves. A drift-triggered winner becomes challenger and a person is asked. Should the
    champion have changed since the verdict, the version competes, and nothing more.
    """
    with transaction.atomic():
        model, version = lock_version(verdict.version_id)
        policy = parse(model.policy)
        champion = champion_of(model)
        won = verdict.passed and (champion.pk if champion else None) == verdict.against_id
        may_crown = trigger in AUTO_PROMOTING and policy.auto_promote and not policy.four_eyes
        if won and (champion is None or may_crown):
            version = promote(version_id=version.pk, by=by, at=at, reason=verdict.brief).version
            log.info("arena.auto_promoted", model=model.name, version=version.version, summary=verdict.summary)
            return version
        if version.status == VersionStatus.CANDIDATE:
            _let_compete(model, version, champion, verdict, by=by, at=at)
        if won:
            publish(PromotionPending(model.name, str(version.pk), version.version, verdict.summary), at=at)
    log.info("arena.challenger", model=model.name, version=version.version, passed=verdict.passed, summary=verdict.summary)
    return version


def _let_compete(
    model: RegisteredModel, version: ModelVersion, champion: ModelVersion | None, verdict: Verdict, *, by: Principal, at: datetime
) -> None:
    made = move_version(model, version, VersionStatus.CHALLENGER, by=by, at=at, reason=verdict.brief)
    record_decision(
        kind=DecisionRecord.Kind.CHALLENGE,
        model=model,
        version=version,
        move=made,
        former=champion,
        verdict=verdict,
        proposer=version.created_by,
        approvers=[by],
        rationale=verdict.brief,
        at=at,
    )


def check_judgeable(version: ModelVersion) -> None:
    """Raise IllegalMove or InvalidField for what cannot be judged: an archived version, or the champion itself."""
    if version.status == VersionStatus.ARCHIVED:
        raise VERSION_LIFECYCLE.refusal(label=str(version), current=version.status, wanted="judged", deed="be judged")
    if version.status == VersionStatus.CHAMPION:
        raise InvalidField("version", "This version is the champion; it is what others are judged against.")


def _common_runs(version: ModelVersion, champion: ModelVersion | None) -> tuple[BacktestRun | None, BacktestRun | None]:
    """The newest runs of both on the very same window, data, truth and horizon; the version's newest alone where they have none."""
    runs = list(version.backtest_runs.order_by("-created_at", "pk")[:MOST_RUNS])
    if champion is not None:
        theirs = champion.backtest_runs.order_by("-created_at", "pk")[:MOST_RUNS]
        if pair := newest_pair([*theirs, *runs], champion, version):
            return pair[1], pair[0]
    return runs[0] if runs else None, None


def _evidence(version: ModelVersion, run: BacktestRun | None) -> Evidence | None:
    if run is None:
        return None
    # The run's own sums: rows of `backtest_results` are those of the newest run that covered the day.
    rows = run.segments.filter(segment_column=OVERALL, segment=OVERALL, n__gt=0)
    days = {day: error / n for day, error, n in rows.values_list("forecast_date", "sum_abs_error", "n")}
    segments = {column: {segment: values.get("mae") for segment, values in parts.items()} for column, parts in run.by_segment.items()}
    shares = {
        column: _shares({segment: values.get("n") or 0 for segment, values in parts.items()}) for column, parts in run.by_segment.items()
    }
    return Evidence(version.version, run.metrics, days, segments, shares)


def _shares(counts: dict[str, int]) -> dict[str, float]:
    """Every forecast is in one segment of each column, so a column's counts add up to all of them."""
    total = sum(counts.values())
    return {segment: count / total for segment, count in counts.items() if count}


def _paired_test(mine: Evidence | None, theirs: Evidence | None, horizon: int) -> tuple[float | None, str]:
    from engine.significance import diebold_mariano

    if mine is None or theirs is None:
        return None, ""
    common = sorted(set(mine.daily_mae) & set(theirs.daily_mae))
    pairs = [mine.daily_mae[day] for day in common], [theirs.daily_mae[day] for day in common]
    result = diebold_mariano(*pairs, horizon=horizon, alternative="two-sided")
    return result.p_value, result.method
