"""Promise: whatever a guest calls a file, and however links and directories move meanwhile, nothing outside its mounts is read,
changed or created, and nothing of a read-only mount changes. Cases 1 to 11 of the hostile list; the guest is guest/paths.c.
The oracle looks at the host: content, times, inodes and links of a tree beside the mounts."""
import re

import pytest

pytestmark = pytest.mark.usefixtures("standing")


@pytest.fixture
def attack(server, world, guest):
    """Runs a case of paths.c in the world, and looks at the world."""

    def go(*args, timeout=60):
        done = server.run("run", "--timeout", f"{timeout}s", *world.options(), guest("paths"), "--", *map(str, args),
                          timeout=timeout + 60)
        assert done.returncode == 0, done.err
        world.check(done.out)
        return done.out

    return go


def test_01_dotdot_open(attack):
    out = attack("dotdot")
    assert int(re.search(r"(\d+) paths", out)[1]) >= 900
    assert "ok stat .. " not in out and "ok open ../" not in out


def test_02_abs_open(attack):
    out = attack("absolute")
    assert len(set(re.findall(r"^errno (\d+) /", out, re.M))) == 1, out  # whether or not it is there
    assert "ok " not in out


def test_03_to_06_and_09_links_with_each_end(attack, world):
    out = attack("links")
    assert int(re.search(r"(\d+) paths", out)[1]) >= 700
    assert "absolute link: 63 63" in out  # EPERM
    assert "ok open dang" not in out and not (world.outside / "new").exists()


def together(server, world, guest, *calls):
    """Two runs at once in the same directory; their output."""
    import concurrent.futures

    def go(args):
        return server.run("run", "--timeout", "60s", *world.options(), guest("paths"), "--", *map(str, args), timeout=120)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        ended = list(pool.map(go, calls))
    for done in ended:
        assert done.returncode == 0, done.err
        world.check(done.out)
    return [done.out for done in ended]


def test_07_symlink_swap_race(server, world, guest, slow):
    flipped, looked = together(server, world, guest, ("flip", 120_000 // slow), ("look", 40_000 // slow))
    assert "flipped" in flipped and "looked" in looked


def test_08_rename_dir_race(server, world, guest, slow):
    moved, climbed = together(server, world, guest, ("move", 120_000 // slow), ("climb", 120_000 // slow))
    assert "moved" in moved and "climbed" in climbed


def test_10_ro_trunc(attack):
    assert attack("read_only") == "done\n"


def test_11_rights_shrink(attack):
    facts = dict(line.split() for line in attack("rights").splitlines())
    assert facts.pop("left") == "2"  # FD_READ
    assert {name for name, e in facts.items() if e == "0"} == {"open", "shrink", "dir", "preopen"}
    assert {facts[n] for n in ("write", "grow", "size", "through", "make", "later")} == {"76"}  # ENOTCAPABLE


def test_languages_find_no_way_out_either(server, world):
    """Python's own file functions, on what a program of an agent would try."""
    program = """
import os, shutil, glob
found = []
for base in ('/w/../outside', '/w/h_abs', '/w/h_rel', '/ro/h_slash', '/w/esc', '/outside', '/', '/w/..', '/proc/self/root', '/etc'):
    for act in (os.listdir, os.stat, lambda p: open(p + '/secret').read(), lambda p: os.mkdir(p + '/new'), shutil.rmtree,
                lambda p: shutil.copytree(p, '/w/copy'), lambda p: os.rename(p + '/secret', '/w/stolen'),
                lambda p: os.link(p + '/secret', '/w/stolen'), lambda p: os.utime(p, (0, 0)), lambda p: os.chmod(p, 0o777)):
        try: found.append((base, str(act(base))[:60]))
        except OSError: pass
        try: os.symlink('../outside', '/w/esc')
        except OSError: pass
print(*[f for f in found if 'secret' in f[1] or 'SENTINEL' in f[1] or 'passwd' in f[1]], sep='\\n')
"""
    done = server.python(program, *world.options())
    assert done.returncode == 0, done.err
    assert done.out.strip() == ""
    world.check(done.out)
