"""A tabular model as one JSON document, and back: one file, one digest, nothing that runs when it is read.

The library's own model stands inside (LightGBM text as text, XGBoost UBJSON, CatBoost CBM and skops in base64) with its size and digest.
`load` checks format, fields, their types, sizes and digests before any library sees a byte; a file from outside must still be tried
in a disposable child process first, because not every library is safe against hostile models.
"""

import base64
import binascii
import hashlib
from typing import Any, cast

import orjson

from engine.tabular.algorithms import ALGORITHMS
from engine.tabular.algorithms.protocol import LINKS, Link, Shape
from engine.tabular.columns import TASKS, Task
from engine.tabular.documents import ArtifactError, entries, listed, number, one_of, text, whole
from engine.tabular.limits import MAX_FEATURES, MAX_NAME
from engine.tabular.model import TabularModel
from engine.tabular.postprocessing import Classes, classes_from_json, values_from_json
from engine.tabular.preprocessing import Preprocessor

__all__ = ["FORMAT", "ArtifactError", "dump", "load"]

FORMAT = "tiltyard-tabular/1"
MAX_BYTES = 512 * 1024 * 1024
_MAX_NOTES = 2 * MAX_FEATURES

_TEXT = frozenset({"lightgbm"})
"""Algorithms whose content is UTF-8 text; all others are bytes, in base64."""
_LINKS_OF_TASK: dict[str, tuple[Link, ...]] = {"regression": ("identity", "log"), "classification": ("logit", "softmax", "share")}
_FIELDS = {
    "format", "algorithm", "task", "target", "link", "params", "notes", "importances", "importance_method", "preprocessor", "postprocessor",
    "model",
}  # fmt: skip


def dump(model: TabularModel) -> bytes:
    """The model as bytes. Dumping what was loaded gives the same bytes."""
    document = {
        "format": FORMAT,  # first, where a look at the head of a file finds it
        "algorithm": model.algorithm,
        "task": model.task,
        "target": model.target,
        "link": model.fitted.shape.link,
        "params": dict(model.params),
        "notes": list(model.notes),
        "importances": [[name, share] for name, share in model.importances],
        "importance_method": model.importance_method,
        "preprocessor": model.preprocessor.to_json(),
        "postprocessor": model.postprocessor.to_json(),
        "model": _content_to_json(model.algorithm, model.fitted.content),
    }
    content = orjson.dumps(document)
    if len(content) > MAX_BYTES:
        raise ArtifactError(f"the model takes {len(content)} bytes; at most {MAX_BYTES} are allowed. Fewer or smaller trees help")
    return content


def load(content: bytes) -> TabularModel:
    """The model `dump` wrote. Raises ArtifactError for anything else."""
    document = _document(content)
    algorithm = one_of(document["algorithm"], "algorithm", tuple(ALGORITHMS))
    task = cast("Task", one_of(document["task"], "task", TASKS))
    link = cast("Link", one_of(document["link"], "link", LINKS))
    preprocessor = Preprocessor.from_json(document["preprocessor"])
    postprocessor = (classes_from_json if task == "classification" else values_from_json)(document["postprocessor"])
    classes = len(postprocessor.labels) if isinstance(postprocessor, Classes) else 0
    if link not in _LINKS_OF_TASK[task] or (link == "logit" and classes != 2) or (link == "softmax" and classes < 3):
        raise ArtifactError("link does not fit the task and its classes")
    shape = Shape(len(preprocessor.owners), preprocessor.categorical, classes, link)
    kept = _content_from_json(algorithm, document["model"])
    importances = listed(document["importances"], "importances", _importance, MAX_FEATURES)
    if unknown := {name for name, _ in importances} - {column.name for column in preprocessor.columns}:
        raise ArtifactError(f"importances of unknown features: {sorted(unknown)[:5]}")
    return TabularModel(
        algorithm=algorithm,
        task=task,
        target=_name(document["target"], "target"),
        preprocessor=preprocessor,
        fitted=ALGORITHMS[algorithm].load(kept, shape),
        postprocessor=postprocessor,
        params=_params(document["params"]),
        notes=listed(document["notes"], "notes", text, _MAX_NOTES),
        importances=importances,
        importance_method=text(document["importance_method"], "importance_method")[:40],
    )


def _document(content: bytes) -> dict[str, Any]:
    if len(content) > MAX_BYTES:
        raise ArtifactError(f"larger than {MAX_BYTES} bytes")
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise ArtifactError(f"not a JSON document: {error}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ArtifactError(f"not in the format {FORMAT}")
    return entries(document, "the document", _FIELDS)


def _content_to_json(algorithm: str, content: bytes) -> dict[str, Any]:
    written = content.decode() if algorithm in _TEXT else base64.b64encode(content).decode("ascii")
    return {"content": written, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _content_from_json(algorithm: str, value: object) -> bytes:
    given = entries(value, "model", {"content", "bytes", "sha256"})
    written, size = text(given["content"], "model.content"), whole(given["bytes"], "model.bytes", 1, MAX_BYTES)
    try:
        content = written.encode() if algorithm in _TEXT else base64.b64decode(written.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ArtifactError("model.content is not base64") from error
    if len(content) != size or hashlib.sha256(content).hexdigest() != text(given["sha256"], "model.sha256"):
        raise ArtifactError("model.content does not have the size and digest that are written beside it")
    return content


def _params(value: object) -> dict[str, Any]:
    """Parameters are for people to read; nothing is done with them."""
    if not isinstance(value, dict) or len(value) > 200:
        raise ArtifactError("params must be an object of at most 200 entries")
    for name, one in value.items():
        if one is not None and not isinstance(one, str | bool):
            number(one, f"params.{name[:80]}")
    return value


def _importance(value: object, name: str) -> tuple[str, float]:
    if not isinstance(value, list) or len(value) != 2:
        raise ArtifactError(f"{name} must be a name and a number")
    return _name(value[0], name), number(value[1], name)


def _name(value: object, name: str) -> str:
    found = text(value, name)
    if not 0 < len(found) <= MAX_NAME:
        raise ArtifactError(f"{name} must have 1 to {MAX_NAME} characters")
    return found
