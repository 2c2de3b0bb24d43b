"""XGBoost UBJSON, by the shared library alone: the package would cost a second and 130 MB."""

import ctypes
import importlib.util
import json
from pathlib import Path

from engine.formats.loaders.refusal import PROBES, Refused

MAX_FEATURES = 100_000
MARGIN = 1
"""The kind of prediction before the link function, which may overflow where the trees do not."""


def try_it(data: bytes) -> dict[str, object]:
    """Load the booster from memory and score it. Raises Refused: malformed, not_finite, unsupported_here."""
    library = _shared_library()
    handle = ctypes.c_void_p()
    _called(library, library.XGBoosterCreate(None, ctypes.c_uint64(0), ctypes.byref(handle)))
    _called(library, library.XGBoosterLoadModelFromBuffer(handle, data, ctypes.c_uint64(len(data))))
    width, rounds = ctypes.c_uint64(), ctypes.c_int()
    _called(library, library.XGBoosterGetNumFeature(handle, ctypes.byref(width)))
    _called(library, library.XGBoosterBoostedRounds(handle, ctypes.byref(rounds)))
    if not 0 < width.value <= MAX_FEATURES:
        raise Refused("malformed", f"The model says that it has {width.value} features.")
    names = _told_features(library, handle, b"feature_name") or [f"f{index}" for index in range(width.value)]
    kinds = _told_features(library, handle, b"feature_type")
    if len(names) != width.value or len(set(names)) != len(names) or (kinds and len(kinds) != width.value):
        raise Refused("malformed", "The model's features do not agree with their number.")
    config = _config(library, handle)
    outputs = _score(library, handle, [kind == "c" for kind in kinds] or [False] * width.value)
    return {
        "format": "xgboost",
        "features": names,
        "ranges": {},
        "categories": {},
        "trees": rounds.value,
        "outputs": outputs,
        "objective": str(config.get("objective", {}).get("name", "")),
    }


def _shared_library() -> ctypes.CDLL:
    found = importlib.util.find_spec("xgboost")
    libraries = sorted((Path(found.origin).parent / "lib").glob("libxgboost.*")) if found and found.origin else []
    if not libraries:
        raise Refused("unsupported_here", "XGBoost is not installed here.")
    library = ctypes.CDLL(str(libraries[0]))
    library.XGBGetLastError.restype = ctypes.c_char_p
    return library


def _called(library: ctypes.CDLL, status: int) -> None:
    if status != 0:
        told = (library.XGBGetLastError() or b"").decode("utf-8", "replace").partition("Stack trace")[0]
        raise Refused("malformed", f"XGBoost does not load the model: {told.strip()[:200]}")


def _told_features(library: ctypes.CDLL, handle: ctypes.c_void_p, field: bytes) -> list[str]:
    """Names or types of the features; empty where the model keeps none."""
    count, texts = ctypes.c_uint64(), ctypes.POINTER(ctypes.c_char_p)()
    _called(library, library.XGBoosterGetStrFeatureInfo(handle, field, ctypes.byref(count), ctypes.byref(texts)))
    if count.value > MAX_FEATURES:
        raise Refused("malformed", "The model names more features than are let in.")
    return [(texts[index] or b"").decode("utf-8", "replace") for index in range(count.value)]


def _config(library: ctypes.CDLL, handle: ctypes.c_void_p) -> dict[str, dict[str, object]]:
    length, text = ctypes.c_uint64(), ctypes.c_char_p()
    _called(library, library.XGBoosterSaveJsonConfig(handle, ctypes.byref(length), ctypes.byref(text)))
    learner: dict[str, dict[str, object]] = json.loads(text.value or b"{}").get("learner", {})
    return learner


def _score(library: ctypes.CDLL, handle: ctypes.c_void_p, categorical: list[bool]) -> int:
    """Score the probes, categories at their first code; answers the number of outputs of a row."""
    rows = [[0.0 if coded else probe for coded in categorical] for probe in PROBES]
    values = (ctypes.c_float * (len(rows) * len(categorical)))(*[value for row in rows for value in row])
    interface = {"data": [ctypes.addressof(values), True], "shape": [len(rows), len(categorical)], "typestr": "<f4", "version": 3}
    asked = {"type": MARGIN, "training": False, "iteration_begin": 0, "iteration_end": 0, "missing": float("nan"), "strict_shape": True}
    shape, dimensions, result = ctypes.POINTER(ctypes.c_uint64)(), ctypes.c_uint64(), ctypes.POINTER(ctypes.c_float)()
    _called(
        library,
        library.XGBoosterPredictFromDense(
            handle, json.dumps(interface).encode(), json.dumps(asked).encode(), None,
            ctypes.byref(shape), ctypes.byref(dimensions), ctypes.byref(result),
        ),
    )  # fmt: skip
    total = 1
    for index in range(dimensions.value):
        total *= shape[index]
    if not total or total % len(rows) or not all(abs(result[index]) < float("inf") for index in range(total)):
        raise Refused("not_finite", "The model's answers are not finite numbers.")
    return total // len(rows)
