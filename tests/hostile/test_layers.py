"""Promise: native code in a worker, as an escape from WebAssembly would be, finds every layer in its
way; and each layer does its part when it is the only one. The hostile worker (hostile_worker.c) does
natively what the guest's arguments say."""
import ctypes
import json
import os
import pathlib
import re
import shutil
import socket
import stat
import subprocess

import pytest
from program import BUILD, POLYAGENT, run

HERE = pathlib.Path(__file__).parent
ALL = "all"
# What src/worker/seccomp.c lets a guest's worker call with zeros as arguments, by x86-64 number.
ALLOWED = {
    "read": 0, "write": 1, "close": 3, "fstat": 5, "lseek": 8, "munmap": 11, "sysinfo": 99,
    "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "pread64": 17, "pwrite64": 18, "readv": 19,
    "writev": 20, "sched_yield": 24, "mremap": 25, "madvise": 28, "setitimer": 38, "exit": 60, "fsync": 74,
    "fdatasync": 75, "ftruncate": 77, "sigaltstack": 131, "futex": 202, "getdents64": 217,
    "restart_syscall": 219, "fadvise64": 221, "clock_gettime": 228, "clock_getres": 229,
    "exit_group": 231, "mkdirat": 258, "newfstatat": 262, "unlinkat": 263,
    "renameat": 264, "linkat": 265, "symlinkat": 266, "readlinkat": 267, "ppoll": 271, "utimensat": 280,
    "fallocate": 285, "preadv": 295, "pwritev": 296, "renameat2": 316, "getrandom": 318, "openat2": 437,
}


def attack(*deed, layers=ALL, options=(), timeout="5s"):
    """Output and status of a run whose worker does the deed with just these layers."""
    os.environ.update(POLYAGENT_HELPER=str(BUILD / "tests/hostile/hostile-worker"),
                      POLYAGENT_WASI_ISOLATION_LAYERS=layers,
                      POLYAGENT_WASI_ISOLATION_REQUIRED="none" if layers != ALL else "seccomp")
    try:
        # A system call with whatever is in the registers may well crash: a sanitizer says so, and that is all.
        done = run("run", "--local", "--stats=json", "--timeout", timeout, *options, HERE / "yield.wat",
                   "--", *deed, crashes=deed[0] == "syscall")
    finally:
        for name in ("HELPER", "WASI_ISOLATION_LAYERS", "WASI_ISOLATION_REQUIRED"):
            del os.environ["POLYAGENT_" + name]
    stats = json.loads(done.err.splitlines()[-1])
    done.status = stats["status"]
    done.message = (stats["error"] or {}).get("message", "")
    done.layers = set(stats["isolation"])
    return done


def refused(done):
    return "refused" in done.out or "policy violation" in done.message


def only(*layers):
    return ",".join(("wasm", "process") + layers)


# deed, and the layers that stop it; the last one, alone, must do so, as the others must.
DEEDS = [
    (("open", "/etc/passwd"), ["seccomp,no_new_privs", "landlock,no_new_privs", "user_namespace,mount_namespace"]),
    (("openat2", "/etc/passwd"), ["landlock,no_new_privs", "user_namespace,mount_namespace"]),
    (("fork",), ["seccomp,no_new_privs", "user_namespace,uid,rlimits,no_capabilities"]),
    (("kill", "1"), ["seccomp,no_new_privs", "landlock,no_new_privs", "user_namespace,uid,no_capabilities"]),
    (("code",), ["seccomp,no_new_privs"]),
    (("memory", "2000"), ["rlimits"]),
    (("hostname",), ["seccomp,no_new_privs", "user_namespace", "user_namespace,uid,no_capabilities"]),
    (("setuid",), ["seccomp,no_new_privs", "user_namespace,uid,no_capabilities"]),
]


@pytest.mark.parametrize("deed, guards", DEEDS, ids=lambda v: "-".join(v[:1]) if isinstance(v, tuple) else "")
def test_each_layer_alone_stops_what_it_is_for(deed, guards):
    if os.geteuid() != 0:
        pytest.skip("without any layer the deed is possible for root only")
    if deed == ("memory", "2000") and "asan" in str(BUILD):
        pytest.skip("RLIMIT_DATA would count the sanitizer's shadow")
    bare = attack(*deed, layers=only())
    assert not refused(bare), f"the deed must be possible without layers: {bare.out} {bare.message}"
    for guard in guards:
        done = attack(*deed, layers=only(*guard.split(",")))
        assert set(guard.split(",")) <= done.layers, (guard, done.layers)
        assert refused(done), f"{guard} alone let {deed} through: {done.out}"
    assert refused(attack(*deed))


