"""The arena's rule: every gate from both sides, and what happens when a number is missing or is none."""

import math
from datetime import date
from typing import Any

import pytest

from registry.rules.arena import Evidence, Gate, Judgement, improvement_pct, judge
from registry.rules.policy import Policy, PolicyError, parse

CHAMPION = {
    "mae": 10.0,
    "mape": 0.20,
    "wape": 0.10,
    "mase": 0.80,
    "rmsse": 0.70,
    "value_over_naive_pct": 12.0,
    "worst_origin_mae": 15.0,
    "bias_pct": 2.0,
    "coverage": 0.90,
    "stockout_miss_rate": 0.05,
    "overstock_rate": 0.10,
}
BETTER = {**CHAMPION, "mae": 9.0}
SEGMENTS = {"dept": {"FOODS": 1.0, "HOBBIES": 2.0}}
GATES = [
    *("improvement", "naive", "mape", "wape", "mase", "rmsse", "bias", "coverage", "stockout_miss_rate", "overstock_rate", "stability"),
    *("segments", "significance"),
]


def judged(
    changes: dict[str, Any] | None = None,
    *,
    champion: dict[str, Any] | None = None,
    p_value: float | None = 0.01,
    segments: dict[str, Any] | None = None,
    policy: Policy | None = None,
) -> Judgement:
    """A candidate that is 10 % better and else equal, with these changes."""
    candidate = Evidence("v2", {**BETTER, **(changes or {})}, {date(2026, 1, 1): 1.0}, SEGMENTS if segments is None else segments)
    against = Evidence("v1", {**CHAMPION, **(champion or {})}, {}, SEGMENTS)
    return judge(candidate, against, policy or Policy(), p_value=p_value, p_method="Diebold–Mariano")


def gate(judgement: Judgement, name: str) -> Gate:
    return next(one for one in judgement.gates if one.name == name)


def failed(judgement: Judgement) -> list[str]:
    return [one.name for one in judgement.gates if not one.passed]


def test_a_candidate_that_is_better_and_nowhere_worse_passes() -> None:
    judgement = judged()

    assert judgement.passed
    assert [one.name for one in judgement.gates] == GATES
    assert judgement.improvement_pct == pytest.approx(10.0)
    assert judgement.summary == "v2 is 10.0 % better than v1 by MAE; all 13 gates passed."


@pytest.mark.parametrize(
    ("name", "passing", "failing"),
    [
        ("improvement", {"mae": 9.5}, {"mae": 9.51}),
        ("mape", {"mape": 0.2039}, {"mape": 0.2041}),
        ("wape", {"wape": 0.1019}, {"wape": 0.1021}),
        ("mase", {"mase": 0.8159}, {"mase": 0.8161}),
        ("rmsse", {"rmsse": 0.7139}, {"rmsse": 0.7141}),
        ("naive", {"value_over_naive_pct": 0.0}, {"value_over_naive_pct": -0.01}),
        ("stability", {"worst_origin_mae": 15.74}, {"worst_origin_mae": 15.76}),
        ("bias", {"bias_pct": -3.0}, {"bias_pct": -3.01}),
        ("bias", {"bias_pct": 2.99}, {"bias_pct": 3.01}),
        ("coverage", {"coverage": 0.90}, {"coverage": 0.899}),
        ("stockout_miss_rate", {"stockout_miss_rate": 0.0549}, {"stockout_miss_rate": 0.0551}),
        ("overstock_rate", {"overstock_rate": 0.1049}, {"overstock_rate": 0.1051}),
    ],
)
def test_each_gate_has_two_sides(name: str, passing: dict[str, float], failing: dict[str, float]) -> None:
    assert failed(judged(passing)) == []
    assert failed(judged(failing)) == [name]


@pytest.mark.parametrize(("p_value", "passes"), [(0.0499, True), (0.05, False), (0.9, False), (0.0, True)])
def test_the_difference_has_to_be_significant(p_value: float, passes: bool) -> None:
    assert gate(judged(p_value=p_value), "significance").passed is passes


@pytest.mark.parametrize(("hobbies", "passes"), [(2.03, True), (2.05, False), (1.0, True)])
def test_no_segment_may_lose(hobbies: float, passes: bool) -> None:
    judgement = judged(segments={"dept": {"FOODS": 0.8, "HOBBIES": hobbies}})

    assert gate(judgement, "segments").passed is passes
    assert ("HOBBIES" in gate(judgement, "segments").why) is not passes


