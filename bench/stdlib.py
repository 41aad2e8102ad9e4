#!/usr/bin/env python3
"""bench/stdlib.py [MODULE]...: the standard library's own tests, those that make sense without network and processes, inside the
sandbox. Needs Debian's libpython3.11-testsuite: tests of 3.11, run by the 3.12 that comes along, so that some fail for
that alone (docs/python.md)."""
import concurrent.futures
import pathlib
import subprocess
import sys
import tempfile

POLYAGENT = pathlib.Path(__file__).resolve().parents[1] / "build" / "polyagent"
SUITE = pathlib.Path("/usr/lib/python3.11")
MODULES = """json dataclasses re unicode decimal fractions math cmath statistics random collections deque defaultdict ordered_dict heapq
bisect itertools functools operator string textwrap difflib enum typing abc types copy pprint reprlib struct array datetime calendar
zlib base64 binascii hashlib hmac csv configparser html htmlparser xml_etree urlparse ipaddress uuid contextlib generators coroutines
iter list dict set tuple range slice int long float complex bool bytes str format fstring exceptions traceback ast compile dis
inspect weakref gc getopt argparse shlex logging io tempfile pathlib glob fnmatch os genericpath posixpath shutil zipfile tarfile gzip
sqlite3 pickle copyreg time zoneinfo locale gettext graphlib sched""".split()
PROGRAM = """
import os, sys, unittest, warnings
sys.path.append("/suite")
warnings.simplefilter("ignore")
suite = unittest.defaultTestLoader.loadTestsFromName("test.test_%s")
result = unittest.TextTestRunner(stream=open(os.environ["TMPDIR"] + "/%s.log", "w")).run(suite)
print("RESULT", result.testsRun, len(result.failures) + len(result.errors), len(result.skipped))
"""


def run(module, temp):
    done = subprocess.run([POLYAGENT, "python", "--local", "--timeout", "120s", "--memory", "1G", "--dir", f"{SUITE}::/suite", "--dir", f"{temp}::/tmp:rw",
                           "--env", "TMPDIR=/tmp", "-c", PROGRAM % (module, module)], capture_output=True, text=True)
    found = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("RESULT")]
    return module, tuple(map(int, found[-1])) if found else (done.stderr.strip().splitlines() or ["nothing"])[-1]


def main():
    if not (SUITE / "test" / "test_json").exists():
        sys.exit("stdlib: install libpython3.11-testsuite")
    with tempfile.TemporaryDirectory() as temp, concurrent.futures.ThreadPoolExecutor(2) as pool:
        for module, result in pool.map(lambda m: run(m, temp), sys.argv[1:] or MODULES):
            print(f"{module:16}", f"{result[0]:5} run, {result[1]:4} failed, {result[2]:3} skipped" if isinstance(result, tuple) else result, flush=True)


main()
