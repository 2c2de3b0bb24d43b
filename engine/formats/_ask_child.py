"""Run as `python -I _ask_child.py SPEC` in a fresh process: confine, load a tabular model or a forecaster, answer one question, print JSON.

Prints one line: {"answer": …}, {"problems": […]} for rows that cannot be read, {"most": …} for more than so many to explain, or
{"refused": …} for a model that is none. Any other end of the process means the model broke it.
"""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engine.formats._confine import confine


def main(spec: dict[str, Any]) -> dict[str, Any]:
    """What the question whose descriptor the spec names is answered by the model whose descriptor it names."""
    confine(memory_bytes=spec["memory_bytes"], cpu_seconds=spec["cpu_seconds"], file_bytes=0, open_files=128)
    # Only now the libraries: even importing them happens inside the fence.
    from engine.forecasting import artifact as forecasters
    from engine.forecasting.importance import told
    from engine.tabular.artifact import ArtifactError, load
    from engine.tabular.asking import Question, ask
    from engine.tabular.problems import PredictError, TooMuchToExplain

    try:
        content = _read(spec["model_fd"])
        if spec["kind"] == "forecaster":
            return {"answer": told(forecasters.load(content))}
        return {"answer": ask(load(content), Question(**json.loads(_read(spec["question_fd"]))))}
    except PredictError as error:
        return {"problems": [asdict(problem) for problem in error.problems]}
    except TooMuchToExplain as error:
        return {"most": error.most}
    except (ArtifactError, forecasters.ArtifactError) as error:
        return {"refused": str(error)}


def _read(fd: int) -> bytes:
    """All of the file, by position: the parent may have read it to its end."""
    parts, position = [], 0
    while part := os.pread(fd, 1 << 20, position):
        parts.append(part)
        position += len(part)
    return b"".join(parts)


if __name__ == "__main__":
    json.dump(main(json.loads(sys.argv[1])), sys.stdout)
    sys.stdout.flush()
    os._exit(0)  # the libraries' threads have nothing left to do, and may hang