def test_a_segment_that_only_the_champion_has_fails_closed() -> None:
    found = gate(judged(segments={"dept": {"FOODS": 0.8}}), "segments")

    assert (found.passed, "HOBBIES" in found.why) == (False, True)


def test_a_segment_without_error_on_both_sides_is_equal() -> None:
    segments = {"dept": {"FOODS": 0.0}}
    sides = [Evidence(label, metrics, {}, segments) for label, metrics in (("v2", BETTER), ("v1", CHAMPION))]

    assert judge(sides[0], sides[1], Policy(), p_value=0.01).passed


@pytest.mark.parametrize(("dead", "passes"), [(0.79, True), (0.81, False)])
def test_where_the_champion_has_no_error_a_segment_is_weighed_by_what_it_adds_to_the_whole(dead: float, passes: bool) -> None:
    """A quarter of the forecasts: 0.8 there are 0.2 overall, 2 % of the champion's 10."""
    mine, theirs = ({"item": {"ale": 8.0, "dead": error}} for error in (dead, 0.0))
    against = Evidence("v1", CHAMPION, {}, theirs, {"item": {"ale": 0.75, "dead": 0.25}})

    found = gate(judge(Evidence("v2", BETTER, {}, mine), against, Policy(), p_value=0.01), "segments")

    assert (found.passed, "fails closed" in found.why, "dead" in found.why) == (passes, False, not passes)


@pytest.mark.parametrize(
    ("mine", "theirs", "shares", "overall", "said"),
    [
        (None, 1.0, {}, 10.0, "dead (the candidate's is missing)"),
        (1.0, None, {}, 10.0, "dead (the champion's is missing)"),
        (math.nan, 1.0, {}, 10.0, "dead (the candidate's is not a number)"),
        (1.0, -1.0, {}, 10.0, "dead (the champion's is negative)"),
        (1.0, 0.0, {}, 10.0, "dead (the champion's is 0, and the segment's share of the forecasts is missing)"),
        (1.0, 0.0, {"dead": 0.5}, None, "dead (the champion's is 0, and over all it is missing)"),
        (1.0, 0.0, {"dead": 0.5}, 0.0, "dead (the champion's is 0, and over all it is 0, too)"),
    ],
)
def test_a_segment_that_cannot_be_compared_says_which_input_is_at_fault(
    mine: float | None, theirs: float | None, shares: dict[str, float], overall: float | None, said: str
) -> None:
    against = Evidence("v1", {**CHAMPION, "mae": overall}, {}, {"item": {"dead": theirs}}, {"item": shares})

    found = gate(judge(Evidence("v2", BETTER, {}, {"item": {"dead": mine}}), against, Policy(), p_value=0.01), "segments")

    assert (found.passed, found.why) == (False, f"No comparable MAE for {said}; the gate fails closed.")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mae": -1.0}, "MAE of the candidate is negative; the gate fails closed."),
        ({"mae": None}, "MAE of the candidate is missing or not a number; the gate fails closed."),
    ],
)
def test_the_improvement_says_which_input_is_at_fault(changes: dict[str, Any], said: str) -> None:
    assert gate(judged(changes), "improvement").why == said


METRIC_GATES = {
    "mae": "improvement",
    "mape": "mape",
    "wape": "wape",
    "mase": "mase",
    "rmsse": "rmsse",
    "worst_origin_mae": "stability",
    "bias_pct": "bias",
    "coverage": "coverage",
    "stockout_miss_rate": "stockout_miss_rate",
    "overstock_rate": "overstock_rate",
}


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, "9", True], ids=repr)
@pytest.mark.parametrize("side", ["candidate", "champion"])
@pytest.mark.parametrize("metric", list(METRIC_GATES))
def test_what_is_no_number_fails_its_gate_closed_and_leaves_no_number(metric: str, side: str, value: Any) -> None:
    judgement = judged({metric: value}) if side == "candidate" else judged(champion={metric: value})

    found = gate(judgement, METRIC_GATES[metric])
    assert not judgement.passed
    assert failed(judgement) == [found.name]
    assert all(number is None or math.isfinite(number) for one in judgement.gates for number in (one.candidate, one.champion))
    assert "fails closed" in found.why


