#!/usr/bin/env python3
"""generate-proto.py PROTO_DIR OUT_C OUT_H OUT_DESCRIPTORS: C code for the messages of PROTO_DIR (protoc-c) as one file, and the
descriptors that reflection tells, ours under the upstream project's package name as well."""
import pathlib
import subprocess
import sys
import tempfile

source, out_c, out_h, out_d = (pathlib.Path(a).resolve() for a in sys.argv[1:])
generated = out_c.parent / "proto.gen"
generated.mkdir(exist_ok=True)
own = ["agent.proto", "health.proto", "reflection.proto"]
well_known = ["google/protobuf/struct.proto", "google/protobuf/timestamp.proto", "google/protobuf/descriptor.proto"]
subprocess.run(["protoc-c", f"--c_out={generated}", f"-I{source}", "-I/usr/include", *own, *well_known], check=True)

with tempfile.TemporaryDirectory() as folder:
    renamed = pathlib.Path(folder)
    for name in own:
        (renamed / name).write_text((source / name).read_text())
    for name, old, new, copy in (("agent.proto", "polyagent.agent", "shannon.agent", "shannon.proto"),
                                 ("reflection.proto", "grpc.reflection.v1", "grpc.reflection.v1alpha", "reflection_v1alpha.proto")):
        (renamed / copy).write_text((source / name).read_text().replace(f"package {old};", f"package {new};"))
    files = own + ["shannon.proto", "reflection_v1alpha.proto"]
    subprocess.run(["protoc", "--include_imports", f"--descriptor_set_out={renamed}/all", f"-I{renamed}", "-I/usr/include",
                    *files], check=True)
    descriptors = (renamed / "all").read_bytes()

names = [name.replace(".proto", ".pb-c") for name in well_known + own]
out_c.write_text("".join(f'#include "{name}.c"\n' for name in names))
rows = ",\n    ".join(", ".join(map(str, descriptors[at:at + 24])) for at in range(0, len(descriptors), 24))
out_h.write_text("".join(f'#include "{name}.h"\n' for name in names))
out_d.write_text(f"static const unsigned char file_descriptors[] = {{\n    {rows}}};\n")
