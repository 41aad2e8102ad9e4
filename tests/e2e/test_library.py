"""Promise: the library installs with a pkg-config file, exports its own names only, and the example
that embeds it builds and runs."""
import os
import subprocess

from program import BUILD, ROOT


def test_the_example_builds_against_the_installed_library_and_runs(tmp_path):
    subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", tmp_path],
                   check=True, stdout=subprocess.DEVNULL)
    (pc,) = tmp_path.rglob("polyagent.pc")
    environment = {**os.environ, "PKG_CONFIG_PATH": str(pc.parent),
                   "PKG_CONFIG_SYSROOT_DIR": str(tmp_path),
                   "POLYAGENT_HELPER": str(BUILD / "src" / "polyagent-worker"),
                   "LD_LIBRARY_PATH": str(pc.parents[1])}
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "polyagent"], env=environment, check=True,
                           capture_output=True, text=True).stdout.split()
    sanitizers = ["-fsanitize=address,undefined"] if "asan" in str(BUILD) else []
    subprocess.run(["cc", *sanitizers, ROOT / "examples" / "embed.c", *flags, "-o", tmp_path / "embed"],
                   check=True, env=environment)
    done = subprocess.run([tmp_path / "embed", ROOT / "docs" / "assets" / "input-reader.wat"],
                          env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("OK, exit code 0, ") and done.stdout.endswith("output:\ninput")


def test_the_shared_library_exports_its_own_names_only():
    names = subprocess.run(["nm", "-D", "--defined-only", BUILD / "src" / "libpolyagent.so"], check=True,
                           capture_output=True, text=True).stdout.split("\n")
    exported = {line.split()[-1].split("@")[0] for line in names if line}
    assert {n for n in exported if not n.startswith("pa_")} <= {"LIBPOLYAGENT_0"}, exported
    assert {"pa_sandbox_new", "pa_run", "pa_result_free"} <= exported