@pytest.mark.parametrize(
    "metric", ["mae", "mape", "wape", "mase", "rmsse", "worst_origin_mae", "coverage", "stockout_miss_rate", "overstock_rate"]
)
def test_a_negative_error_does_not_improve(metric: str) -> None:
    assert METRIC_GATES[metric] in failed(judged({metric: -5.0}))


@pytest.mark.parametrize("value", [None, math.nan, math.inf, "9", True], ids=repr)
def test_a_value_over_naive_that_is_no_number_fails_closed(value: Any) -> None:
    assert failed(judged({"value_over_naive_pct": value})) == ["naive"]
    assert failed(judged(champion={"value_over_naive_pct": value})) == []


def test_a_champion_without_error_cannot_be_beaten_by_a_ratio() -> None:
    judgement = judged({"mae": 0.0}, champion={"mae": 0.0})

    assert (judgement.passed, judgement.improvement_pct) == (False, None)
    assert (
        gate(judgement, "improvement").why
        == "MAE of the champion is 0, and nothing can be told as a percentage of that; the gate fails closed."
    )


@pytest.mark.parametrize("p_value", [None, math.nan, -0.1])
def test_a_test_that_could_not_be_made_fails_closed(p_value: float | None) -> None:
    assert failed(judged(p_value=p_value)) == ["significance"]


def test_without_the_candidates_evidence_every_gate_fails_but_none_raises() -> None:
    judgement = judge(None, Evidence("v1", CHAMPION, {}, SEGMENTS), Policy(), p_value=None)

    assert failed(judgement) == GATES


def test_without_the_champions_evidence_it_fails_closed() -> None:
    judgement = judge(Evidence("v2", BETTER), Evidence("v1", {}), Policy(), p_value=None)

    assert failed(judgement) == [name for name in GATES if name != "naive"]  # which asks of the candidate alone
    assert "the champion" in gate(judgement, "improvement").why


@pytest.mark.parametrize(
    ("mine", "theirs", "said"),
    [({}, {}, "the candidate and the champion"), (BETTER, {}, "the champion"), ({}, CHAMPION, "the candidate")],
)
@pytest.mark.parametrize("segments", [{}, SEGMENTS])
def test_segments_of_what_was_not_measured_fail_closed(
    mine: dict[str, Any], theirs: dict[str, Any], said: str, segments: dict[str, Any]
) -> None:
    found = gate(judge(Evidence("v2", mine), Evidence("v1", theirs, {}, segments), Policy(), p_value=0.01), "segments")

    assert (found.passed, found.why) == (False, f"Nothing was measured of {said}; the gate fails closed.")


def test_where_both_were_measured_the_data_may_name_no_segments() -> None:
    found = gate(judge(Evidence("v2", BETTER), Evidence("v1", CHAMPION), Policy(), p_value=0.01), "segments")

    assert (found.passed, found.why) == (True, "The data names no segments.")


def test_a_segment_that_only_the_candidate_has_fails_closed() -> None:
    found = gate(judge(Evidence("v2", BETTER, {}, SEGMENTS), Evidence("v1", CHAMPION), Policy(), p_value=0.01), "segments")

    assert (found.passed, "HOBBIES" in found.why) == (False, True)


def test_the_first_version_has_nobody_to_beat() -> None:
    judgement = judge(Evidence("v1", {}), None, Policy(), p_value=None)

    assert (judgement.passed, judgement.gates, judgement.improvement_pct) == (True, (), None)


def test_the_policys_settings_are_the_limits() -> None:
    lenient = Policy(min_improvement_pct=0, max_p_value=1.0, accuracy_tolerance_pct=50, bias_tolerance_pp=50, stock_tolerance_pp=50)

    assert judged({"mae": 10.0, "mape": 0.25, "bias_pct": 40, "overstock_rate": 0.5}, p_value=0.9, policy=lenient).passed


def test_another_primary_metric_is_the_one_that_has_to_improve() -> None:
    by_wape = Policy(primary_metric="wape")

    assert failed(judged({"wape": 0.10}, policy=by_wape)) == ["improvement"]
    assert judged({"wape": 0.09, "mae": 11.0}, policy=by_wape).passed


