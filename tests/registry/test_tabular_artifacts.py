"""A tabular model as a version: tried, stored under its digest, and loaded as it was."""

from pathlib import Path

import pytest

from engine.tabular.artifact import dump
from mlops.tenancy.roles import Principal
from registry.services.artifacts import NoArtifact, load_tabular
from registry.services.model_settings import register_model
from registry.services.registration import register_version
from tests.conftest import NOON
from tests.engine.tabular.tables import houses, trained

pytestmark = pytest.mark.django_db


def test_tabular_model_is_registered_with_its_signature_and_loads_again(scope: Principal, tmp_path: Path) -> None:
    model = trained("multiclass", "catboost").model
    path = tmp_path / "model.bin"
    path.write_bytes(dump(model))
    houses_model = register_model(name="houses", task="classification", by=scope, at=NOON)

    version = register_version(model=houses_model, artifact=path, by=scope, at=NOON)

    assert (version.artifact_format, version.algorithm) == ("tabular", "catboost")
    assert version.signature == model.signature
    assert version.artifact_path.endswith(f"/{version.pk}/model.json")
    assert load_tabular(version).predict(houses(5)).values == model.predict(houses(5)).values


def test_version_without_a_tabular_model_says_so(scope: Principal) -> None:
    version = register_version(model=register_model(name="houses", by=scope, at=NOON), by=scope, at=NOON)

    with pytest.raises(NoArtifact, match="no tabular model"):
        load_tabular(version)
