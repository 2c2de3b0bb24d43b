"""The arena at work: which backtests are compared, and what a verdict leads to."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from mlops.audit.models import AuditEvent
from mlops.lifecycle.models import Move
from mlops.tenancy.roles import Principal, system
from registry.models import BacktestRun, BacktestSegment, DatasetVersion, DecisionRecord, ModelVersion, Verdict
from registry.services.judging import act_on, pronounce
from registry.services.promotion import promote
from registry.states import Trigger
from tests.experiments.chain import news
from tests.registry.factories import NOW, make_champion, make_dataset, make_model, make_run, make_version

pytestmark = pytest.mark.django_db


def make_verdict(
    version: ModelVersion,
    against: ModelVersion | None,
    *,
    passed: bool = True,
    gates: Sequence[dict[str, Any]] = (),
    summary: str = "Said.",
) -> Verdict:
    return Verdict.objects.create(
        version=version,
        against=against,
        policy={},
        policy_revision=1,
        gates=list(gates),
        passed=passed,
        summary=summary,
        trigger="manual",
        created_at=NOW,
    )


def act(verdict: Verdict, trigger: Trigger = Trigger.MANUAL) -> ModelVersion:
    return act_on(verdict=verdict, trigger=trigger, by=system(verdict.customer_id, name="arena"), at=NOW)


def add_days(run: BacktestRun, *, offset: float) -> None:
    """The run's own days: a weekly wave, higher by the offset."""
    BacktestSegment.objects.bulk_create(
        BacktestSegment(
            run=run,
            forecast_date=run.window_start + timedelta(days=day),
            segment_column="overall",
            segment="overall",
            n=10,
            sum_actual=100.0,
            sum_error=0.0,
            sum_abs_error=10 * (offset + 0.01 * (day % 7) + 0.013 * (day % 5) * offset),
        )
        for day in range(90)
    )


def test_a_winner_over_the_champion_of_now_is_crowned(scope: Principal) -> None:
    model = make_model()
    champion, version = make_champion(model), make_version(model)

    assert act(make_verdict(version, champion)).status == "champion"


def test_a_winner_over_a_champion_that_was_replaced_only_competes(scope: Principal) -> None:
    model = make_model()
    former = make_champion(model)
    version = make_version(model)
    verdict = make_verdict(version, former)
    promote(version_id=make_version(model).pk, by=scope, at=NOW)

    moved = act(verdict)

    decision = DecisionRecord.objects.get(version=version)
    assert (moved.status, decision.kind) == ("challenger", "challenge")
    assert decision.former_champion == model.versions.get(status="champion")
    assert news("registry.promotion_pending") == []


def test_a_loser_competes_and_nobody_is_asked(scope: Principal) -> None:
    model = make_model()
    champion, version = make_champion(model), make_version(model)

    assert act(make_verdict(version, champion, passed=False)).status == "challenger"
    assert news("registry.promotion_pending") == []


def test_a_policy_tightened_since_the_verdict_binds(scope: Principal) -> None:
    model = make_model()
    champion, version = make_champion(model), make_version(model)
    verdict = make_verdict(version, champion)
    type(model).objects.filter(pk=model.pk).update(policy={"four_eyes": True})

    assert act(verdict).status == "challenger"
    assert [told["version"] for told in news("registry.promotion_pending")] == ["v2"]


def test_acting_twice_on_a_verdict_moves_once(scope: Principal) -> None:
    model = make_model()
    champion, version = make_champion(model), make_version(model)
    verdict = make_verdict(version, champion)

    act(verdict, Trigger.DRIFT_DETECTED)
    moved = act(verdict, Trigger.DRIFT_DETECTED)

    assert (moved.status, DecisionRecord.objects.filter(version=version).count()) == ("challenger", 1)


