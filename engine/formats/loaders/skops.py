"""scikit-learn estimators as skops archives, with an allow-list of types."""

import io
import zipfile
import zlib

from engine.formats.loaders.refusal import Refused, inside, strict_json

MAX_ENTRIES, MAX_UNPACKED, MAX_SCHEMA, MAX_SCHEMA_DEPTH = 20_000, 2 << 30, 64 << 20, 400
TRUSTED_PACKAGES = frozenset({"sklearn", "numpy", "scipy", "builtins", "collections", "functools", "operator"})
# What scikit-learn's own estimators need beyond the types skops trusts by itself: plain data holders without code of their own.
TRUSTED_TYPES = frozenset({
    "numpy.dtype", "sklearn._loss.link.IdentityLink", "sklearn._loss.link.Interval", "sklearn._loss.link.LogLink",
    "sklearn._loss.link.LogitLink", "sklearn._loss.link.MultinomialLogit", "sklearn._loss.loss.HalfBinomialLoss",
    "sklearn._loss.loss.HalfMultinomialLoss", "sklearn._loss.loss.HalfSquaredError", "sklearn._loss._loss.CyHalfBinomialLoss",
    "sklearn._loss._loss.CyHalfMultinomialLoss", "sklearn._loss._loss.CyHalfSquaredError",
    "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper", "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree", "sklearn.neighbors._kd_tree.KDTree", "sklearn.neighbors._ball_tree.BallTree",
})  # fmt: skip


def try_it(data: bytes) -> dict[str, object]:
    """A scikit-learn estimator; types beyond skops' own list and ours are refused by name before anything is built."""
    _check_archive(data)
    try:
        from skops.io import get_untrusted_types, loads
    except ModuleNotFoundError as error:
        raise Refused("unsupported_here", "skops is not installed here.") from error
    except ImportError as error:  # it is there, and its libraries found no room
        raise Refused("memory", "skops does not load within the memory of a trial.") from error
    import numpy

    try:
        unknown = sorted(set(get_untrusted_types(data=data)) - TRUSTED_TYPES)
        if unknown:
            raise Refused("untrusted_type", f"The file holds types that are not let in: {', '.join(unknown)[:200]}.")
        model = loads(data, trusted=sorted(TRUSTED_TYPES))
        width = int(model.n_features_in_)
        answers = model.predict(numpy.zeros((1, width)))
    except (Refused, MemoryError, RecursionError):
        raise
    except Exception as error:  # the boundary: a foreign file may make these libraries raise anything
        raise Refused("malformed", f"The model does not load or score: {type(error).__name__}: {str(error)[:200]}") from error
    names = [str(name) for name in getattr(model, "feature_names_in_", [])] or [f"x{index}" for index in range(width)]
    outputs = int(numpy.asarray(answers).size)
    kind = type(model).__name__
    return {
        "format": "skops",
        "features": names,
        "ranges": {},
        "categories": {},
        "trees": 0,
        "outputs": outputs,
        "objective": kind,
        "kind": kind,
    }


def _check_archive(data: bytes) -> None:
    """The archive's table and its schema, by the standard library alone: most of what is foreign is refused before skops is imported."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if len(entries) > MAX_ENTRIES or sum(entry.file_size for entry in entries) > MAX_UNPACKED:
                raise Refused("too_large", "The archive unpacks to more than is allowed.")
            with archive.open("schema.json") as stream:
                schema = strict_json(stream.read(MAX_SCHEMA))
    except (zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError, OSError, EOFError, zlib.error) as error:
        raise Refused("malformed", f"The file is no whole skops archive: {str(error)[:200]}") from error
    packages = {str(module).partition(".")[0] for module in _values_of(schema, "__module__")}
    if packages - TRUSTED_PACKAGES:
        raise Refused(
            "untrusted_type", f"The file holds types of {', '.join(sorted(packages - TRUSTED_PACKAGES))[:200]}, which are not let in."
        )


def _values_of(document: object, key: str) -> list[object]:
    found: list[object] = []
    level: list[object] = [document]
    for _ in range(MAX_SCHEMA_DEPTH):
        found += [value[key] for value in level if isinstance(value, dict) and key in value]
        level = [inner for value in level for inner in inside(value)]
        if not level:
            return found
    raise Refused("too_nested", "The archive's schema is nested too deeply.")