def test_coverage_above_nominal_is_no_advantage_and_no_fault() -> None:
    assert judged({"coverage": 0.90}, champion={"coverage": 0.99}).passed
    assert failed(judged({"coverage": 0.80}, champion={"coverage": 0.85})) == ["coverage"]


def test_the_sentence_names_what_failed() -> None:
    summary = judged({"mae": 9.9, "coverage": 0.8}).summary

    assert summary.startswith("v2 is 1.0 % better than v1 by MAE; 2 of 13 gates failed: Improvement — ")
    assert "Interval coverage" in summary


@pytest.mark.parametrize(
    ("candidate", "champion", "expected"),
    [
        (9.0, 10.0, 10.0),
        (11.0, 10.0, -10.0),
        (0.0, 10.0, 100.0),
        (None, 10.0, None),
        (9.0, None, None),
        (9.0, 0.0, None),
        (-1.0, 10.0, None),
    ],
)
def test_improvement_is_percent_of_the_champions_error(candidate: float | None, champion: float | None, expected: float | None) -> None:
    assert improvement_pct(candidate, champion) == expected


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"min_improvement_pct": -1}, "min_improvement_pct"),
        ({"min_improvement_pct": math.nan}, "min_improvement_pct"),
        ({"min_improvement_pct": "5"}, "min_improvement_pct"),
        ({"min_improvement_pct": True}, "min_improvement_pct"),
        ({"backtest_days": 90.5}, "backtest_days"),
        ({"horizon": 61}, "horizon"),
        ({"four_eyes": 1}, "four_eyes"),
        ({"primary_metric": "charm"}, "primary_metric"),
        ({"sorcery": 1}, "sorcery"),
    ],
)
def test_a_policy_that_will_not_do_names_its_setting(values: dict[str, Any], field: str) -> None:
    with pytest.raises(PolicyError) as refused:
        parse(values)

    assert refused.value.field == field


TABLES = {
    "regression": ({"mae": 10.0, "rmse": 20.0, "r2": 0.4}, {"mae": 9.0}, ["improvement", "rmse", "segments", "significance"]),
    "classification": (
        {"log_loss": 0.30, "roc_auc": 0.90, "f1": 0.70, "accuracy": 0.85},
        {"log_loss": 0.27},
        ["improvement", "roc_auc", "f1", "accuracy", "segments", "significance"],
    ),
}


def judged_table(task: str, changes: dict[str, Any] | None = None, *, policy: Policy | None = None) -> Judgement:
    """A candidate of the task whose primary metric is 10 % better, and nothing else."""
    theirs, better, _ = TABLES[task]
    mine = Evidence("v2", {**theirs, **better, **(changes or {})}, segments=SEGMENTS)
    return judge(mine, Evidence("v1", theirs, segments=SEGMENTS), policy or Policy(), p_value=0.01, task=task)


@pytest.mark.parametrize("task", list(TABLES))
def test_models_of_tables_have_the_gates_of_their_task(task: str) -> None:
    judgement = judged_table(task)

    assert judgement.passed
    assert [one.name for one in judgement.gates] == TABLES[task][2]
    assert judgement.improvement_pct == pytest.approx(10.0)
    assert f"better than v1 by {'MAE' if task == 'regression' else 'log loss'}; all" in judgement.summary


@pytest.mark.parametrize(
    ("task", "name", "passing", "failing"),
    [
        ("regression", "rmse", 20.4, 20.5),
        ("classification", "roc_auc", 0.8821, 0.8819),
        ("classification", "f1", 0.6861, 0.6859),
        ("classification", "accuracy", 0.8331, 0.8329),
        ("classification", "log_loss", 0.285, 0.286),
    ],
)
def test_a_metric_of_a_table_may_be_worse_within_its_tolerance(task: str, name: str, passing: float, failing: float) -> None:
    gate_name = "improvement" if name == "log_loss" else name

    assert failed(judged_table(task, {name: passing})) == []
    assert failed(judged_table(task, {name: failing})) == [gate_name]


@pytest.mark.parametrize("nothing", [None, math.nan, math.inf, -1.0])
@pytest.mark.parametrize(("task", "name"), [("regression", "rmse"), ("classification", "roc_auc"), ("classification", "accuracy")])
def test_a_metric_of_a_table_that_is_no_number_fails_its_gate(task: str, name: str, nothing: float | None) -> None:
    assert failed(judged_table(task, {name: nothing})) == [name]


