"""Run as `python -I _table_child.py SPEC` in a fresh process: confine, read a foreign table, write its three parts, print JSON.

Prints one line: {"prepared": …} or {"problems": […]}. Any other end of the process means the file broke it. The parts go to inherited
descriptors; the size of each is bounded by RLIMIT_FSIZE.
"""

import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from engine.formats._confine import confine, peak_memory  # noqa: E402 - found through the line above


def main(spec: dict[str, Any]) -> dict[str, Any]:
    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"  # the others reserve addresses far beyond what they use
    confined = confine(
        memory_bytes=spec["memory_bytes"],
        cpu_seconds=spec["cpu_seconds"],
        file_bytes=spec["output_bytes"],
        open_files=256,
        readable=(spec["source_fd"],),
    )
    # Only now the libraries: even importing them happens inside the fence.
    from engine.frames.problems import FrameError
    from engine.tabular.columns import PARTS
    from engine.tabular.preparing import prepare
    from engine.tabular.sources import TableLimits
    from engine.tabular.splitting import SplitPlan

    try:
        with ExitStack() as streams:
            opened = {part: streams.enter_context(os.fdopen(spec["outputs"][part], "wb", closefd=False)) for part in PARTS}
            plan, limits = SplitPlan.from_json(spec["plan"]), TableLimits(**spec["limits"])
            prepared = prepare(Path(spec["source"]), plan, opened, kind=spec["kind"], limits=limits)
    except FrameError as error:
        return {"problems": [problem.to_json() for problem in error.problems], "confined": confined}
    except MemoryError:
        return {"broken": "memory", "confined": confined}
    return {"prepared": prepared.to_json(), "confined": confined, "peak_memory_bytes": peak_memory()}


if __name__ == "__main__":
    json.dump(main(json.loads(sys.argv[1])), sys.stdout)
    sys.stdout.flush()
    os._exit(0)  # the libraries' threads have nothing left to do, and may hang
