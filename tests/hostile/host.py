"""Looks at the host, as the oracle of the hostile tests: a tree that nobody may touch, and the server's own state."""
import collections
import hashlib
import os
import pathlib
import re
import stat
import time

from server import children


def look(path, reads_show=True):
    """Everything that could tell a touch, found out without one: content, times, inode, links, of each name beneath."""
    found = {}

    def facts(st, content):
        return (st.st_mode, st.st_ino, st.st_nlink, st.st_size, st.st_uid, st.st_gid,
                st.st_atime_ns if reads_show and not stat.S_ISLNK(st.st_mode) else 0, st.st_mtime_ns, st.st_ctime_ns, content)

    def visit(dir_fd, prefix):
        for name in sorted(os.listdir(dir_fd)):
            st = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
            content = ""
            if stat.S_ISREG(st.st_mode):
                fd = os.open(name, os.O_RDONLY | os.O_NOATIME, dir_fd=dir_fd)
                content = hashlib.sha256(os.read(fd, 1 << 20)).hexdigest()
                os.close(fd)
            elif stat.S_ISLNK(st.st_mode):
                content = os.readlink(name, dir_fd=dir_fd)
            elif stat.S_ISDIR(st.st_mode):
                fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOATIME, dir_fd=dir_fd)
                visit(fd, f"{prefix}{name}/")
                os.close(fd)
            found[prefix + name] = facts(st, content)

    top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOATIME)
    try:
        found["."] = facts(os.fstat(top), "")
        visit(top, "")
    finally:
        os.close(top)
    return found


class World:
    """A tree as the guests of paths.c find it: rw is theirs, ro they may read, outside and all else they may not know."""

    SECRET = "SENTINEL of the outside"

    def __init__(self, top):
        self.top = top
        self.rw, self.ro, self.outside = top / "rw", top / "ro", top / "outside"
        for folder in (self.rw, self.ro, self.outside, self.outside / "dir", self.ro / "dir"):
            folder.mkdir()
        self.rw.chmod(0o777)  # without a user namespace, a worker is somebody else
        for folder in (self.outside, self.outside / "dir"):
            (folder / "secret").write_text(self.SECRET)
        for file in (self.ro / "file", self.ro / "dir" / "inner"):
            file.write_text("to be read only")
        os.link(self.outside / "secret", self.outside / "second-name")
        (self.outside / "link").symlink_to("secret")
        for place in (self.rw, self.ro):  # what a guest could not make itself
            (place / "h_abs").symlink_to(self.outside)
            (place / "h_etc").symlink_to("/etc/passwd")
            (place / "h_proc").symlink_to("/proc/self/root")
            (place / "h_slash").symlink_to("../outside/")
            (place / "h_rel").symlink_to("../outside/dir/..")
        long_ago = 1_000_000_000 * 10**9
        for folder in (self.outside, self.ro):  # older than they changed: each read would show
            for path in [folder, *folder.rglob("*")]:
                os.utime(path, ns=(long_ago, long_ago + 10**9), follow_symlinks=False)
        self.before = look(self.outside), look(self.ro, reads_show=False)
        self.top_names = sorted(os.listdir(top))

    @property
    def forbidden(self):
        """Inodes that no guest may meet."""
        found = {str(facts[1]) for facts in self.before[0].values()}
        return found | {str(os.stat(p).st_ino) for p in (self.top, "/", "/etc", "/etc/passwd")}

    def options(self):
        return "--dir", f"{self.rw}::/w:rw", "--dir", f"{self.ro}::/ro"

    def check(self, output=""):
        assert self.SECRET not in output
        seen = [line for line in output.splitlines() if line.startswith("ok ") and line.rsplit(" ", 1)[1] in self.forbidden]
        assert seen == [], seen[:20]
        assert look(self.outside) == self.before[0]
        assert look(self.ro, reads_show=False) == self.before[1]
        assert sorted(os.listdir(self.top)) == self.top_names


def open_files(pid):
    """What a process has open, by kind."""
    found = collections.Counter()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
        except FileNotFoundError:
            continue
        kind, _, number = target.partition(":[")
        if target.endswith(".cwasm"):
            target = "compiled modules"
        elif re.fullmatch(r"/tmp/polyagent-\w+ \(deleted\)", target):
            target = "where a zygote has no mount yet"
        found[kind if number and kind != "anon_inode" else target] += 1
    return found


def standing(server):
    """What of a server no run may change. Compiled modules and the namespaces of slots stay for later runs, as do the
    file of the cache's locks and interpreters that the front has open, once each; so do the
    zygotes and their spare workers, whatever their number: each has a descriptor of its process, and one of its channel."""
    supervisor = open_files(server.pid)
    for kept in ("compiled modules", "where a zygote has no mount yet", "user"):
        supervisor.pop(kept, None)
    processes = supervisor.pop("anon_inode:[pidfd]", 0) - len(children(server.pid))
    channels = supervisor.pop("socket", 0) - len(children(server.pid))
    supervisor.pop("/memfd:report (deleted)", None)
    front = open_files(server.front)
    for found, ending in ((supervisor, "/locks"), (front, ".wasm")):
        for name in [n for n, count in found.items() if n.endswith(ending) and count == 1]:
            del found[name]
    facts = {"open": supervisor, "processes": processes, "channels": channels, "connections": front.pop("socket", 0), "front": front}
    for name, pid in (("supervisor", server.pid), ("front", server.front)):
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        facts[name + " is"] = (pid, os.readlink(f"/proc/{pid}/cwd"), re.search(r"^Umask:\s+(\d+)", status, re.M)[1])
    facts["threads"] = len(os.listdir(f"/proc/{server.pid}/task"))
    return facts


def at_rest(server, seconds=20):
    """What stands when no process is just being started or reaped: twice the same."""
    until, last = time.monotonic() + seconds, standing(server)
    while time.monotonic() < until:
        time.sleep(0.1)
        now = standing(server)
        if now == last and now["processes"] == 0:
            break
        last = now
    return last


def changes(before, after):
    """What differs, but for connections that are gone: they are kept a while for the next caller."""
    return {name: (before[name], now) for name, now in after.items()
            if now != before[name] and not (name in ("channels", "connections") and now < before[name])}


# A run that outlives its deadline by more than a second is a security bug; a machine that is busy with other things is none.
LATE_MS = 10_000


def execute(server, tool, **parameters):
    """The answer of a tool."""
    return server.ask("POST", "/tools/execute", {"tool": tool, "parameters": parameters})[1]


def python(server, code, **parameters):
    return execute(server, "python_wasi_runner", code=code, **parameters)


def without():
    """Layers that are switched off (conftest.py), and those that the kernel gives to nobody without them: landlock(7),
    seccomp(2)."""
    off = [name for name in os.environ.get("POLYAGENT_WITHOUT", "").split(",") if name]
    return off + ["seccomp", "landlock"] if "no_new_privs" in off else off