def test_a_pid_namespace_hides_every_other_process():
    if os.geteuid() != 0:
        pytest.skip("needs root")
    deed = ("kill", str(os.getpid()))  # signal 0: whether it is there
    assert not refused(attack(*deed, layers=only()))
    done = attack(*deed, layers=only("pid_namespace"))
    assert "pid_namespace" in done.layers and "refused (ESRCH)" in done.out


def test_an_ipc_namespace_hides_shared_memory():
    if os.geteuid() != 0:
        pytest.skip("needs root")
    key = 0x50410000 + os.getpid() % 65536
    libc = ctypes.CDLL(None, use_errno=True)
    segment = libc.shmget(key, 4096, 0o1600)  # IPC_CREAT, of this user
    assert segment >= 0
    try:
        assert "shm: 0" in attack("shm", str(key), layers=only()).out
        done = attack("shm", str(key), layers=only("ipc_namespace"))
        assert "ipc_namespace" in done.layers and "refused (ENOENT)" in done.out
    finally:
        libc.shmctl(segment, 0, None)  # IPC_RMID


def test_a_uts_namespace_keeps_the_hosts_name():
    if os.geteuid() != 0:
        pytest.skip("needs root")
    name = os.uname().nodename
    done = attack("rename_host", "mallory", layers=only("uts_namespace"))
    assert "uts_namespace" in done.layers and "rename_host: 0" in done.out  # it thinks so
    assert os.uname().nodename == name


def test_a_cgroup_namespace_hides_where_we_are():
    outside = [line for line in open("/proc/self/cgroup") if not line.endswith(":/\n")]
    if os.geteuid() != 0 or not outside:
        pytest.skip("needs root, in a control group that is not the root")
    assert f"own_group: {len(outside)}" in attack("own_group", layers=only()).out
    assert "own_group: 0" in attack("own_group", layers=only("cgroup_namespace")).out


def test_flags_of_the_process_stand_alone():
    for layer, fact, bare, sealed in (("not_dumpable", "dumpable", "1", "0"), ("no_new_privs", "no_new_privs", "0", "1")):
        assert attack(fact, layers=only()).out.split()[-1] == bare
        assert attack(fact, layers=only(layer)).out.split()[-1] == sealed
    if os.geteuid() == 0:
        assert refused(attack("hostname", layers=only("no_capabilities")))


def test_network_is_cut_by_each_of_three_layers():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        assert "connect: 0" in attack("connect", port, layers=only()).out
        for guard in ("seccomp,no_new_privs", "landlock,no_new_privs", "user_namespace,net_namespace"):
            assert refused(attack("connect", port, layers=only(*guard.split(",")))), guard


def test_a_mount_is_no_way_up(tmp_path):
    (tmp_path / "secret").write_text("x")
    (tmp_path / "inside").mkdir()
    options = ("--dir", f"{tmp_path / 'inside'}::/data")
    assert "climb: 0" in attack("climb", "../secret", layers=only(), options=options).out
    assert refused(attack("climb", "../secret", layers=only("landlock", "no_new_privs"), options=options))
    if os.geteuid() == 0:  # the mount is cloned for the worker: above it there is nothing
        assert refused(attack("climb", "../secret", layers=only("user_namespace", "uid"), options=options))


MAKER = """(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "made")
  (func (export "_start") ;; makes the file in the first mount, to write to; the exit code is the error
    (call $exit (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 4) (i32.const 1)
      (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 16)))))"""


@pytest.mark.parametrize("missing", ["user_namespace", "uid", "mount_namespace"])
def test_a_mount_is_the_guests_whatever_layer_is_missing(missing, tmp_path, monkeypatch):
    """As root, with or without a namespace of users: a worker acts as the owner of what was mounted for it."""
    if os.geteuid() != 0:
        pytest.skip("an ordinary user's workers keep its id")
    (tmp_path / "maker.wat").write_text(MAKER)
    inside = tmp_path / "inside"
    inside.mkdir(mode=0o700)
    os.chown(inside, 10001, 10002)
    names = ["user_namespace", "mount_namespace", "pid_namespace", "net_namespace", "rlimits", "no_new_privs",
             "not_dumpable", "no_capabilities", "uid", "landlock", "seccomp"]
    monkeypatch.setenv("POLYAGENT_WASI_ISOLATION_LAYERS", only(*(n for n in names if n != missing)))
    done = run("run", "--local", "--stats=json", "--dir", f"{inside}::/data:rw", tmp_path / "maker.wat")
    assert done.returncode == 0, done.err
    assert missing not in json.loads(done.err.splitlines()[-1])["isolation"]
    made = (inside / "made").stat()
    assert (made.st_uid, made.st_gid) == (10001, 10002)


