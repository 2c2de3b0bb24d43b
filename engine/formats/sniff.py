"""What a model file is, told from its bytes. An allow-list: whatever is not recognized is refused, whatever its name."""

import re
from typing import Literal

ModelFormat = Literal["lightgbm", "xgboost", "catboost", "onnx", "skops", "forecaster", "tabular"]

HEAD_BYTES = 4 << 20
"""A forecaster's document says its format after its categories, which may be many; every other format shows in its first bytes."""
TAIL_BYTES = 1 << 20
FORECASTER = b'"tiltyard-forecaster/1"'
TABULAR = b'{"format":"tiltyard-tabular/1",'
"""How our own tabular models begin, to the byte: they may hold any text of a user's data further on."""

SAFE_WAYS = "Save the model as LightGBM text, XGBoost UBJSON, CatBoost CBM, ONNX or skops."
# Opcodes that open a pickle of protocol 0 or 1, which has no mark: a global, a mark, an empty container.
OLD_PICKLE = re.compile(rb"(?:c[A-Za-z_][\w.]*\n[\w.]+\n|\((?:dp|lp|c[a-z])|[\]}]q)")
COMPRESSED = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x04\x22\x4d\x18")


class UnsafeArtifact(Exception):
    """The file is not let in. `reason` is a stable code, the text is for the uploader."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


def sniff(head: bytes, tail: bytes) -> ModelFormat:
    """The format of a file given its first HEAD_BYTES and last TAIL_BYTES. Raises UnsafeArtifact for everything not allowed."""
    if not head:
        raise UnsafeArtifact("empty", "The file is empty.")
    _refuse_code_carriers(head, tail)
    if head.startswith(b"tree\n") and b"version=" in head[:64]:
        return "lightgbm"
    if head.startswith(b"CBM1"):
        return "catboost"
    if head.startswith(b"PK\x03\x04") and b"schema.json" in tail:
        return "skops"
    if head.startswith(TABULAR):
        return "tabular"
    if head[:1] == b"{":
        if FORECASTER in head:
            return "forecaster"
        if head[1:2] in (b"L", b"l", b"I", b"i", b"U") and b"learner" in head[:64]:
            return "xgboost"
    if _is_onnx(head):
        return "onnx"
    raise UnsafeArtifact("unknown_format", f"The file is in no format that is let in. {SAFE_WAYS}")


def _refuse_code_carriers(head: bytes, tail: bytes) -> None:
    is_pickle = (head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")) or OLD_PICKLE.match(head)
    if is_pickle:
        raise UnsafeArtifact(
            "pickle_refused", f"The file is a Python pickle (also made by joblib): loading it can run any code. {SAFE_WAYS}"
        )
    if head.startswith(b"PK\x03\x04") and (b".pkl" in tail or b".pickle" in tail or b"/data.pkl" in head[:4096]):
        raise UnsafeArtifact(
            "pickle_refused", f"The archive holds a Python pickle (as PyTorch writes): loading it can run any code. {SAFE_WAYS}"
        )
    if head.startswith(b"\x89HDF"):
        raise UnsafeArtifact("unknown_format", f"HDF5 (Keras) models are not let in. {SAFE_WAYS}")
    if head.startswith(COMPRESSED):
        raise UnsafeArtifact("unknown_format", f"The file is compressed (joblib does so), which hides what it is. {SAFE_WAYS}")


def _is_onnx(head: bytes) -> bool:
    """ONNX has no mark; a model starts with field 1 (`ir_version`, a small varint) and goes on with another known field."""
    return len(head) > 3 and head[0] == 0x08 and 3 <= head[1] <= 32 and head[2] in (0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42)
