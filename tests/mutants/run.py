#!/usr/bin/env python3
"""run.py [--check] [WORD]: leaves out each security check of checks.py in turn (those whose name has WORD), builds, and expects its
tests to fail. With --check only sees to it that each check stands once where the list says, and in docs/security.md. The copy of the
tree that is changed is build/mutants/tree. Exit code 1: something survived, or the list is out of date."""
import os
import pathlib
import shlex
import shutil
import subprocess
import sys

from checks import CHECKS

ROOT = pathlib.Path(__file__).resolve().parents[2]
TREE = ROOT / "build" / "mutants" / "tree"


def out_of_date():
    listed, wrong = (ROOT / "docs" / "security.md").read_text(), []
    for name, file, there, _, tests in CHECKS:
        count = (ROOT / file).read_text().count(there)
        if count != 1:
            wrong.append(f"{name}: stands {count} times in {file}")
        if name not in listed:
            wrong.append(f"{name}: is not in docs/security.md")
        if not tests:
            wrong.append(f"{name}: has no test")
    return wrong


def sh(command, **more):
    return subprocess.run(command, cwd=TREE, capture_output=True, text=True, errors="replace", **more)


def prepare():
    TREE.mkdir(parents=True, exist_ok=True)
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    for name in filter(None, files):
        source, target = ROOT / name, TREE / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_file() and (not target.exists() or source.read_bytes() != target.read_bytes()):
            shutil.copy(source, target)
    (TREE / "build").mkdir(exist_ok=True)
    for name in ("engine", "interpreters", "venv", "go", "tools"):
        link = TREE / "build" / name
        if not link.is_symlink() and (ROOT / "build" / name).exists():
            link.symlink_to(ROOT / "build" / name)
    if not (TREE / "build/main/build.ninja").exists():
        made = sh(["meson", "setup", "build/main", "."])
        assert made.returncode == 0, made.stdout
        (TREE / "build/main/src/interpreters").symlink_to("../../interpreters")
    made = sh(["ninja", "-C", "build/main"])
    assert made.returncode == 0, made.stdout[-3000:]


def fails(test):
    if test.startswith("tests/"):
        done = sh(["build/venv/bin/pytest", "-q", "-x", "-p", "no:cacheprovider", *shlex.split(test)], timeout=400,
                  env={**os.environ, "POLYAGENT_BUILD": "build/main"})
        return done.returncode not in (0, 5)
    return sh(["meson", "test", "-C", "build/main", "--no-rebuild", test], timeout=400).returncode != 0


def survives(file, there, instead, tests):
    """Why, or None."""
    path = TREE / file
    text = path.read_text()
    path.write_text(text.replace(there, instead))
    try:
        made = sh(["ninja", "-C", "build/main"])
        if made.returncode != 0:
            made = sh(["meson", "configure", "build/main", "-Dwerror=false"]) and sh(["ninja", "-C", "build/main"])
        if made.returncode != 0:
            return "does not build: " + made.stdout[-1500:]
        return None if any(fails(test) for test in tests) else "no test fails"
    finally:
        path.write_text(text)


def main():
    words = [a for a in sys.argv[1:] if not a.startswith("--")]
    wrong = out_of_date()
    for line in wrong:
        print(line)
    if "--check" in sys.argv or wrong:
        sys.exit(1 if wrong else 0)
    prepare()
    survived = []
    chosen = [c for c in CHECKS if all(w in c[0] for w in words)]
    for name, file, there, instead, tests in chosen:
        why = survives(file, there, instead, tests)
        print(f"{'killed  ' if why is None else 'SURVIVED'}  {name}{'' if why is None else ': ' + why}", flush=True)
        if why is not None:
            survived.append(name)
    print(f"{len(chosen) - len(survived)} passed, {len(survived)} failed")
    sys.exit(1 if survived else 0)


main()
