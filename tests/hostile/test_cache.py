"""Promise: no bytes from the cache are run that the compiler did not put there, whatever happened to the files; and a compiler
that dies leaves nothing that counts. Cases 32 and 33 of the hostile list. Everything here is `polyagent run --local`."""
import concurrent.futures
import os
import pathlib
import random
import shutil
import signal
import stat
import subprocess
import time

import pytest
from conftest import switched_off
from program import POLYAGENT, run

HELLO = pathlib.Path(__file__).parents[2] / "docs/assets/hello-wasi.wat"
EVIL = HELLO.read_text().replace("Hello from WASI!", "Evil from WASI!!")


@pytest.fixture
def cache(tmp_path):
    """A cache with one entry; `run()` runs its module."""

    class Cache:
        folder, state, module = tmp_path / "cache", tmp_path / "state", tmp_path / "hello.wat"
        env = {**os.environ, **switched_off(), "POLYAGENT_CACHE_DIR": str(tmp_path / "cache"), "POLYAGENT_STATE_DIR": str(tmp_path / "state")}

        def run(self, path=None):
            return run("run", "--local", path or self.module, env=self.env)

        @property
        def entries(self):
            return sorted(p for p in self.folder.iterdir() if p.suffix == ".cwasm")

        def replace(self, content, mode=0o444):
            """Puts something else in the entry's place."""
            [entry] = self.entries
            entry.unlink()
            entry.write_bytes(content)
            entry.chmod(mode)

        def holds(self):
            """It runs as before, from an entry that is sound again."""
            done = self.run()
            assert (done.out, done.err) == ("Hello from WASI!\n", ""), done.err
            [entry] = self.entries
            st = os.lstat(entry)
            assert stat.S_ISREG(st.st_mode) and st.st_nlink == 1
            return entry.read_bytes()

    HELLO_TEXT = HELLO.read_text()
    Cache.module.write_text(HELLO_TEXT)
    made = Cache()
    assert made.run().out == "Hello from WASI!\n"
    assert len(made.entries) == 1
    return made


def test_32_cache_poison_by_other_entries(cache, tmp_path):
    [entry] = cache.entries
    good = entry.read_bytes()
    (tmp_path / "evil.wat").write_text(EVIL)
    assert cache.run(tmp_path / "evil.wat").out == "Evil from WASI!!\n"
    [evil] = [p for p in cache.entries if p != entry]
    evil_code = evil.read_bytes()
    evil.unlink()
    for content in (evil_code,  # of another module, with a MAC of its own
                    evil_code[:-120] + good[-120:],  # its code, our trailer
                    good[:-120] + evil_code[-120:],
                    evil_code[:len(evil_code) - 88],  # no trailer at all
                    b"", b"\0" * 100, good + good, good + b"\0"):
        cache.replace(content)
        assert cache.holds() != content
    for mode in (0o644, 0o466, 0o4444):
        cache.replace(good, mode)
        cache.holds()


