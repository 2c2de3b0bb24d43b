"""Asking the arena: at once where the evidence is there, by a job where it has to be made."""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from mlops.errors import NotFound
from mlops.jobs import services as jobs
from mlops.jobs.models import Job
from mlops.tenancy.roles import Principal
from registry.models import ModelVersion, Verdict
from registry.services import judging


def request_judgement(*, version_id: UUID, by: Principal, at: datetime) -> Job | Verdict:
    """Judge the version against the champion.

    A version that predicts here is backtested first, beside the champion, so the answer is a job. One registered by its metadata alone is
    judged at once on what there is: gates without input fail closed. Raises NotFound, IllegalMove, InvalidField, AlreadyRunning.
    """
    by.authorize("version.judge")
    with transaction.atomic():
        version = ModelVersion.objects.select_related("model").filter(pk=version_id).first()
        if version is None:
            raise NotFound("There is no such version.")
        judging.check_judgeable(version)
        if not version.has_artifact:
            return judging.pronounce(version=version, trigger="manual", at=at)
        return jobs.request(
            kind="judge_version",
            payload={"version_id": str(version.pk)},
            label=f"Judge {version}",
            by=by,
            at=at,
            exclusive_key=f"judge:{version.pk}",
        )