def test_what_a_worker_is():
    facts = {name: int(attack(name, layers=only("user_namespace", "pid_namespace", "uid", "no_new_privs",
                                                "not_dumpable", "rlimits", "no_capabilities"))
                       .out.split()[-1]) for name in ("pid", "dumpable", "no_new_privs", "core", "descriptors")}
    assert facts.pop("descriptors") <= 10  # null x3, channel, the job's three, a few of the start
    assert facts == {"pid": 1, "dumpable": 0, "no_new_privs": 1, "core": 0}


def test_each_slot_has_a_user_of_its_own():
    if os.geteuid() != 0:
        pytest.skip("needs root")
    assert int(attack("uid", layers=only("user_namespace", "uid")).out.split()[-1]) == 1
    assert int(attack("uid", layers=only("uid")).out.split()[-1]) >= 1879048192


def test_every_system_call_under_the_filter():
    """0 to 470: what is not on the list kills; clone3 answers ENOSYS, as C libraries need it."""
    number_of = {n: name for name, n in ALLOWED.items()}
    wrong = []
    for n in range(471):
        done = attack("syscall", str(n), timeout="2s")
        killed = "SIGSYS" in done.message
        if n in (335, 336):
            continue  # uretprobe, uprobe: the kernel lets them past any filter; without a probe they do nothing
        if n == 435:
            assert "refused (ENOSYS)" in done.out
        elif killed != (n not in number_of):
            wrong.append((n, number_of.get(n), done.status, done.message, done.out))
    assert wrong == []


def test_arguments_are_filtered():
    assert "SIGSYS" in attack("syscall", "72").message  # fcntl, but F_DUPFD
    assert "SIGSYS" in attack("syscall", "16").message  # ioctl, but not FIONREAD
    assert refused(attack("code"))


