"""`python -m mlops.supervisor run|up [--data PATH] [--sundays N]`: everything on this machine, in the foreground, until Ctrl-C."""

import argparse
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlops import broker
from mlops.supervisor import place, programs
from mlops.supervisor.screen import Screen
from mlops.supervisor.supervise import Program, ProgramFailed, StopRequested, Supervisor

READY_S = 60.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Start everything and stay; the exit code is 0 after a stop that was asked for, 1 after a failure."""
    parser = argparse.ArgumentParser(prog="python -m mlops.supervisor", description=__doc__)
    parser.add_argument("mode", choices=("run", "up"), help="run: with the demo or your data; up: as the database is")
    parser.add_argument("--data", type=Path, help="a CSV or Parquet file, or a folder of them, in place of the demo's data (run)")
    parser.add_argument("--sundays", default="", help="weeks of that data to live through, with a retraining every simulated Sunday (run)")
    options = parser.parse_args(arguments)
    screen = Screen()
    try:
        return _run(mode=options.mode, data=options.data, sundays=options.sundays, screen=screen)
    except place.Refused as refusal:
        screen.fail(str(refusal))
    except ProgramFailed as failure:
        screen.fail(f"{failure}. Everything is stopped.")
        for line in failure.tail:
            screen.note(f"    {line}")
        if failure.log is not None:
            screen.note(f"The whole log: {failure.log}")
    return 1


def _run(*, mode: str, data: Path | None, sundays: str, screen: Screen) -> int:
    host, port = os.environ.get("HOST") or "127.0.0.1", os.environ.get("PORT") or "8000"
    var_dir = Path(os.environ.get("VAR_DIR") or programs.ROOT / "var").resolve()
    if data is not None and not data.exists():
        raise place.Refused(f"DATA={data}: there is no such file or folder.")
    if sundays and not re.fullmatch(r"[0-9]{1,3}", sundays):
        raise place.Refused(f"SUNDAYS={sundays}: must be a whole number of weeks, such as SUNDAYS=6; 0 is none.")
    os.umask(0o077)  # database, logs and models are this user's alone, whatever writes them
    place.check_address(host, port)
    place.open_state_folder(var_dir)
    lock = place.lock(var_dir)
    address = f"http://{_spelled(host)}:{port}"
    place.keep_address(var_dir, address)
    env = _environment(host=host, port=port, var_dir=var_dir)
    with Supervisor(env=env, logs=var_dir / "logs", screen=screen, held=(lock,), cwd=programs.ROOT) as supervisor:
        try:
            _start_broker(supervisor, var_dir=var_dir, screen=screen)
            _prepare(supervisor, screen=screen)
            if mode == "run":
                _seed(supervisor, data=data, sundays=sundays)
            with screen.waiting("starting web, workers, beat and relay"):
                supervisor.start(programs.tiltyard(host=host, port=port))
                if not supervisor.wait(lambda: _workers_alive(host, port), within_s=READY_S):
                    screen.warn(f"Not every queue has a worker after {READY_S:.0f} s; see {var_dir / 'logs'}.")
            screen.address(f"{address}/", logs=_short(var_dir / "logs"))
            supervisor.watch()
        except StopRequested as request:
            screen.note(f"\n{request}: stopping everything (once more to kill it)")
    screen.note("Everything is stopped.")
    return 0


def _environment(*, host: str, port: str, var_dir: Path) -> Mapping[str, str]:
    return {
        **os.environ,
        "HOST": host,
        "PORT": port,
        "VAR_DIR": str(var_dir),
        "SECRET_KEY": os.environ.get("SECRET_KEY") or place.secret_key(var_dir),
        "BROKER_URL": os.environ.get("BROKER_URL") or broker.default_broker_url(var_dir),
        "PYTHONUNBUFFERED": "1",
    }


def _start_broker(supervisor: Supervisor, *, var_dir: Path, screen: Screen) -> None:
    if os.environ.get("BROKER_URL"):
        return
    try:
        broker.prepare(var_dir)
    except broker.UnsafeSocketFolder as problem:
        raise place.Refused(f"{problem}. Remove it, or set VAR_DIR to a folder with a shorter path.") from problem
    program = programs.embedded_broker(var_dir)
    if program is None:
        screen.warn("No Valkey or Redis server for this machine: messages go through files, which is slower. See BROKER_URL.")
    else:
        supervisor.start([program], within_s=30)


def _prepare(supervisor: Supervisor, *, screen: Screen) -> None:
    began = time.monotonic()
    with screen.waiting("bringing the database up to date"):
        supervisor.step(Program(name="migrate", command=programs.manage("migrate", "--no-input")))
        # Pages take their styles and scripts from one folder.
        supervisor.step(Program(name="static", command=programs.manage("collectstatic", "--no-input")))
    screen.done("database", "up to date", seconds=time.monotonic() - began)


def _seed(supervisor: Supervisor, *, data: Path | None, sundays: str) -> None:
    chosen = [] if data is None else ["--data", str(data.resolve())]
    chosen += ["--sundays", sundays] if sundays else []
    supervisor.step(Program(name="seed", command=programs.manage("seed_demo", *chosen), to_terminal=True))


def _workers_alive(host: str, port: str) -> bool:
    answer = programs.get_json(programs.reachable_host(host), port, "/ready")
    return answer is not None and answer.get("workers") == "alive"


def _spelled(host: str) -> str:
    host = programs.reachable_host(host)
    return f"[{host}]" if ":" in host else host


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


if __name__ == "__main__":
    sys.exit(main())
