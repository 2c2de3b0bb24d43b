"""Run as `python -I _model_child.py SPEC` in a fresh process: confine, read the model file, load it, score a few rows, print JSON.

Prints one line: {"facts": …} or {"refused": {"reason", "message"}}. Any other end of the process means the file broke it.
"""

import ctypes
import importlib.util
import io
import json
import os
import resource
import sys
import zipfile
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engine.formats._confine import confine

PROBES = (0.0, float("nan"), 1.0, -1.0, 1e30, -1e30, 0.5)
MAX_DEPTH = 64
MAX_ENTRIES, MAX_UNPACKED, MAX_SCHEMA, MAX_SCHEMA_DEPTH = 20_000, 2 << 30, 64 << 20, 400
TRUSTED_PACKAGES = frozenset({"sklearn", "numpy", "scipy", "builtins", "collections", "functools", "operator"})
BOOSTER_START = "tree\n"
# What scikit-learn's own estimators need beyond the types skops trusts by itself: plain data holders without code of their own.
TRUSTED_TYPES = frozenset({
    "numpy.dtype", "sklearn._loss.link.IdentityLink", "sklearn._loss.link.Interval", "sklearn._loss.link.LogLink",
    "sklearn._loss.link.LogitLink", "sklearn._loss.link.MultinomialLogit", "sklearn._loss.loss.HalfBinomialLoss",
    "sklearn._loss.loss.HalfMultinomialLoss", "sklearn._loss.loss.HalfSquaredError", "sklearn._loss._loss.CyHalfBinomialLoss",
    "sklearn._loss._loss.CyHalfMultinomialLoss", "sklearn._loss._loss.CyHalfSquaredError",
    "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper", "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree", "sklearn.neighbors._kd_tree.KDTree", "sklearn.neighbors._ball_tree.BallTree",
})  # fmt: skip


class Refused(Exception):
    """The file was understood well enough to say no."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason, self.message = reason, message
        super().__init__(message)


def main(spec: dict[str, object]) -> dict[str, object]:
    confined = confine(
        memory_bytes=int(str(spec["memory_bytes"])),
        cpu_seconds=int(str(spec["cpu_seconds"])),
        file_bytes=0,
        open_files=128,
    )
    try:
        data = _read(int(str(spec["fd"])), int(str(spec["max_bytes"])))
        facts = {"lightgbm": try_lightgbm, "forecaster": try_forecaster, "skops": try_skops}[str(spec["format"])](data)
    except Refused as refusal:
        return {"refused": {"reason": refusal.reason, "message": refusal.message}}
    except MemoryError:
        return {"refused": {"reason": "memory", "message": "The model needs more memory than a trial may use."}}
    except RecursionError:
        return {"refused": {"reason": "too_nested", "message": "The file is nested too deeply."}}
    return {"facts": {**facts, "bytes": len(data), "peak_memory_bytes": _peak_memory(), "confined": confined}}


def _peak_memory() -> int:
    """Of this program alone: on Linux the figure of getrusage starts with that of the parent at the fork."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


def _read(fd: int, max_bytes: int) -> bytes:
    """All of the file, by position, so that the parent's own position in it stays."""
    parts, position = [], 0
    while part := os.pread(fd, 1 << 20, position):
        parts.append(part)
        position += len(part)
        if position > max_bytes:
            raise Refused("too_large", f"The file is larger than the {max_bytes >> 20} MB allowed.")
    return b"".join(parts)


def try_lightgbm(data: bytes) -> dict[str, object]:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused("malformed", "The model text is not UTF-8.") from error
    return {"format": "lightgbm", **_try_booster(_lightgbm(), text)}


def _lightgbm() -> ctypes.CDLL:
    found = importlib.util.find_spec("lightgbm")
    if found is None or found.origin is None:
        raise Refused("unsupported_here", "LightGBM is not installed here.")
    # The package itself is not imported: it would cost seconds and 200 MB. The suffix differs by system.
    libraries = sorted((Path(found.origin).parent / "lib").glob("lib_lightgbm.*"))
    if not libraries:
        raise Refused("unsupported_here", "LightGBM's library is not where it is expected.")
    return ctypes.CDLL(str(libraries[0]))


def _try_booster(library: ctypes.CDLL, text: str) -> dict[str, object]:
    """Check the text, load it, score rows of extremes; what the library then says must agree with the text."""
    from engine.formats.lightgbm_text import MalformedModel, check_text

    try:
        model = check_text(text)
    except MalformedModel as error:
        raise Refused("malformed", f"The LightGBM model is not sound: {error}.") from error
    library.LGBM_GetLastError.restype = ctypes.c_char_p
    handle, iterations, width = ctypes.c_void_p(), ctypes.c_int(), ctypes.c_int()
    _called(library, library.LGBM_BoosterLoadModelFromString(text.encode(), ctypes.byref(iterations), ctypes.byref(handle)))
    _called(library, library.LGBM_BoosterGetNumFeature(handle, ctypes.byref(width)))
    if width.value != len(model.features):
        raise Refused("malformed", "The model's features do not agree with its header.")
    outputs = _score(library, handle, width.value, model.classes)
    _called(library, library.LGBM_BoosterFree(handle))
    return {
        "features": list(model.features),
        "ranges": {name: list(bounds) for name, bounds in model.ranges.items()},
        "categories": {name: list(codes) for name, codes in model.categories.items()},
        "trees": model.trees,
        "outputs": len(outputs) // len(PROBES),
        "objective": model.objective.split(" ")[0],
    }


