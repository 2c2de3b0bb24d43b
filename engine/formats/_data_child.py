"""Run as `python -I _data_child.py SPEC` in a fresh process: confine, read a foreign data file, write the panel, print JSON.

Prints one line: {"report": …}, {"proposal": …} or {"problems": […]}. Any other end of the process means the file broke it.
The panel goes to an inherited descriptor; its size is bounded by RLIMIT_FSIZE.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from engine.formats._confine import confine  # noqa: E402 - found through the line above


def main(spec: dict[str, Any]) -> dict[str, Any]:
    source_fd = spec["source_fd"]
    confined = confine(
        memory_bytes=spec["memory_bytes"],
        cpu_seconds=spec["cpu_seconds"],
        file_bytes=spec["output_bytes"],
        open_files=1_200,
        readable=(source_fd,),
    )
    # Only now the libraries: even importing them happens inside the fence.
    from engine.frames.limits import ReadLimits
    from engine.frames.mapping import Mapping
    from engine.frames.problems import FrameError
    from engine.frames.proposing import propose
    from engine.frames.reading import read_panel
    from engine.frames.storing import write_panel

    limits = ReadLimits.from_json(spec["limits"])
    source = Path(spec["source"])
    try:
        if spec["mapping"] is None:
            return {"proposal": propose(source, limits=limits).to_json(), "confined": confined}
        mapping = Mapping.from_json(spec["mapping"])
        panel, report = read_panel(source, mapping, limits=limits)
        with os.fdopen(spec["output_fd"], "wb", closefd=False) as stream:
            write_panel(panel, mapping, stream)
    except FrameError as error:
        return {"problems": [problem.to_json() for problem in error.problems], "confined": confined}
    except MemoryError:
        return {"broken": "memory", "confined": confined}
    return {"report": report.to_json(), "confined": confined}


if __name__ == "__main__":
    json.dump(main(json.loads(sys.argv[1])), sys.stdout)
    sys.stdout.flush()
    os._exit(0)  # the libraries' threads have nothing left to do, and may hang
