"""Formats are told by content; whatever may carry code is refused by name."""

import io
import json
import pickle
import zipfile
import zlib

import pytest

from engine.formats.sniff import HEAD_BYTES, TAIL_BYTES, UnsafeArtifact, sniff
from tests.engine.formats.samples import model_text


def sniffed(data: bytes) -> str:
    return sniff(data[:HEAD_BYTES], data[-TAIL_BYTES:])


def archive(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for name in names:
            packed.writestr(name, "x")
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "format_"),
    [
        (model_text().encode(), "lightgbm"),
        (b"{L\x00\x00\x00\x00\x00\x00\x00\x07learner{", "xgboost"),
        (b"CBM1\x10\x00\x00\x00", "catboost"),
        (b"\x08\x09\x12\x08skl2onnx", "onnx"),
        (archive("schema.json"), "skops"),
        (json.dumps({"format": "tiltyard-forecaster/1", "kind": "naive"}).encode(), "forecaster"),
    ],
)
def test_allowed_formats_are_recognized(data: bytes, format_: str) -> None:
    assert sniffed(data) == format_


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        *[(pickle.dumps({"weights": [1.0]}, protocol=protocol), "pickle_refused") for protocol in range(6)],
        (b"cos\nsystem\n(S'true'\ntR.", "pickle_refused"),
        (archive("model/data.pkl", "model/version"), "pickle_refused"),
        (zlib.compress(pickle.dumps([1])), "unknown_format"),
        (b"\x89HDF\r\n\x1a\n", "unknown_format"),
        (archive("weights.npy"), "unknown_format"),
        (b'{"learner": {}}', "unknown_format"),
        (b"#!/bin/sh\n", "unknown_format"),
        (b"", "empty"),
    ],
)
def test_everything_else_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(UnsafeArtifact) as caught:
        sniffed(data)

    assert caught.value.reason == reason
