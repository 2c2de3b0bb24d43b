"""The pages of experiments: who sees what, what a click does, and that a page asks the database little."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from experiments.models import Experiment, ExperimentComment
from experiments.services import concluding, deciding, proposing
from mlops.tenancy.principals import acting
from mlops.tenancy.roles import Principal, system
from registry.models import ModelVersion, PromotionRequest, RegisteredModel
from registry.services import moves, promotion
from tests.browser.shops import make_shadow
from tests.conftest import NOON
from tests.experiments.proposals import make_days, make_experiment
from tests.registry.factories import make_arena, make_request
from tests.registry.test_screens import MOST_QUERIES, reads

pytestmark = pytest.mark.django_db
BOARD = "/admin/experiments/"


def url(name: str, *args: Any) -> str:
    return reverse(f"admin:experiments_{name}", args=args)


@pytest.fixture
def shadowed(scope: Principal) -> Experiment:
    """An experiment in its shadow test whose version beats the champion."""
    champion, challenger = make_arena()
    data = challenger.dataset_version
    assert data is not None
    for version, level in ((champion, 2.0), (challenger, 1.5)):
        make_days(version, data, [level + 0.1 * (day % (version.number + 1)) for day in range(28)], options={"truth": "x"})
    experiment = make_experiment(scope, "shadow_testing", model=champion.model)
    Experiment.objects.filter(pk=experiment.pk).update(experimental_version=challenger)
    return experiment


def test_an_empty_board_teaches_how_to_begin(site: Callable[..., Client]) -> None:
    text = site("data_scientist").get(BOARD).text

    assert "Nothing is being tried right now." in text
    assert url("propose") in text
    assert "approves" in text


def test_the_board_says_what_is_tried_and_what_waits(scope: Principal, site: Callable[..., Client]) -> None:
    make_experiment(scope, experiment_name="Weather")
    make_experiment(scope, "in_progress", experiment_name="Deeper trees")
    make_experiment(scope, "rejected", experiment_name="Oracle")

    text = site("viewer").get(BOARD).text

    assert "2 experiments are open; 1 waits for approval." in text
    assert [name for name in ("Weather", "Deeper trees", "Oracle") if name not in text] == []
    assert url("propose") not in text


def test_pages_ask_the_database_little(shadowed: Experiment, scope: Principal, site: Callable[..., Client]) -> None:
    for status in ("proposed", "approved", "in_progress", "rejected", "completed"):
        make_experiment(scope, status)
    client = site("admin")

    assert reads(client, BOARD) <= MOST_QUERIES
    assert reads(client, url("page", shadowed.pk)) <= MOST_QUERIES
    assert reads(client, url("act", shadowed.pk, "complete")) <= MOST_QUERIES
    assert reads(client, url("experiment_changelist")) <= MOST_QUERIES


def test_pages_with_shadow_evidence_ask_as_little(shadowed: Experiment, site: Callable[..., Client]) -> None:
    champion, challenger = (ModelVersion.objects.select_related("model").get(version=label) for label in ("v2", "v3"))
    make_shadow(challenger, champion)
    client = site("admin")

    assert reads(client, url("page", shadowed.pk)) <= MOST_QUERIES
    assert reads(client, reverse("admin:registry_model_page", args=[champion.model_id])) <= MOST_QUERIES
    assert reads(client, reverse("admin:registry_decide", args=[challenger.pk, "shadow"])) <= MOST_QUERIES


def test_charts_mark_the_promotions_of_their_window(shadowed: Experiment, site: Callable[..., Client]) -> None:
    champion, challenger = (ModelVersion.objects.select_related("model").get(version=label) for label in ("v2", "v3"))
    make_shadow(challenger, champion)

    context = site("admin").get(url("page", shadowed.pk)).context

    expected = [{"day": "2026-02-05", "label": "v2 promoted"}]
    assert (context["daily"]["marks"], context["shadow_chart"]["marks"]) == (expected, expected)
    assert context["daily_note"] == "Both versions on the same days; lower is better; promotions are marked."


def test_before_a_shadow_test_it_says_what_would_be_noticed(shadowed: Experiment, site: Callable[..., Client]) -> None:
    Experiment.objects.filter(pk=shadowed.pk).update(status="in_progress")

    text = site("admin").get(url("act", shadowed.pk, "shadow-test")).text

    assert "is noticed four times out of five" in text
    assert "Days in shadow" in text


def test_the_page_shows_the_comparison(shadowed: Experiment, site: Callable[..., Client]) -> None:
    text = site("admin").get(url("page", shadowed.pk)).text

    assert "% better than v2 by MAE over 28 common backtest days; the difference is more than chance" in text
    assert 'data-chart="daily"' in text
    assert "95 % interval" in text


@pytest.fixture
def adopted(scope: Principal) -> Experiment:
    """An experiment adopted for what was reported; our own backtest says something else."""
    champion, challenger = make_arena()
    assert challenger.dataset_version is not None
    for version, level, step in ((champion, 2.0, 3), (challenger, 2.001, 5)):
        days = [level + 0.1 * ((day * step) % 4) for day in range(28)]
        make_days(version, challenger.dataset_version, days, options={"truth": "x"})
    experiment = make_experiment(scope, "shadow_testing", model=champion.model)
    results = {"baseline_mae": 12.8, "experimental_mae": 10.0, "improvement_pct": 21.9}
    told: dict[str, Any] = {"decision": "adopt", "decision_rationale": "Exceeded target", "results": results, "version": challenger}
    concluding.complete(experiment_id=experiment.pk, by=scope, at=NOON, **told)
    return experiment


def test_a_completed_one_says_both_numbers_and_doubts_what_disagrees(adopted: Experiment, site: Callable[..., Client]) -> None:
    text = site("admin").get(url("page", adopted.pk)).text

    said = re.search(r'<p class="ty-sentence([^"]*)">(.*?)</p>', text)
    assert said is not None
    assert "decision to adopt: reported 21.9 % better; our backtest: 0.0 % worse, within chance." in said.group(2)
    assert "ty-sentence-open" in said.group(1)
    assert "warning" in said.group(2)


def test_a_completed_one_says_what_became_of_its_version(adopted: Experiment, scope: Principal, site: Callable[..., Client]) -> None:
    client, page = site("admin"), url("page", adopted.pk)

    serving = client.get(page).text
    promotion.rollback(version_id=ModelVersion.objects.get(version="v2").pk, by=scope, at=NOON, reason="Back.")
    replaced = client.get(page).text
    moves.archive(version_id=ModelVersion.objects.get(version="v3").pk, by=scope, at=NOON, reason="Not better.")
    archived = client.get(page).text

    assert "v3 is the champion now." in serving
    assert "v3 became champion and is deprecated now: v2 took its place." in replaced
    assert f"v3 became champion once; {scope.name} archived it: “Not better.”" in archived


def test_an_adopted_version_that_was_archived_never_became_champion(
    shadowed: Experiment, scope: Principal, site: Callable[..., Client]
) -> None:
    Experiment.objects.filter(pk=shadowed.pk).update(status="completed", decision="adopt", closed_at=NOON)
    moves.archive(version_id=ModelVersion.objects.get(version="v3").pk, by=scope, at=NOON, reason="Not better.")

    text = site("admin").get(url("page", shadowed.pk)).text

    assert f"v3 never became champion: {scope.name} archived it: “Not better.”" in text


def test_a_version_that_stands_tells_if_its_promotion_waits(shadowed: Experiment, scope: Principal, site: Callable[..., Client]) -> None:
    client, page = site("admin"), url("page", shadowed.pk)
    version = ModelVersion.objects.get(version="v3")
    Experiment.objects.filter(pk=shadowed.pk).update(status="completed", decision="adopt", closed_at=NOON)

    nobody = client.get(page).text
    RegisteredModel.objects.update(policy={"four_eyes": True})
    request = make_request(version, by=scope)
    waits = client.get(page).text
    PromotionRequest.objects.filter(pk=request.pk).update(
        status="rejected", decided_by="mia@example.com", decided_at=NOON, decision_reason="Too early."
    )
    rejected = client.get(page).text

    assert "v3 stands as challenger: nobody has promoted it." in nobody
    assert "v3 stands as challenger: its promotion waits for another manager under Approvals." in waits
    assert "v3 stands as challenger: mia@example.com rejected its promotion: “Too early.”" in rejected


def test_steps_that_nobody_took_are_shown_as_skipped(scope: Principal, site: Callable[..., Client]) -> None:
    experiment = make_experiment(scope, "in_progress")
    concluding.complete(experiment_id=experiment.pk, decision="reject", decision_rationale="No gain.", by=scope, at=NOON)

    text = site("admin").get(url("page", experiment.pk)).text

    assert text.count(">skipped<") == 1
    assert "Nobody took this step: an experiment passes through it on the way to its end, so completing it recorded it." in text


@pytest.mark.parametrize(
    ("role", "status", "seen", "unseen"),
    [
        ("viewer", "proposed", [], ["act/", "edit/", "Comment</button>"]),
        ("data_scientist", "proposed", ["edit/", "Comment</button>"], ["act/"]),
        ("admin", "proposed", ["act/approve", "act/reject", "edit/"], ["act/start", "act/complete"]),
        ("data_scientist", "approved", ["act/start", "edit/"], ["act/complete"]),
        ("admin", "in_progress", ["act/shadow-test", "act/complete", "act/rollback"], ["act/approve", "edit/"]),
        ("admin", "completed", [], ["act/", "edit/"]),
    ],
)
def test_the_page_shows_the_buttons_of_role_and_status(
    scope: Principal, site: Callable[..., Client], role: str, status: str, seen: list[str], unseen: list[str]
) -> None:
    text = site(role).get(url("page", make_experiment(scope, status).pk)).text

    assert [part for part in seen if part not in text] == []
    assert [part for part in unseen if part in text] == []


def test_a_proposal_is_made_and_cannot_be_approved_by_its_author(site: Callable[..., Client], scope: Principal) -> None:
    client = site("admin")

    made = client.post(url("propose"), {"experiment_name": "Weather", "hypothesis": "Rain.", "experiment_type": "data_source"})

    experiment = Experiment.objects.get()
    assert (made.status_code, experiment.proposed_by) == (302, "admin@example.com")
    assert "another manager has to approve it" in client.get(url("page", experiment.pk)).text
    refused = client.post(url("act", experiment.pk, "approve"), {"revision": 1, "reason": "Mine."})
    assert (refused.status_code, Experiment.objects.get().status) == (409, "proposed")


def test_an_approval_takes_its_reason(scope: Principal, site: Callable[..., Client]) -> None:
    experiment = make_experiment(scope)

    answer = site("admin").post(url("act", experiment.pk, "approve"), {"revision": experiment.revision, "reason": "Top 500 only."})

    experiment.refresh_from_db()
    assert answer.status_code == 302
    assert (experiment.status, experiment.approved_by, experiment.approval_rationale) == ("approved", "admin@example.com", "Top 500 only.")


def test_a_rejection_without_a_reason_is_none(scope: Principal, site: Callable[..., Client]) -> None:
    experiment = make_experiment(scope)

    answer = site("admin").post(url("act", experiment.pk, "reject"), {"revision": experiment.revision, "reason": " "})

    assert "This field is required." in answer.text
    assert Experiment.objects.get().status == "proposed"


def test_a_decision_that_came_too_late_says_who_was_first(scope: Principal, site: Callable[..., Client]) -> None:
    experiment = make_experiment(scope)
    deciding.reject(experiment_id=experiment.pk, by=scope, at=NOON, rationale="Too dear.")

    answer = site("admin").post(url("act", experiment.pk, "approve"), {"revision": experiment.revision, "reason": "Fine."})

    assert answer.status_code == 409
    assert f"{scope.name} made it rejected at 2026-03-02 12:00 UTC." in answer.text


def test_completing_adopts_what_the_form_names(shadowed: Experiment, site: Callable[..., Client]) -> None:
    client, version = site("admin"), ModelVersion.objects.get(version="v3")
    page = url("act", shadowed.pk, "complete")
    given = {"revision": shadowed.revision, "decision": "adopt", "version": str(version.pk), "reason": "Better."}

    told = client.get(page)
    wrong = client.post(page, given | {"baseline_mae": "2", "experimental_mae": "1", "improvement_pct": "40"})
    done = client.post(page, given | {"baseline_mae": "2", "experimental_mae": "1"}, follow=True)

    assert "through the same gates as any other" in told.text
    assert "The two MAEs say 50.00 %, not 40 %" in wrong.text
    assert "v3 passed every gate and is the champion now." in done.text
    assert ModelVersion.objects.get(version="v3").status == "champion"


def test_a_comment_is_kept_and_shown_inert(scope: Principal, site: Callable[..., Client]) -> None:
    experiment, client = make_experiment(scope), site("data_scientist")

    client.post(url("page", experiment.pk), {"body": "<script>alert(1)</script>"})

    assert ExperimentComment.objects.get().author == "data_scientist@example.com"
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in client.get(url("page", experiment.pk)).text


def test_an_edit_of_a_proposal_that_changed_keeps_what_was_typed_for_a_second_try(scope: Principal, site: Callable[..., Client]) -> None:
    experiment = make_experiment(scope)
    client = site("data_scientist")
    given = {"experiment_name": "Mine", "hypothesis": "It will help.", "experiment_type": "other", "revision": experiment.revision}
    proposing.edit(experiment_id=experiment.pk, changes={"hypothesis": "Theirs."}, by=scope, at=NOON)

    late = client.post(url("edit", experiment.pk), given)
    again = client.post(url("edit", experiment.pk), {**given, "revision": late.context["form"]["revision"].value()})

    experiment.refresh_from_db()
    assert "nothing was saved" in late.text
    assert (again.status_code, experiment.experiment_name, experiment.hypothesis) == (302, "Mine", "It will help.")


def test_an_edit_says_that_it_revokes_the_approval(scope: Principal, site: Callable[..., Client]) -> None:
    experiment, client = make_experiment(scope, "approved"), site("data_scientist")
    given = {"experiment_name": "Weather", "hypothesis": "Rain.", "experiment_type": "data_source", "revision": experiment.revision}

    told = client.get(url("edit", experiment.pk))
    done = client.post(url("edit", experiment.pk), given)

    assert f"revokes the approval by {scope.name}" in told.text
    assert (done.status_code, Experiment.objects.get().status) == (302, "proposed")


@pytest.mark.parametrize("name", ["approve", "reject", "complete", "rollback"])
def test_a_data_scientist_who_knows_the_address_is_refused(scope: Principal, site: Callable[..., Client], name: str) -> None:
    experiment, client = make_experiment(scope), site("data_scientist")

    assert client.get(url("act", experiment.pk, name)).status_code == 403
    assert client.post(url("act", experiment.pk, name), {"revision": 1, "reason": "x"}).status_code == 403


def test_another_tenants_page_is_not_there(site: Callable[..., Client], scope: Principal, other_customer: Any) -> None:
    with acting(system(other_customer.pk)):
        foreign = make_experiment(system(other_customer.pk))
    client = site("admin")

    answers = [client.get(url("page", foreign.pk)), client.get(url("act", foreign.pk, "approve")), client.get(url("edit", foreign.pk))]

    assert [answer.status_code for answer in answers] == [404, 404, 404]
