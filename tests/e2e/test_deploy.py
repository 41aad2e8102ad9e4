"""Promise: the server works as systemd, a container and a cluster start it."""
import http.client
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import pytest
import trustme
import yaml
from program import BUILD, POLYAGENT, ROOT
from server import Server, becomes

sys.path.insert(0, str(ROOT / "clients" / "python"))
from polyagent import Client, Connection, PolyagentError  # noqa: E402

DEPLOY = ROOT / "deploy"


def health(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/ready")
    response = connection.getresponse()
    connection.close()
    return response.status


def test_sockets_and_readiness_as_systemd_has_them(tmp_path):
    listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [s.getsockname()[1] for s in listening]
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(str(tmp_path / "notify"))
    env = {**os.environ, "POLYAGENT_SOCKET": str(tmp_path / "s.sock"), "NOTIFY_SOCKET": str(tmp_path / "notify"), "LISTEN_FDS": "2",
           "LISTEN_FDNAMES": "http:grpc"}

    fds = [s.fileno() for s in listening]
    place = f"exec 50<&{fds[0]} 51<&{fds[1]}; exec 3<&50 4<&51 50<&- 51<&-"  # out of the way, then into place
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(["bash", "-c", f"{place}; LISTEN_PID=$$ exec {POLYAGENT} serve --http 127.0.0.1:1 --grpc 127.0.0.1:1"],
                                   env=env, pass_fds=fds, stderr=log)
    notify.settimeout(60)
    assert b"READY=1" in notify.recv(1000)
    assert health(ports[0]) == 200
    with Client(f"127.0.0.1:{ports[1]}") as client:
        assert client.run_python("print(1)").stdout == "1\n"
    process.terminate()
    assert process.wait(60) == 0 and b"STOPPING=1" in notify.recv(1000)
    for s in (*listening, notify):
        s.close()


def test_sockets_from_systemd_with_tls(tmp_path):
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    certificate.private_key_pem.write_to_path(tmp_path / "key")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert")
    listening = socket.create_server(("127.0.0.1", 0))
    env = {**os.environ, "POLYAGENT_SOCKET": str(tmp_path / "s.sock"), "POLYAGENT_SESSIONS_DIR": str(tmp_path / "sessions"), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "grpc",
           "POLYAGENT_SERVER_TLS_CERTIFICATE": str(tmp_path / "cert"), "POLYAGENT_SERVER_TLS_KEY": str(tmp_path / "key")}
    place = f"exec 50<&{listening.fileno()}; exec 3<&50 50<&-"
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(["bash", "-c", f"{place}; LISTEN_PID=$$ exec {POLYAGENT} serve --http off"], env=env, pass_fds=[listening.fileno()], stderr=log)
    with Client(Connection(f"localhost:{listening.getsockname()[1]}", root_certificates=authority.cert_pem.bytes())) as client:
        assert becomes(lambda: answers(client), True, 60)
    process.terminate()
    assert process.wait(60) == 0
    listening.close()


def answers(client):
    try:
        return client.run_python("print(1)").stdout == "1\n"
    except PolyagentError:
        return False


def test_units_name_what_there_is():
    unit = (DEPLOY / "systemd" / "polyagent.service").read_text()
    assert "Type=notify" in unit and "polyagent serve --config" in unit
    settings = dict(line.split("=", 1) for line in unit.splitlines() if "=" in line and not line.startswith("#"))
    wanted = {"NoNewPrivileges": "yes", "SystemCallArchitectures": "native", "LockPersonality": "yes", "RestrictSUIDSGID": "yes", "UMask": "0077",
              "ProtectKernelTunables": "yes", "ProtectHostname": "yes", "PrivateDevices": "yes", "StateDirectoryMode": "0700",
              "CacheDirectoryMode": "0700", "RuntimeDirectoryMode": "0700", "ProtectSystem": "strict"}
    assert wanted.items() <= settings.items() and settings["TasksMax"] and settings["MemoryMax"]
    verify = shutil.which("systemd-analyze")
    if verify is not None:
        done = subprocess.run([verify, "verify", "--man=no", *(DEPLOY / "systemd").iterdir()], capture_output=True, text=True)
        assert not [line for line in done.stderr.splitlines() if "polyagent" in line and "not executable" not in line
                    and "Failed to" not in line], done.stderr


def test_compose_has_the_seeds_mount_and_variable():
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["polyagent"]
    assert "./wasm-interpreters:/opt/wasm-interpreters:ro" in service["volumes"]
    assert service["environment"]["PYTHON_WASI_WASM_PATH"].startswith("${PYTHON_WASI_WASM_PATH:-")
    assert "POLYAGENT_LLM_API_KEY" not in service["environment"]  # which docker inspect shows
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"] and "no-new-privileges:true" in service["security_opt"]


def test_manifests_are_restricted_and_probed():
    documents = [d for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")) for d in yaml.safe_load_all(path.read_text())]
    by_kind = {d["kind"]: d for d in documents}
    assert {"Namespace", "ConfigMap", "Deployment", "Service", "NetworkPolicy", "PodDisruptionBudget"} <= set(by_kind)
    assert by_kind["Namespace"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    pod = by_kind["Deployment"]["spec"]["template"]
    container = pod["spec"]["containers"][0]
    # What the restricted pod security standard asks for
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    assert pod["spec"]["automountServiceAccountToken"] is False and container["resources"]["limits"]["memory"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/health" and container["readinessProbe"]["httpGet"]["path"] == "/ready"
    assert "env" not in container  # secrets are files
    volumes = pod["spec"]["volumes"]
    assert all(v["emptyDir"].get("sizeLimit") for v in volumes if "emptyDir" in v) and [v for v in volumes if "secret" in v]
    who = by_kind["NetworkPolicy"]["spec"]["ingress"][0]["from"][0]
    assert who["namespaceSelector"]["matchLabels"] and who["podSelector"]["matchLabels"]  # a pod's label alone is anybody's to give
    ports = {p["name"]: p["containerPort"] for p in container["ports"]}
    service = by_kind["Service"]["spec"]
    assert ports == {"http": 8000, "grpc": 50051} and {p["targetPort"] for p in service["ports"]} == set(ports)
    assert service["selector"].items() <= pod["metadata"]["labels"].items()
    assert pod["spec"]["terminationGracePeriodSeconds"] > 30
    mounts = {m["name"] for m in container["volumeMounts"]}
    assert mounts == {v["name"] for v in pod["spec"]["volumes"]}


def test_the_clusters_settings_are_good(tmp_path):
    documents = [d for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")) for d in yaml.safe_load_all(path.read_text())]
    for text in [next(d for d in documents if d["kind"] == "ConfigMap")["data"]["polyagent.yaml"], (DEPLOY / "container.yaml").read_text()]:
        (tmp_path / "c.yaml").write_text(text)
        done = subprocess.run([POLYAGENT, "serve", "--print-config", "--config", tmp_path / "c.yaml"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="the unit is for root")
def test_the_units_capabilities_are_enough(tmp_path):
    """All layers, the front's user among them, with the unit's bounding set and no new privileges."""
    unit = (DEPLOY / "systemd" / "polyagent.service").read_text()
    names = re.search(r"^CapabilityBoundingSet=(.*)$", unit, re.M)[1].split()
    bound = "-all," + ",".join("+" + name.removeprefix("CAP_").lower() for name in names)
    under = ["setpriv", f"--bounding-set={bound}", "--inh-caps=-all", "--no-new-privs", "--"]
    server = Server(tmp_path, http=True, under=under)
    _, result = server.ask("POST", "/tools/execute", {"tool": "python_wasi_runner", "parameters": {"code": "print(open('f').read())", "files": {"f": "seen"}}})
    assert result["stdout"] == "seen\n"
    assert {"user_namespace", "mount_namespace", "pid_namespace", "net_namespace", "uid", "no_capabilities", "landlock", "seccomp"} <= set(result["isolation"])
    status = (pathlib.Path("/proc") / str(server.front) / "status").read_text()
    assert re.search(r"^Uid:\t1879113728\t", status, re.M)
    assert "asan" in str(BUILD) or re.search(r"^Seccomp:\t2$", status, re.M)  # a sanitizer's front has no filter
    server.stop()


CONTAINER = "wasm,process,pid_namespace,rlimits,no_new_privs,not_dumpable,no_capabilities,uid,landlock,seccomp"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become somebody else")
@pytest.mark.parametrize("layers", ["all", CONTAINER])  # all, and where no user namespace can be had
def test_it_runs_as_nobody_with_nothing_but_its_folders(tmp_path, layers):
    """As in a container: no root, no capabilities, nothing to write to but its own folder and /tmp."""
    home = tempfile.mkdtemp()  # pytest's folders are closed to others
    os.chown(home, 65534, 65534)
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "POLYAGENT_STATE_DIR": f"{home}/state", "POLYAGENT_CACHE_DIR": f"{home}/cache",
           "POLYAGENT_SOCKET": f"{home}/s.sock", "POLYAGENT_WASI_ISOLATION_LAYERS": layers}
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--"]
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen([*command, str(POLYAGENT), "serve", "--http", "127.0.0.1:0", "--grpc", "off"], env=env, stderr=log)
    try:
        until = time.monotonic() + 180  # it compiles Python first
        while "listening" not in (tmp_path / "log").read_text():
            assert process.poll() is None and time.monotonic() < until, (tmp_path / "log").read_text()
            time.sleep(0.1)
        port = int(re.search(r"http://127.0.0.1:(\d+)", (tmp_path / "log").read_text())[1])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", "/tools/execute", json.dumps({"tool": "python_wasi_runner", "parameters": {"code": "print(1)"}}))
        result = json.loads(connection.getresponse().read())
        connection.close()
        assert result["stdout"] == "1\n" and {"seccomp", "landlock", "no_new_privs"} <= set(result["isolation"])
    finally:
        process.terminate()
        code = process.wait(60)
        shutil.rmtree(home)
    assert code == 0