def test_a_move_names_the_gates_that_failed_and_leaves_why_to_the_verdict(scope: Principal) -> None:
    model = make_model()
    champion, version = make_champion(model), make_version(model)
    gates = [{"label": label, "passed": label == "MAPE"} for label in ("Bias", "MAPE", "Segments")]
    summary = "v2 is 5.0 % worse than v1 by MAE; 2 of 3 gates failed: Bias — too high; by far; Segments — worse."
    verdict = make_verdict(version, champion, passed=False, gates=gates, summary=summary)

    act(verdict)

    told = Move.objects.get(object_id=version.pk)
    assert told.reason == "v2 is 5.0 % worse than v1 by MAE; 2 of 3 gates failed: Bias, Segments."
    assert AuditEvent.objects.get(number=told.audit_number).reason == told.reason
    assert DecisionRecord.objects.get(version=version).rationale == told.reason


def test_runs_on_the_same_ground_are_compared_whatever_is_newer(scope: Principal) -> None:
    model = make_model()
    old, new = make_dataset("old", models=[model]), make_dataset("new")
    champion, version = make_champion(model), make_version(model)
    mine, theirs = make_run(version, old, level=1.0), make_run(champion, old, level=2.0)
    version.backtest_results.update(run=make_run(version, new, level=9.0), mae=9.0)  # a newer run takes the days over

    verdict = pronounce(version=version, trigger="manual", at=NOW)

    assert (verdict.run, verdict.against_run) == (mine, theirs)
    assert next(gate for gate in verdict.gates if gate["name"] == "improvement")["passed"]


def test_runs_on_other_truth_are_not_compared(scope: Principal, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model()
    data = make_dataset(models=[model])
    champion, version = make_champion(model), make_version(model)
    make_run_on_truth(version, data, "before a correction", monkeypatch)
    make_run_on_truth(champion, data, "after it", monkeypatch)

    verdict = pronounce(version=version, trigger="manual", at=NOW)

    assert (verdict.passed, verdict.against_run) == (False, None)


def make_run_on_truth(version: ModelVersion, data: DatasetVersion, truth: str, monkeypatch: pytest.MonkeyPatch) -> None:
    create = BacktestRun.objects.create
    with monkeypatch.context() as changed:
        changed.setattr(BacktestRun.objects, "create", lambda **values: create(options={"truth": truth}, **values))
        make_run(version, data, level=1.0)


def test_the_paired_test_takes_the_runs_own_days(scope: Principal) -> None:
    model = make_model()
    data = make_dataset(models=[model])
    champion, version = make_champion(model), make_version(model)
    add_days(make_run(version, data, level=1.0), offset=1.0)
    add_days(make_run(champion, data, level=2.0), offset=2.0)
    later = make_run(champion, make_dataset("other"), level=1.0, back=30)
    champion.backtest_results.exclude(run=later).update(run=later, mae=1.0)  # it takes days over

    verdict = pronounce(version=version, trigger="manual", at=NOW)

    assert next(gate for gate in verdict.gates if gate["name"] == "significance")["passed"]


def test_a_champion_without_evidence_fails_every_gate_that_needs_it(scope: Principal) -> None:
    model = make_model()
    make_champion(model)
    version = make_version(model)
    make_run(version, make_dataset(models=[model]), level=1.0)

    verdict = pronounce(version=version, trigger="manual", at=NOW)

    assert (verdict.passed, verdict.against_run) == (False, None)
    assert "of the champion is missing" in verdict.summary


@pytest.mark.parametrize(("error", "passes"), [(0.01, True), (5.0, False)])
def test_a_store_that_sold_nothing_does_not_keep_the_champion(scope: Principal, error: float, passes: bool) -> None:
    """The champion's errors there are 0, so that nothing can be told as a percentage of them."""
    model = make_model()
    champion, version = make_champion(model), make_version(model)
    data = make_dataset(models=[model])
    make_run(champion, data, level=10.0, segments={"HOBBIES_2": 0.0})
    make_run(version, data, level=8.0, segments={"HOBBIES_2": error})

    [gate] = [gate for gate in pronounce(version=version, trigger="manual", at=NOW).gates if gate["name"] == "segments"]

    assert (gate["passed"], "HOBBIES_2" in gate["why"], "fails closed" in gate["why"]) == (passes, not passes, False)
