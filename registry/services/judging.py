"""The arena at work: gather the evidence of both sides, ask the rule, keep the answer, and act on it where the policy says so."""

from datetime import date, datetime
from typing import Any

import structlog
from django.db import transaction

from mlops.errors import InvalidField
from mlops.lifecycle.mechanism import IllegalMove
from mlops.outbox.services import publish
from mlops.tenancy.roles import Principal
from registry.events import PromotionPending
from registry.models import BacktestResult, BacktestRun, ModelVersion, RegisteredModel, Verdict
from registry.rules.arena import Evidence, judge
from registry.rules.policy import parse
from registry.services.evidence import record_decision
from registry.services.lookups import lock_version
from registry.services.moves import move_version
from registry.services.promotion import promote
from registry.states import AUTO_PROMOTING, Trigger, VersionStatus

log = structlog.get_logger(__name__)


def champion_of(model: RegisteredModel) -> ModelVersion | None:
    """The champion of now, or None."""
    return ModelVersion.objects.filter(model=model, status=VersionStatus.CHAMPION).first()


def pronounce(*, version: ModelVersion, trigger: str, at: datetime) -> Verdict:
    """Judge the version against the champion of now on the newest backtests both have in common, and keep the verdict.

    Missing evidence fails its gates closed; it raises nothing.
    """
    model = version.model
    policy = parse(model.policy)
    champion = champion_of(model)
    if champion is not None and champion.pk == version.pk:
        raise InvalidField("version", "This version is the champion; it is what others are judged against.")
    run, against_run = _common_runs(version, champion)
    mine = _evidence(version, run)
    theirs = None if champion is None else (_evidence(champion, against_run) or Evidence(champion.version, {}))
    p_value, method = _paired_test(mine, theirs, policy.horizon)
    judgement = judge(mine, theirs, policy, p_value=p_value, p_method=method)
    with transaction.atomic():
        return Verdict.objects.create(
            version=version,
            against=champion,
            run=run,
            against_run=against_run,
            policy=policy.to_json(),
            policy_revision=model.policy_revision,
            gates=judgement.gates_json(),
            passed=judgement.passed,
            summary=judgement.summary,
            trigger=trigger,
            created_at=at,
        )


def act_on(*, verdict: Verdict, trigger: Trigger, by: Principal, at: datetime) -> ModelVersion:
    """Do what the policy says with a judged candidate: crown it, let it compete, or ask a person.

    Only `scheduled` and `manual` crown by themselves. A drift-triggered winner becomes challenger and a person is asked. Should the
    champion have changed since the verdict, the version competes, and nothing more.
    """
    version = verdict.version
    model = version.model
    policy = parse(model.policy)
    champion = champion_of(model)
    same_champion = (champion.pk if champion else None) == verdict.against_id
    if (
        verdict.passed
        and same_champion
        and (champion is None or (trigger in AUTO_PROMOTING and policy.auto_promote and not policy.four_eyes))
    ):
        outcome = promote(version_id=version.pk, by=by, at=at, reason=verdict.summary)
        log.info("arena.auto_promoted", model=model.name, version=version.version, summary=verdict.summary)
        return outcome.version
    with transaction.atomic():
        locked, version = lock_version(version.pk)
        if version.status == VersionStatus.CANDIDATE:
            made = move_version(locked, version, VersionStatus.CHALLENGER, by=by, at=at, reason=verdict.summary)
            record_decision(
                kind="challenge",
                model=locked,
                version=version,
                move=made,
                former=champion,
                verdict=verdict,
                proposer=version.created_by,
                approvers=[by],
                rationale=verdict.summary,
                at=at,
            )
        if verdict.passed:
            publish(PromotionPending(locked.name, str(version.pk), version.version, verdict.summary), at=at)
    log.info("arena.challenger", model=model.name, version=version.version, passed=verdict.passed, summary=verdict.summary)
    return version


def check_judgeable(version: ModelVersion) -> None:
    """Raise IllegalMove or InvalidField for what cannot be judged: an archived version, or the champion itself."""
    if version.status == VersionStatus.ARCHIVED:
        raise IllegalMove(str(version), version.status, "judged", [])
    if version.status == VersionStatus.CHAMPION:
        raise InvalidField("version", "This version is the champion; it is what others are judged against.")


def _common_runs(version: ModelVersion, champion: ModelVersion | None) -> tuple[BacktestRun | None, BacktestRun | None]:
    """The newest run of the version, and the champion's newest run on the very same window, data and horizon."""
    run = version.backtest_runs.order_by("-created_at", "pk").first()
    if run is None or champion is None:
        return run, None
    same = {
        "dataset_version": run.dataset_version_id,
        "window_start": run.window_start,
        "window_end": run.window_end,
        "horizon": run.horizon,
    }
    return run, champion.backtest_runs.filter(**same).order_by("-created_at", "pk").first()


def _evidence(version: ModelVersion, run: BacktestRun | None) -> Evidence | None:
    if run is None:
        return None
    daily = BacktestResult.objects.filter(version_ref=version, forecast_date__range=(run.window_start, run.window_end))
    days: dict[date, float] = {row.forecast_date: row.mae for row in daily if row.mae is not None}
    segments = {column: {segment: values.get("mae") for segment, values in rows.items()} for column, rows in _segments_of(run).items()}
    return Evidence(version.version, run.metrics, days, segments)


def _segments_of(run: BacktestRun) -> dict[str, dict[str, Any]]:
    return dict(run.by_segment)


def _paired_test(mine: Evidence | None, theirs: Evidence | None, horizon: int) -> tuple[float | None, str]:
    from engine.significance import diebold_mariano

    if mine is None or theirs is None:
        return None, ""
    common = sorted(set(mine.daily_mae) & set(theirs.daily_mae))
    pairs = [mine.daily_mae[day] for day in common], [theirs.daily_mae[day] for day in common]
    result = diebold_mariano(*pairs, horizon=horizon, alternative="two-sided")
    return result.p_value, result.method
