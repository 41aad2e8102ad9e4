#!/usr/bin/env python3
"""compile-version.py OUTPUT INPUT...: makes a C header with a digest of the inputs, which are the compiler of Python."""
import hashlib
import sys

target, *sources = sys.argv[1:]
digest = hashlib.sha256()
for source in sources:
    with open(source, "rb") as file:
        digest.update(hashlib.sha256(file.read()).digest())
with open(target, "w") as out:
    out.write(f'#define COMPILE_VERSION "{digest.hexdigest()[:16]}"\n')
