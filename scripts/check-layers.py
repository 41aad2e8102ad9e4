#!/usr/bin/env python3
"""A lower layer never includes a header of a higher one (docs/architecture.md)."""
import pathlib
import re
import sys

LAYERS = ["base", "compile", "config", "wasi", "sandbox", "worker", "supervisor", "embed", "tools", "server", "helper", "net", "cli", "repl"]
wrong = 0
for path in sorted(pathlib.Path("src").rglob("*.[ch]")):
    own = LAYERS.index(path.parts[1])
    for line, text in enumerate(path.read_text().splitlines(), 1):
        found = re.match(r'#include "(\w+)/', text)
        if found and LAYERS.index(found[1]) > own:
            print(f"{path}:{line}: {path.parts[1]} must not include {found[1]}")
            wrong = 1
sys.exit(wrong)
