#!/usr/bin/env python3
"""embed.py INPUT OUTPUT NAME: makes a C header with the text of INPUT as `static const char NAME[]`."""
import sys

source, target, name = sys.argv[1:]
text = open(source, "rb").read()
lines = [", ".join(str(byte - 256 * (byte > 127)) for byte in text[at : at + 24]) for at in range(0, len(text), 24)]
with open(target, "w") as out:
    out.write(f"static const char {name}[] = {{\n    " + ",\n    ".join(lines) + ", 0};\n")
