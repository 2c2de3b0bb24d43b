"""LightGBM text, by the shared library alone: importing the package would cost seconds and 200 MB."""

import ctypes
import importlib.util
from pathlib import Path

from engine.formats.loaders.refusal import PROBES, Refused


def try_it(data: bytes) -> dict[str, object]:
    """Raises Refused: malformed, not_finite, unsupported_here."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused("malformed", "The model text is not UTF-8.") from error
    return {"format": "lightgbm", **try_booster(shared_library(), text)}


def shared_library() -> ctypes.CDLL:
    """Raises Refused where LightGBM is not installed."""
    found = importlib.util.find_spec("lightgbm")
    if found is None or found.origin is None:
        raise Refused("unsupported_here", "LightGBM is not installed here.")
    # The package itself is not imported: it would cost seconds and 200 MB. The suffix differs by system.
    libraries = sorted((Path(found.origin).parent / "lib").glob("lib_lightgbm.*"))
    if not libraries:
        raise Refused("unsupported_here", "LightGBM's library is not where it is expected.")
    return ctypes.CDLL(str(libraries[0]))


def try_booster(library: ctypes.CDLL, text: str) -> dict[str, object]:
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
