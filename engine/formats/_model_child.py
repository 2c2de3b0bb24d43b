"""Run as `python -I _model_child.py SPEC` in a fresh process: confine, read the model file, load it, score a few rows, print JSON.

Prints one line: {"facts": …} or {"refused": {"reason", "message"}}. Any other end of the process means the file broke it.
"""

import importlib
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engine.formats._confine import confine, peak_memory
from engine.formats.loaders.refusal import Refused

LOADERS = frozenset({"lightgbm", "xgboost", "catboost", "onnx", "skops", "forecaster", "tabular"})


def main(spec: dict[str, object]) -> dict[str, object]:
    """Facts or refusal of the file whose descriptor the spec names."""
    confined = confine(
        memory_bytes=int(str(spec["memory_bytes"])),
        cpu_seconds=int(str(spec["cpu_seconds"])),
        file_bytes=0,
        open_files=128,
    )
    name = str(spec["format"])
    if name not in LOADERS:
        return {"refused": {"reason": "unknown_format", "message": "Nothing here loads this format."}}
    try:
        data = _read(int(str(spec["fd"])), int(str(spec["max_bytes"])))
        # Only this format's module, and within the fence.
        facts = importlib.import_module(f"engine.formats.loaders.{name}").try_it(data)
    except Refused as refusal:
        return {"refused": {"reason": refusal.reason, "message": refusal.message}}
    except MemoryError:
        return {"refused": {"reason": "memory", "message": "The model needs more memory than a trial may use."}}
    except RecursionError:
        return {"refused": {"reason": "too_nested", "message": "The file is nested too deeply."}}
    return {"facts": {**facts, "bytes": len(data), "peak_memory_bytes": peak_memory(), "confined": confined}}


def _read(fd: int, max_bytes: int) -> bytes:
    """All of the file, by position, so that the parent's own position in it stays."""
    parts, position = [], 0
    while part := os.pread(fd, 1 << 20, position):
        parts.append(part)
        position += len(part)
        if position > max_bytes:
            raise Refused("too_large", f"The file is larger than the {max_bytes >> 20} MB allowed.")
    return b"".join(parts)


if __name__ == "__main__":
    json.dump(main(json.loads(sys.argv[1])), sys.stdout)
    sys.stdout.flush()
    os._exit(0)  # libraries' own tear-down has nothing left to say, and may hang