@pytest.mark.parametrize("deed", ["open", "socket", "exec", "fork", "kill"])
def test_the_compiler_is_caged(deed, tmp_path, monkeypatch):
    """Native code in the compiler, which looks at strangers' modules, reaches nothing but its descriptors."""
    if "asan" in str(BUILD):
        pytest.skip("a sanitizer's compiler has no filter")
    monkeypatch.setenv("POLYAGENT_HELPER", str(BUILD / "tests/hostile/hostile-worker"))
    monkeypatch.setenv("POLYAGENT_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "m.wat").write_text(f"(;{deed};)(module)")
    done = run("run", "--local", tmp_path / "m.wat")
    assert f"(;{deed};) EPERM" in done.err, done.err


@pytest.mark.parametrize("deed, guards", [
    ("passwd", ["landlock,no_new_privs", "user_namespace,mount_namespace"]), ("status", ["landlock,no_new_privs"]),
    ("write", ["seccomp,no_new_privs", "landlock,no_new_privs"]), ("socket", ["seccomp,no_new_privs"])])
def test_loading_is_sealed(deed, guards, tmp_path, monkeypatch):
    """Compiled code that breaks out as it is loaded (hostile_load.c) finds the layers in force already."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    monkeypatch.setenv("POLYAGENT_HELPER", str(BUILD / "tests/hostile/hostile-worker"))
    monkeypatch.setenv("POLYAGENT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("POLYAGENT_WASI_ISOLATION_REQUIRED", "none")
    (tmp_path / "m.wat").write_text(f'(module (memory (export "memory") 1) (data (i32.const 0) "@load:{deed}\\00") (func (export "_start")))')

    def told(layers):
        monkeypatch.setenv("POLYAGENT_WASI_ISOLATION_LAYERS", layers)
        return run("run", "--local", tmp_path / "m.wat").err

    assert f"{deed}: done" in told(only())
    for guard in [*(only(*g.split(",")) for g in guards), ALL]:
        text = told(guard)
        assert "signal 31" in text or re.search(f"{deed}: E[A-Z]+", text), (guard, text)  # SIGSYS


@pytest.mark.parametrize("deed, text", [("crash", "signal 11"), ("abort", "signal"), ("spin", "Execution timeout")])
def test_native_failures_are_told_and_contained(deed, text):
    done = attack(deed, timeout="500ms")
    told = text in done.message or ("asan" in str(BUILD) and "SIGSYS" in done.message)  # a sanitizer's last words
    assert told and done.returncode in (124, 125), done.message


def test_cpu_time_is_bounded_natively():
    done = attack("spin", options=("--cpu-time", "200ms"))
    assert (done.status, "CPU time" in done.message) == ("TIMEOUT", True)


def test_the_report_cannot_be_truncated_under_the_supervisor():
    assert attack("truncate_report", layers=only()).status == "OK"


def test_nothing_runs_without_a_required_layer(monkeypatch):
    monkeypatch.setenv("POLYAGENT_WASI_ISOLATION_LAYERS", "wasm,process,rlimits")
    done = run("run", "--local", HERE.parents[1] / "docs/assets/hello-wasi.wat")
    assert done.out == "" and done.returncode == 125
    assert "seccomp" in done.err and "required" in done.err
    monkeypatch.setenv("POLYAGENT_WASI_ISOLATION_REQUIRED", "seccomp,unknown")
    done = run("run", "--local", HERE.parents[1] / "docs/assets/hello-wasi.wat")
    assert done.returncode == 125 and "unknown" in done.err


def test_doctor_shows_the_layers(monkeypatch):
    done = run("doctor")
    assert done.returncode == 0 and re.search(r"^seccomp +yes +yes", done.out, re.M)
    monkeypatch.setenv("POLYAGENT_WASI_ISOLATION_LAYERS", "wasm,process")
    done = run("doctor")
    assert done.returncode == 1 and re.search(r"^seccomp +no +MISSING", done.out, re.M)


def test_an_ordinary_user_is_sealed_too(tmp_path):
    """As nobody: the same but for the ids of slots and cgroups."""
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")
    tmp_path.chmod(0o777)
    for parent in list(POLYAGENT.parents) + list(tmp_path.parents):
        if not os.stat(parent).st_mode & 0o001:
            pytest.skip(f"{parent} is closed to others")
    done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", POLYAGENT, "run",
                           "--local", "--stats=json", HERE.parents[1] / "docs/assets/hello-wasi.wat"],
                          env={"POLYAGENT_CACHE_DIR": str(tmp_path / "c"), "POLYAGENT_STATE_DIR": str(tmp_path / "s")},
                          capture_output=True, text=True)
    assert done.stdout == "Hello from WASI!\n", done.stderr
    layers = json.loads(done.stderr)["isolation"]
    assert {"user_namespace", "mount_namespace", "pid_namespace", "net_namespace", "no_capabilities",
            "landlock", "seccomp", "rlimits"} <= set(layers)


def test_in_a_plain_chroot_it_runs_and_says_what_is_lacking(tmp_path):
    """No user or mount namespace can be had there: neither is claimed, and the required layers stand."""
    if os.geteuid() != 0 or "asan" in str(BUILD):
        pytest.skip("needs root, and libraries that are easily copied")
    tmp_path.chmod(0o755)  # as a root is: workers are somebody else
    programs = [POLYAGENT, POLYAGENT.parent / "polyagent-worker"]
    listed = subprocess.run(["ldd", *programs], capture_output=True, text=True).stdout
    for name in {*re.findall(r"(/\S+\.so\S*)", listed)}:
        (tmp_path / name[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(name, tmp_path / name[1:])
    for file in [*programs, HERE.parents[1] / "docs/assets/hello-wasi.wat"]:
        shutil.copy(file, tmp_path)
    for folder in ("tmp", "proc", "dev", "root"):
        (tmp_path / folder).mkdir()
    os.mknod(tmp_path / "dev/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    subprocess.run(["mount", "-t", "proc", "proc", tmp_path / "proc"], check=True)
    try:
        done = subprocess.run(["chroot", tmp_path, "/polyagent", "run", "--local", "--stats=json", "/hello-wasi.wat"],
                              env={**os.environ, "HOME": "/root"}, capture_output=True, text=True)
    finally:
        subprocess.run(["umount", tmp_path / "proc"], check=True)
    assert done.stdout == "Hello from WASI!\n", done.stderr
    layers = set(json.loads(done.stderr.splitlines()[-1])["isolation"])
    assert {"landlock", "seccomp", "rlimits", "no_new_privs"} <= layers and not layers & {"user_namespace", "mount_namespace"}
