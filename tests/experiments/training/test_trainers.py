"""Whoever asked for a study trained what came of it: four eyes bind them as they do those who register or retrain."""

import pytest

from experiments.services.study_rows import find_study
from mlops.tenancy import services as tenancy
from mlops.tenancy.models import Customer, User
from mlops.tenancy.roles import Principal, Role
from registry.models import RegisteredModel
from registry.services import promotion
from registry.services.four_eyes import OwnProposal
from tests.conftest import NOON, PASSWORD
from tests.experiments.training.studying import ask_for_study, believe_own_artifacts, make_model, run_study
from tests.registry.factories import make_champion


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No child."""
    believe_own_artifacts(monkeypatch)


def test_whoever_made_the_key_that_asked_for_a_study_does_not_approve_what_it_trained(scope: Principal, customer: Customer) -> None:
    def person(name: str) -> Principal:
        row = tenancy.create_member(customer=customer, email=f"{name}@shop.example", role=Role.ADMIN, password=PASSWORD, at=NOON)
        return Principal("user", f"{name}@shop.example", Role.ADMIN, customer.pk, row.user_id)

    ada, max_, lee = person("ada"), person("max"), person("lee")
    gift, _ = tenancy.create_api_key(
        customer=customer, role=Role.ADMIN, name="gift", user=User.objects.get(pk=max_.user_id), at=NOON, by=ada
    )
    model = make_model()
    make_champion(model)
    RegisteredModel.objects.filter(pk=model.pk).update(policy={"four_eyes": True})
    study = run_study(
        ask_for_study(Principal("key", max_.name, Role.ADMIN, customer.pk, max_.user_id, key_id=gift.pk), model_name=model.name)
    )
    version = find_study(study.pk).version
    assert version is not None

    asked = promotion.promote(version_id=version.pk, by=lee, at=NOON).request
    assert asked is not None

    with pytest.raises(OwnProposal):
        promotion.approve(request_id=asked.pk, by=max_, at=NOON)
    with pytest.raises(OwnProposal):
        promotion.approve(request_id=asked.pk, by=ada, at=NOON)