def _score(library: ctypes.CDLL, handle: ctypes.c_void_p, width: int, classes: int) -> list[float]:
    rows = (ctypes.c_double * (width * len(PROBES)))(*[value for value in PROBES for _ in range(width)])
    out = (ctypes.c_double * (classes * len(PROBES)))()
    length = ctypes.c_int64()
    float64, by_row, normal = 1, 1, 0
    _called(
        library,
        library.LGBM_BoosterPredictForMat(
            handle, ctypes.byref(rows), ctypes.c_int(float64), ctypes.c_int32(len(PROBES)), ctypes.c_int32(width), ctypes.c_int(by_row),
            ctypes.c_int(normal), ctypes.c_int(0), ctypes.c_int(-1), b"num_threads=1 verbosity=-1", ctypes.byref(length), out,
        ),
    )  # fmt: skip
    answers = list(out)[: length.value]
    if not answers or not all(abs(answer) < float("inf") for answer in answers):
        raise Refused("not_finite", "The model's answers are not finite numbers.")
    return answers


def _called(library: ctypes.CDLL, status: int) -> None:
    if status != 0:
        told = library.LGBM_GetLastError() or b""
        raise Refused("malformed", f"LightGBM does not load the model: {told.decode('utf-8', 'replace')[:200]}")


def try_forecaster(data: bytes) -> dict[str, object]:
    """Our own document: strict JSON; every booster text inside it goes the way of a LightGBM file."""
    document = _strict_json(data)
    if not isinstance(document, dict) or document.get("format") != "tiltyard-forecaster/1" or not isinstance(document.get("kind"), str):
        raise Refused("malformed", "The document does not say that it is a tiltyard-forecaster/1 of some kind.")
    texts = [text for text in _strings(document) if text.startswith(BOOSTER_START)]
    library = _lightgbm() if texts else None
    tried = [_try_booster(library, text) for text in texts if library is not None]
    _check_document(data)
    features = tried[0]["features"] if tried else []
    if any(one["features"] != features for one in tried):
        raise Refused("malformed", "The boosters of the document do not share their features.")
    return {
        "format": "forecaster",
        "kind": document["kind"],
        "features": features,
        "ranges": tried[0]["ranges"] if tried else {},
        "categories": tried[0]["categories"] if tried else {},
        "trees": sum(int(str(one["trees"])) for one in tried),
        "outputs": 1,
        "objective": tried[0]["objective"] if tried else "",
        "boosters": len(tried),
    }


def _check_document(data: bytes) -> None:
    """The fields, by the code that reads the document in earnest. Only now, because it trusts booster texts that have been tried."""
    from engine.forecasting.artifact import ArtifactError, load

    try:
        load(data)
    except ArtifactError as error:
        raise Refused("malformed", f"The document is no whole forecaster: {str(error)[:300]}") from error


def _strict_json(data: bytes) -> object:
    def pairs(entries: list[tuple[str, object]]) -> dict[str, object]:
        made = dict(entries)
        if len(made) != len(entries):
            raise Refused("malformed", "The document names a field twice.")
        return made

    def constant(name: str) -> object:
        raise Refused("malformed", f"The document holds {name}, which is no JSON.")

    try:
        document: object = json.loads(data.decode("utf-8"), object_pairs_hook=pairs, parse_constant=constant)
    except ValueError as error:
        raise Refused("malformed", "The document is not valid JSON.") from error
    return document


def _strings(document: object) -> list[str]:
    """Every text in the document. Walks level by level, so that depth is a number and not a stack."""
    found: list[str] = []
    level: list[object] = [document]
    for _ in range(MAX_DEPTH):
        found += [value for value in level if isinstance(value, str)]
        level = [inner for value in level for inner in _inside(value)]
        if not level:
            return found
    raise Refused("too_nested", f"The document is nested more than {MAX_DEPTH} deep.")


def _inside(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def try_skops(data: bytes) -> dict[str, object]:
    """A scikit-learn estimator; types beyond skops' own list and ours are refused by name before anything is built."""
    _check_archive(data)
    try:
        from skops.io import get_untrusted_types, loads
    except ImportError as error:
        raise Refused("unsupported_here", "skops is not installed here.") from error
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
                schema = _strict_json(stream.read(MAX_SCHEMA))
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
        level = [inner for value in level for inner in _inside(value)]
        if not level:
            return found
    raise Refused("too_nested", "The archive's schema is nested too deeply.")


if __name__ == "__main__":
    json.dump(main(json.loads(sys.argv[1])), sys.stdout)
    sys.stdout.flush()
    os._exit(0)  # libraries' own tear-down has nothing left to say, and may hang
