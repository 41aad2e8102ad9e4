"""Runs the built program. POLYAGENT_BUILD names the build folder (default: build/main)."""
import json
import os
import pathlib
import re
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[1]
BUILD = ROOT / os.environ.get("POLYAGENT_BUILD", "build/main")
POLYAGENT = BUILD / "src" / "polyagent"
PYTHON_WASM = ROOT / "build" / "interpreters" / "python.wasm"


def run(*args, stdin=b"", timeout=60, hello=False, crashes=False, **more):
    """stdout, stderr and returncode of `polyagent ARGS`, or of `wasi_hello ARGS`."""
    if isinstance(stdin, str):
        stdin = stdin.encode()
    argv = ["wasi_hello" if hello else str(POLYAGENT), *map(str, args)]
    done = subprocess.run(argv, executable=POLYAGENT, input=stdin, capture_output=True,
                          timeout=timeout, **more)
    done.out, done.err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    assert crashes or ("panicked" not in done.err and "Sanitizer" not in done.err), done.err
    return done


def cold_cpu_ms():
    """What a run takes that starts Python itself: beside it, a warm one takes next to nothing, however busy the machine is."""
    return json.loads(run("python", "--local", "--stats=json", "-c", "pass").err)["usage"]["cpu_ms"]


def own_state(folder):
    """A state directory for a test's modules and sessions. The cache's key in it is the user's: with another one, interpreters that
    are compiled already would be compiled again, and once more for whoever comes next."""
    (folder / "state").mkdir(mode=0o700)
    users = pathlib.Path(os.environ.get("XDG_STATE_HOME") or pathlib.Path.home() / ".local/state") / "polyagent/cache.key"
    if users.exists():
        shutil.copy(users, folder / "state")
    return folder / "state"


def seconds_of(text):
    """90, 90s, 1.5m, 1h."""
    number, unit = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text).groups()
    return float(number) * {"": 1, "s": 1, "m": 60, "h": 3600}[unit]
