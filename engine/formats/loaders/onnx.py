"""ONNX, by ONNX Runtime, after a look at the bytes: no file beside the model, no operator from elsewhere."""

from typing import Any

from engine.formats.loaders.protobuf import Malformed, fields
from engine.formats.loaders.refusal import TAME_PROBES, Refused

STANDARD_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})
MAX_NESTED = 16
# Numbers of the fields in onnx.proto3.
MODEL_GRAPH, MODEL_OPSETS, MODEL_FUNCTIONS = 7, 8, 25
GRAPH_NODES, GRAPH_TENSORS, GRAPH_SPARSE = 1, 5, 15
NODE_ATTRIBUTES, NODE_DOMAIN, FUNCTION_NODES = 5, 7, 7
ATTRIBUTE_MESSAGES = {5: "tensor", 10: "tensor", 6: "graph", 11: "graph", 22: "sparse", 23: "sparse"}
SPARSE_TENSORS = (1, 2)
TENSOR_EXTERNAL, TENSOR_LOCATION = 13, 14


def try_it(data: bytes) -> dict[str, object]:
    """Walk the bytes, load the model, score it. Raises Refused: malformed, untrusted_type, too_nested, not_finite, unsupported_features,
    unsupported_here."""
    try:
        _walk(data)
    except Malformed as error:
        raise Refused("malformed", f"The file is no whole ONNX model: {error}.") from error
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise Refused("unsupported_here", "ONNX Runtime is not installed here.") from error
    except ImportError as error:  # it is there, and its libraries found no room
        raise Refused("memory", "ONNX Runtime does not load within the memory of a trial.") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        names, outputs = _score(session)
    except (Refused, MemoryError, RecursionError):
        raise
    except Exception as error:  # the boundary: the runtime raises classes of its own for whatever a foreign file holds
        raise Refused("malformed", f"ONNX Runtime does not load or score the model: {str(error)[:200]}") from error
    return {
        "format": "onnx",
        "features": names,
        "ranges": {},
        "categories": {},
        "trees": 0,
        "outputs": outputs,
        "objective": str(session.get_modelmeta().producer_name),
    }


def _walk(data: bytes) -> None:
    """Refuse operators of other domains, and tensors that are kept in other files."""
    for number, value in fields(data):
        if number == MODEL_OPSETS:
            _check_domain(b"".join(part for inner, part in fields(value) if inner == 1))
        elif number == MODEL_GRAPH:
            _walk_graph(value, 0)
        elif number == MODEL_FUNCTIONS:
            for inner, node in fields(value):
                if inner == FUNCTION_NODES:
                    _walk_node(node, 0)


def _walk_graph(data: bytes, depth: int) -> None:
    if depth > MAX_NESTED:
        raise Refused("too_nested", f"Graphs are nested more than {MAX_NESTED} deep.")
    for number, value in fields(data):
        if number == GRAPH_NODES:
            _walk_node(value, depth)
        elif number == GRAPH_TENSORS:
            _check_tensor(value)
        elif number == GRAPH_SPARSE:
            _check_sparse(value)


def _walk_node(data: bytes, depth: int) -> None:
    for number, value in fields(data):
        if number == NODE_DOMAIN:
            _check_domain(value)
        elif number == NODE_ATTRIBUTES:
            for inner, message in fields(value):
                kind = ATTRIBUTE_MESSAGES.get(inner)
                if kind == "graph":
                    _walk_graph(message, depth + 1)
                elif kind is not None:
                    (_check_tensor if kind == "tensor" else _check_sparse)(message)


def _check_sparse(data: bytes) -> None:
    for number, value in fields(data):
        if number in SPARSE_TENSORS:
            _check_tensor(value)


def _check_tensor(data: bytes) -> None:
    for number, value in fields(data):
        if number == TENSOR_EXTERNAL or (number == TENSOR_LOCATION and value != b"\x00"):
            raise Refused("untrusted_type", "The model keeps tensors in other files; save it as one file.")


def _check_domain(name: bytes) -> None:
    domain = name.decode("utf-8", "replace")
    if domain not in STANDARD_DOMAINS:
        raise Refused("untrusted_type", f"The model uses operators of {domain[:80]}, which are not let in.")


def _score(session: Any) -> tuple[list[str], int]:
    """Score a few rows. Answers the features (one per column of the one input, or one per input) and the outputs of a row."""
    import numpy

    inputs = session.get_inputs()
    widths = [_width(one) for one in inputs]
    names = [str(one.name) for one in inputs] if len(inputs) > 1 else [f"x{index}" for index in range(widths[0])]
    outputs = 0
    for probe in TAME_PROBES:
        fed = {one.name: numpy.full((1, width), *_value(one.type, probe)) for one, width in zip(inputs, widths, strict=True)}
        answers = session.run(None, fed)
        numbers = [answer for answer in answers if isinstance(answer, numpy.ndarray) and answer.dtype.kind in "fiu"]
        if not all(numpy.isfinite(answer).all() for answer in numbers):
            raise Refused("not_finite", "The model's answers are not finite numbers.")
        outputs = sum(int(answer.size) for answer in numbers)
    return names, outputs


def _width(one: Any) -> int:
    width = one.shape[1] if len(one.shape) == 2 else None
    if not isinstance(width, int) or not 0 < width <= 100_000:
        raise Refused("unsupported_features", f"The input {str(one.name)[:80]} is no table of rows with a known number of columns.")
    return width


def _value(kind: str, probe: float) -> tuple[Any, str]:
    known: dict[str, tuple[Any, str]] = {
        "tensor(float)": (probe, "float32"),
        "tensor(double)": (probe, "float64"),
        "tensor(int64)": (round(probe), "int64"),
        "tensor(int32)": (round(probe), "int32"),
        "tensor(bool)": (bool(probe), "bool"),
        "tensor(string)": ("", "object"),
    }
    if kind not in known:
        raise Refused("unsupported_features", f"The model takes {kind[:80]}; tables of numbers, truth values and texts are let in.")
    return known[kind]
