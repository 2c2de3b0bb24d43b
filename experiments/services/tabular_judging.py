"""The arena for models of tables: both sides answer the same rows, those of the test part that neither the candidate nor its search saw.

Both are asked in this process, so both have to be models that studies here trained; of others there is no evidence, and the gates that
need it fail closed. A champion that learnt from another split may know some of the rows, which can only flatter the champion.
"""

from typing import TYPE_CHECKING, Any

import structlog

from experiments.models import Split
from experiments.queries.origins import makers_of
from experiments.services.split_files import read_part
from mlops.database.reading import reading
from registry.models import ModelVersion
from registry.rules.arena import Evidence, Judgement, judge
from registry.rules.policy import Policy
from registry.services.artifacts import load_tabular
from registry.services.judging import judges

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

log = structlog.get_logger(__name__)

MOST_ROWS = 200_000
"""Of a larger test part, so many rows drawn by chance, the same ones for the same split."""
GROUPING = ("String", "Boolean", "Categorical")
"""Types of columns whose values may be segments."""


@judges("regression", "classification")
def judge_table(version: ModelVersion, champion: ModelVersion, policy: Policy) -> Judgement:
    """Both on the test part of the version's split. Raises DigestMismatch or ObjectMissing for files that are not what was registered."""
    from engine.significance import diebold_mariano

    task = version.model.task
    split = _split_of(version)
    mine = theirs = None
    if split is not None:
        rows = _rows(split)
        groups = [name for name in split.features if str(rows.schema[name]) in GROUPING]
        mine, theirs = (_measured(one, rows, groups) for one in (version, champion))
    if mine is None or theirs is None:
        return judge(mine and mine[0], (theirs and theirs[0]) or Evidence(champion.version, {}), policy, p_value=None, task=task)
    # Rows are counted as independent, so no covariance between them enters the variance.
    test = diebold_mariano(mine[1], theirs[1], horizon=1)
    return judge(mine[0], theirs[0], policy, p_value=test.p_value, p_method="Paired test", task=task)


def _split_of(version: ModelVersion) -> Split | None:
    """The split that a study here trained the version on."""
    with reading():
        return Split.objects.filter(pk__in=makers_of(version).values("split")).first()


def _rows(split: Split) -> "pl.DataFrame":
    rows = read_part(split, "test")
    return rows if rows.height <= MOST_ROWS else rows.sample(MOST_ROWS, seed=split.seed)


def _measured(version: ModelVersion, rows: "pl.DataFrame", groups: list[str]) -> "tuple[Evidence, np.ndarray[Any, Any]] | None":
    """What the version's answers to these rows are worth, and each row's loss; None where it cannot be asked, or not about these rows."""
    from engine.tabular.comparing import group_losses, row_losses
    from engine.tabular.problems import PredictError, TrainingError
    from engine.tabular.scoring import score_all
    from engine.tabular.training import answers_on

    with reading():
        trained_here = version.has_artifact and makers_of(version).exists()
    if not trained_here:
        return None
    model = load_tabular(version)
    try:
        answers = answers_on(model, rows)
    except (PredictError, TrainingError) as problem:
        log.info("arena.not_measurable", version=str(version), problem=str(problem)[:300])
        return None
    losses = row_losses(answers)
    found = group_losses(rows, losses, groups)
    segments: dict[str, dict[str, float | None]] = {column: {value: one.loss for value, one in by.items()} for column, by in found.items()}
    shares = {column: {value: one.share for value, one in by.items()} for column, by in found.items()}
    return Evidence(version.version, {**score_all(model.task, answers)}, segments=segments, shares=shares), losses