def test_the_policys_metric_holds_where_the_task_has_it() -> None:
    assert [one.name for one in judged_table("regression", policy=Policy(primary_metric="rmse")).gates][:2] == ["improvement", "mae"]
    assert gate(judged_table("classification", policy=Policy(primary_metric="rmse")), "improvement").limit.endswith("log loss")
    assert gate(judged_table("regression", policy=Policy(primary_metric="mase")), "improvement").limit.endswith("MAE")


@pytest.mark.parametrize(
    ("mae", "p_value", "said"),
    [
        (9.0, 0.01, "significantly better, p = 0.0100."),
        (14.0, 0.00001, "significantly worse, p < 0.0001."),
        (14.0, 0.35, "no significant difference, p = 0.3500."),
    ],
)
def test_significance_says_in_which_direction(mae: float, p_value: float, said: str) -> None:
    assert gate(judged({"mae": mae}, p_value=p_value), "significance").why == f"Diebold–Mariano of the daily errors: {said}"


def test_significance_goes_by_the_days_that_were_tested() -> None:
    day = date(2026, 1, 1)
    sides = [Evidence(label, metrics, {day: error}, SEGMENTS) for label, metrics, error in (("v2", BETTER, 3.0), ("v1", CHAMPION, 2.0))]

    assert "significantly worse" in gate(judge(sides[0], sides[1], Policy(), p_value=0.01), "significance").why


def test_a_list_of_segments_says_how_many_more_there_are() -> None:
    names = [f"S{number}" for number in range(1, 9)]
    sides = [Evidence(label, BETTER, {}, {"store": dict.fromkeys(names, error)}) for label, error in (("v2", 3.0), ("v1", 2.0))]

    found = gate(judge(sides[0], sides[1], Policy(), p_value=0.01), "segments")

    assert found.why.startswith("Worse in 8 of 8 segments: S1 (50.0 % worse), ")
    assert found.why.endswith("S5 (50.0 % worse) and 3 more.")
    assert (found.candidate, found.champion, found.unit) == (8.0, None, "worse segments")


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("improvement", {"mae": 10.001}, "MAE is the same as the champion's to 0.1 %."),
        ("improvement", {"mae": 10.0}, "MAE is the same as the champion's."),
        ("wape", {"wape": 0.100001}, "The same as the champion's to 0.1 %."),
        ("overstock_rate", {"overstock_rate": 0.10001}, "The same as the champion's to 0.1 pp."),
        ("naive", {"value_over_naive_pct": 0.01}, "MAE is the same as the seasonal naive's on the same days to 0.1 %."),
        ("stability", {"worst_origin_mae": 15.001}, "At its worst origin MAE is the same as the champion's at its worst to 0.1 %."),
        (
            "bias",
            {"bias_pct": 0.01},
            "Forecasts neither too low nor too high, to 0.1 %; |bias| is 2.0 pp smaller than the champion's.",
        ),
        ("bias", {"bias_pct": -2.01}, "Forecasts 2.0 % too low; |bias| is the same as the champion's to 0.1 pp."),
    ],
)
def test_a_difference_that_would_be_shown_as_zero_has_no_direction(name: str, changes: dict[str, float], said: str) -> None:
    assert gate(judged(changes), name).why == said


def test_a_verdict_on_equals_says_that_they_are_the_same() -> None:
    assert judged({"mae": 9.9999}).summary.startswith("v2 is the same as v1 to 0.1 % by MAE; ")


def test_each_gate_names_the_unit_of_its_numbers() -> None:
    assert {one.name: one.unit for one in judged().gates} == {
        "improvement": "units",
        "naive": "%",
        "mape": "%",
        "wape": "fraction",
        "mase": "ratio",
        "rmsse": "ratio",
        "bias": "%",
        "coverage": "fraction",
        "stockout_miss_rate": "fraction",
        "overstock_rate": "fraction",
        "stability": "units",
        "segments": "worse segments",
        "significance": "p",
    }
    assert gate(judged(policy=Policy(primary_metric="wape")), "improvement").unit == "fraction"
