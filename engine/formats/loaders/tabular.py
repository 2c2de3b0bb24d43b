"""Our own tabular models: a strict document, then the code that reads it in earnest, then rows of every kind of value."""

from typing import TYPE_CHECKING, Any

from engine.formats.loaders.refusal import Refused, strict_json, strings

if TYPE_CHECKING:
    import polars as pl

    from engine.tabular.model import TabularModel

_UNSEEN = "a category that nobody has seen"
_EXTREMES = (0.0, 1.0, -1.0, 1e30, -1e30)


def try_it(data: bytes) -> dict[str, object]:
    """Load the model and have it answer for missing, ordinary, extreme and unseen values."""
    document = strict_json(data)
    if not isinstance(document, dict):
        raise Refused("malformed", "The document is no JSON object.")
    strings(document)  # refuses what is nested too deeply, before anything walks it by recursion
    from engine.tabular.artifact import ArtifactError, load

    try:
        model = load(data)
        answers = model.raw(_probes(model))
    except ArtifactError as error:
        raise Refused("malformed", f"The document is no whole tabular model: {str(error)[:300]}") from error
    except (MemoryError, RecursionError):
        raise
    except Exception as error:  # the boundary: a hostile model may make these libraries raise anything
        raise Refused("malformed", f"The model does not load or score: {type(error).__name__}: {str(error)[:200]}") from error
    if not all(abs(value) < float("inf") for value in answers.ravel().tolist()):
        raise Refused("not_finite", "The model's answers are not finite numbers.")
    return _facts(model)


def _facts(model: "TabularModel") -> dict[str, object]:
    features = model.preprocessor.features
    return {
        "format": "tabular",
        "kind": model.algorithm,
        "features": list(model.features),
        "ranges": {one.column.name: [one.low, one.high] for one in features if one.low is not None},
        "categories": {},
        "trees": 0,
        "outputs": model.fitted.shape.outputs,
        "objective": model.task,
        "signature": model.signature,
    }


def _probes(model: "TabularModel") -> "pl.DataFrame":
    """A row of missing values, rows within and far beyond what training saw."""
    import polars as pl

    from engine.tabular.columns import MOMENT

    rows = 2 + len(_EXTREMES)
    columns: list[Any] = []
    for feature in model.preprocessor.features:
        name, kind = feature.column.name, feature.column.kind
        match kind:
            case "numeric":
                columns.append(pl.Series(name, [None, feature.low, *_EXTREMES], dtype=pl.Float64))
            case "boolean":
                columns.append(pl.Series(name, [None, *([True, False] * rows)][:rows], dtype=pl.Boolean))
            case "categorical":
                known = [*feature.categories[: rows - 2]]
                columns.append(pl.Series(name, [None, _UNSEEN, *known, *([None] * rows)][:rows], dtype=pl.String))
            case "datetime":
                moments = [None, 0, 1, -1, 2_000_000_000_000_000, -2_000_000_000_000_000, 4_000_000_000_000_000]
                columns.append(pl.Series(name, moments, dtype=pl.Int64).cast(MOMENT))
    return pl.DataFrame(columns)
