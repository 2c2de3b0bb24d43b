"""Tiny models in the formats of other libraries, as bytes: trained in place, or written by hand where no library here writes them."""

import struct
from collections.abc import Iterable
from pathlib import Path

NAMES = ("price", "stock", "weekday")


def table() -> tuple[list[list[float]], list[float]]:
    """60 rows of three features and a target that depends on them."""
    rows = [[float(i % 7), float(i % 5), float(i % 3)] for i in range(60)]
    return rows, [2 * row[0] - row[1] + (5.0 if row[2] == 1 else 0.0) for row in rows]


def xgboost_model(*, objective: str = "reg:squarederror") -> bytes:
    import numpy
    import xgboost

    rows, target = table()
    wanted = [float(value > 5) for value in target] if "logistic" in objective else target
    data = xgboost.DMatrix(numpy.array(rows), wanted, feature_names=list(NAMES))
    booster = xgboost.train({"objective": objective, "max_depth": 2, "nthread": 1}, data, num_boost_round=3)
    return bytes(booster.save_raw("ubj"))


def catboost_model(folder: Path, *, categories: bool = False, classes: int = 1) -> bytes:
    from catboost import CatBoostClassifier, CatBoostRegressor, Pool

    rows, target = table()
    shown = [[row[0], row[1], f"day {row[2]:.0f}"] if categories else row for row in rows]
    wanted = [f"class {index % classes}" for index in range(len(target))] if classes > 1 else target
    pool = Pool(shown, wanted, cat_features=[2] if categories else [], feature_names=list(NAMES))
    kind = CatBoostClassifier if classes > 1 else CatBoostRegressor
    model = kind(iterations=3, depth=2, thread_count=1, verbose=False, allow_writing_files=False).fit(pool)
    path = folder / "model.cbm"
    model.save_model(str(path))
    return path.read_bytes()


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def text(field: int, value: str | bytes) -> bytes:
    content = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def message(*parts: bytes) -> bytes:
    return b"".join(parts)


def onnx_input(name: str, *, width: int = 3, kind: int = 1) -> bytes:
    """A ValueInfoProto of rows with so many columns; kind 1 is float."""
    shape = message(text(1, text(2, "rows")), text(1, number(1, width)))
    return message(text(1, name), text(2, text(1, message(number(1, kind), text(2, shape)))))


def onnx_tensor(name: str, values: Iterable[float], *extra: bytes, shape: tuple[int, ...] = (3, 1)) -> bytes:
    data = b"".join(struct.pack("<f", value) for value in values)
    return message(*(number(1, size) for size in shape), number(2, 1), text(8, name), text(9, data), *extra)


def onnx_node(kind: str, inputs: Iterable[str], output: str, *extra: bytes) -> bytes:
    return message(*(text(1, name) for name in inputs), text(2, output), text(4, kind), *extra)


def onnx_model(*, nodes: Iterable[bytes] = (), tensors: Iterable[bytes] = (), inputs: Iterable[bytes] = (), domain: str = "") -> bytes:
    """y = X w, unless other parts are given."""
    graph = message(
        *(text(1, node) for node in (tuple(nodes) or (onnx_node("MatMul", ("X", "w"), "y"),))),
        text(2, "linear"),
        *(text(5, tensor) for tensor in (tuple(tensors) or (onnx_tensor("w", (2.0, -1.0, 0.5)),))),
        *(text(11, one) for one in (tuple(inputs) or (onnx_input("X"),))),
        text(12, onnx_input("y", width=1)),
    )
    return message(number(1, 8), text(2, "by hand"), text(7, graph), text(8, message(text(1, domain), number(2, 13))))
