"""A supervisor over tiny programs, run as a process of its own: `python standin.py SCENARIO FOLDER`.

Every program writes its pid to `FOLDER/NAME.pid`, and has a child in a session of its own, as pool processes may be.
"""

import sys
from pathlib import Path

from mlops.supervisor import place, supervise
from mlops.supervisor.screen import Screen
from mlops.supervisor.supervise import Program, ProgramFailed, StopRequested, Supervisor

_BODY = """
import os, pathlib, signal, subprocess, sys, time
name, folder = sys.argv[1], pathlib.Path(sys.argv[2])
subprocess.Popen(["sleep", "600"], start_new_session=True)
draft = folder / (name + ".draft"); draft.write_text(str(os.getpid())); draft.rename(folder / (name + ".pid"))
def leave(number, frame):
    with open(folder / "stopped", "a") as file: file.write(name + chr(10))
    sys.exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN if name == "stubborn" else leave)
print("WARNING: " + name + " speaks", flush=True)
while True: time.sleep(60)
"""


def program(name: str, folder: Path, *, stage: int = 0) -> Program:
    return Program(
        name=name, command=(sys.executable, "-c", _BODY, name, str(folder)), stage=stage, stop=((supervise.signal.SIGTERM, 1.0),)
    )


def scenario(name: str, folder: Path) -> list[Program]:
    match name:
        case "steady":
            return [program("first", folder, stage=0), program("second", folder, stage=1)]
        case "stubborn":
            return [program("stubborn", folder)]
        case "broken":
            broken = Program(name="crasher", command=(sys.executable, "-c", "print('the cat ate it'); raise SystemExit(7)"), stage=1)
            return [program("first", folder), broken]
    raise ValueError(name)


def main() -> int:
    wanted, folder = sys.argv[1], Path(sys.argv[2])
    supervise.FIRST_DELAY_S, supervise.LONGEST_DELAY_S = 0.05, 0.2
    try:
        lock = place.lock(folder, patience_s=8)
    except place.Refused as refusal:
        print(refusal)
        return 1
    with Supervisor(env=dict(supervise.os.environ), logs=folder / "logs", screen=Screen(), held=(lock,)) as supervisor:
        try:
            supervisor.start(scenario(wanted, folder))
            (folder / "up").touch()
            supervisor.watch()
        except StopRequested as request:
            print(f"asked by {request}")
            return 0
        except ProgramFailed as failure:
            print(f"failed: {failure}; last words: {failure.tail}")
            return 1
    return 2


if __name__ == "__main__":
    sys.exit(main())
