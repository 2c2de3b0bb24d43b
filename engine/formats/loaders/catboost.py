"""CatBoost CBM, by its package: its shared library is part of it."""

from typing import Any

from engine.formats.loaders.refusal import PROBES, Refused


def try_it(data: bytes) -> dict[str, object]:
    """Load the model from memory and score it. Raises Refused: malformed, not_finite, unsupported_features, unsupported_here."""
    try:
        from catboost import CatBoost, CatboostError
    except ModuleNotFoundError as error:
        raise Refused("unsupported_here", "CatBoost is not installed here.") from error
    except ImportError as error:  # it is there, and its libraries found no room
        raise Refused("memory", "CatBoost does not load within the memory of a trial.") from error
    model = CatBoost()
    try:
        model.load_model(blob=data, format="cbm")
        if model.get_text_feature_indices() or model.get_embedding_feature_indices():
            raise Refused("unsupported_features", "The model takes texts or embeddings; numbers and categories are let in.")
        names, outputs = [str(name) for name in model.feature_names_], _score(model)
        objective = str(model.get_all_params().get("loss_function", ""))
    except (CatboostError, ValueError, TypeError, UnicodeDecodeError) as error:
        raise Refused("malformed", f"CatBoost does not load the model: {str(error)[:200]}") from error
    if len(set(names)) < len(names):
        raise Refused("malformed", "The model names a feature twice.")
    return {
        "format": "catboost",
        "features": names,
        "ranges": {},
        "categories": {},
        "trees": int(model.tree_count_),
        "outputs": outputs,
        "objective": objective,
    }


def _score(model: Any) -> int:
    """Score the probes, categories with a value never seen; answers the number of outputs of a row."""
    import numpy
    from catboost import Pool

    width, coded = len(model.feature_names_), set(model.get_cat_feature_indices())
    rows = [["never seen" if index in coded else probe for index in range(width)] for probe in PROBES]
    answers = numpy.asarray(model.predict(Pool(rows, cat_features=sorted(coded)), prediction_type="RawFormulaVal", thread_count=1))
    if not answers.size or not numpy.isfinite(answers).all():
        raise Refused("not_finite", "The model's answers are not finite numbers.")
    return int(answers.size // len(rows))