def test_32_cache_poison_by_bit_flips(cache, slow):
    """A thousand places, each one bit."""
    [entry] = cache.entries
    good, pick = entry.read_bytes(), random.Random(32)
    for _ in range(1000 // slow):
        damaged = bytearray(good)
        bit = pick.randrange(8 * len(good))
        damaged[bit // 8] ^= 1 << bit % 8
        cache.replace(bytes(damaged))
        assert cache.holds() != bytes(damaged)


def test_32_cache_poison_by_truncation(cache, slow):
    [entry] = cache.entries
    good = entry.read_bytes()
    for size in [*range(0, len(good), 997 * slow), *range(len(good) - 100, len(good))]:
        cache.replace(good[:size])
        cache.holds()


def test_32_cache_poison_by_what_is_no_file(cache, tmp_path):
    [entry] = cache.entries
    good = tmp_path / "elsewhere"
    shutil.copy(entry, good)
    entry.unlink(), entry.symlink_to(good)
    cache.holds()
    assert good.exists()
    entry.unlink(), os.mkfifo(entry, 0o444)
    cache.holds()
    entry.unlink(), os.link(good, entry)  # somebody else holds it by another name
    cache.holds()
    if os.geteuid() == 0:
        cache.replace(good.read_bytes())
        os.chown(entry, 65534, 65534)
        cache.holds()
    entry.unlink(), entry.mkdir()  # that is nothing to remove: it runs without
    done = cache.run()
    assert done.returncode in (0, 125) and "Evil" not in done.out
    entry.rmdir()
    assert cache.run().out == "Hello from WASI!\n"


def test_32_another_key_makes_all_entries_strange(cache):
    """Nothing of another key is run; nor is it lost to whoever has that key: two servers may share a cache."""
    key = cache.state / "cache.key"
    [old], first = cache.entries, key.read_bytes()
    content = old.read_bytes()
    key.unlink()
    assert cache.run().out == "Hello from WASI!\n"
    assert len(cache.entries) == 2 and old.read_bytes() == content
    [new] = set(cache.entries) - {old}
    old.rename(new)  # by the other's name it is none, either
    assert cache.run().out == "Hello from WASI!\n" and new.read_bytes() != content
    key.write_bytes(first)
    assert cache.run().out == "Hello from WASI!\n" and old in cache.entries
    key.write_bytes(key.read_bytes()[:-1])
    done = cache.run()
    assert done.returncode == 125 and "cache.key" in done.err


def test_33_cache_crash(cache, tmp_path, slow):
    """kill -9 of the whole command while it compiles, and of its compiler: no entry that is not whole."""
    pick = random.Random(33)
    big = HELLO.read_text().rstrip().removesuffix(")") + "".join(f"(func (result i32) {'(i32.add (i32.const 1) ' * 200}(i32.const 1){')' * 200})" for _ in range(300)) + ")"
    for i in range(60 // slow):
        cache.module.write_text(f"{big}(; {i} ;)")
        with subprocess.Popen([POLYAGENT, "run", "--local", cache.module], env=cache.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as victim:
            time.sleep(pick.uniform(0, 0.25))
            children = pathlib.Path(f"/proc/{victim.pid}/task/{victim.pid}/children").read_text().split() if victim.poll() is None else []
            target = victim.pid if i % 2 or not children else int(children[0])
            try:
                os.kill(target, signal.SIGKILL)
            except ProcessLookupError:
                pass
            out, err = victim.communicate(timeout=60)
            assert b"panicked" not in err
        done = cache.run()
        assert (done.out, done.err) == ("Hello from WASI!\n", ""), done.err
        assert run("cache", "verify", env=cache.env).returncode == 0
    assert len([p for p in cache.folder.iterdir() if p.name.startswith("tmp-")]) <= 60 // slow  # go after an hour


def test_33_two_compilers_of_the_same_module(cache):
    for round in range(5):
        cache.module.write_text(HELLO.read_text() + f"(; {round} ;)")
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            assert {done.out for done in pool.map(lambda _: cache.run(), range(8))} == {"Hello from WASI!\n"}


def test_33_disk_full(cache, tmp_path):
    """Without room for the code, it runs all the same."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small disk")
    small = tmp_path / "small"
    small.mkdir()
    script = f"mount -t tmpfs -o size=8k none {small} && chmod 700 {small} && exec {POLYAGENT} run --local {cache.module}"
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], env={**cache.env, "POLYAGENT_CACHE_DIR": str(small)}, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("Hello from WASI!\n", 0), done
    script = script.replace("size=8k", "ro,mode=700,size=64k")
    done = subprocess.run(["unshare", "-m", "sh", "-c", script.replace("chmod 700", "ls -d")], env={**cache.env, "POLYAGENT_CACHE_DIR": str(small)}, capture_output=True, text=True)
    assert done.stdout.endswith("Hello from WASI!\n"), done
