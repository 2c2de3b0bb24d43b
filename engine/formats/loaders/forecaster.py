"""Our own forecasters' document."""

from engine.formats.loaders import lightgbm
from engine.formats.loaders.refusal import Refused, strict_json, strings

BOOSTER_START = "tree\n"


def try_it(data: bytes) -> dict[str, object]:
    """Our own document: strict JSON; every booster text inside it goes the way of a LightGBM file."""
    document = strict_json(data)
    if not isinstance(document, dict) or document.get("format") != "tiltyard-forecaster/1" or not isinstance(document.get("kind"), str):
        raise Refused("malformed", "The document does not say that it is a tiltyard-forecaster/1 of some kind.")
    texts = [text for text in strings(document) if text.startswith(BOOSTER_START)]
    library = lightgbm.shared_library() if texts else None
    tried = [lightgbm.try_booster(library, text) for text in texts if library is not None]
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
