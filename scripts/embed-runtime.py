#!/usr/bin/env python3
"""embed-runtime.py RUNTIME.wasm OUT.h: the runtime of compiled Python, linked by wasm-ld --emit-relocs, as tables for
src/compile/link.c: each function with its type, its code and the calls in it, so that a program gets only what it reaches.
Formats: WebAssembly 1.0, "Binary Format"; tool-conventions, Linking.md, "Relocation Sections"."""
import sys


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        self.at += count
        return self.data[self.at - count:self.at]

    def leb(self, signed=False):
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value - (1 << shift) if signed and byte & 64 else value

    def name(self):
        return self.take(self.leb()).decode()


def constant(reader):
    assert reader.take(1) == b"\x41", "an initial value that is no i32.const"
    value = reader.leb(signed=True)
    assert reader.take(1) == b"\x0b"
    return value


def main(path, out):
    reader = Reader(open(path, "rb").read())
    assert reader.take(8) == b"\0asm\1\0\0\0"
    types, imports, function_types, exports, bodies, data, relocations, code_index, index = [], [], [], {}, [], [], [], None, 0
    addresses, names = {}, {}
    while reader.at < len(reader.data):
        kind, size = reader.take(1)[0], reader.leb()
        end = reader.at + size
        if kind == 1:
            for _ in range(reader.leb()):
                assert reader.take(1) == b"\x60"
                types.append((list(reader.take(reader.leb())), list(reader.take(reader.leb()))))
        elif kind == 2:
            for _ in range(reader.leb()):
                module, name, what = reader.name(), reader.name(), reader.take(1)[0]
                assert what == 0, f"an import that is no function: {module}.{name}"
                imports.append((module, name, reader.leb()))
        elif kind == 3:
            function_types = [reader.leb() for _ in range(reader.leb())]
        elif kind == 6:
            count = reader.leb()  # the stack pointer, and the addresses that are exported
            assert reader.take(2) == b"\x7f\x01"
            stack = constant(reader)
            for number in range(1, count):
                assert reader.take(2) == b"\x7f\x00"
                addresses[number] = constant(reader)
        elif kind == 7:
            for _ in range(reader.leb()):
                name, what, number = reader.name(), reader.take(1)[0], reader.leb()
                if what == 0:
                    exports[number] = name
                if what == 3:
                    names[number] = name
        elif kind == 9:
            raise SystemExit("the runtime has a table: call nothing through pointers")
        elif kind == 10:
            code_index, section = index, reader.at
            for _ in range(reader.leb()):
                length = reader.leb()
                bodies.append((reader.at - section, reader.take(length)))
        elif kind == 11:
            for _ in range(reader.leb()):
                assert reader.leb() == 0
                address = constant(reader)
                data.append((address, reader.take(reader.leb())))
        elif kind == 0:
            name = reader.name()
            if name == "reloc.CODE":
                assert reader.leb() == code_index
                for _ in range(reader.leb()):
                    what, offset, target = reader.take(1)[0], reader.leb(), reader.leb()
                    if what in (3, 4, 5, 11):  # of memory addresses: with an addend; they are final
                        reader.leb(signed=True)
                    if what == 0:
                        relocations.append(offset)
        reader.at = end
        index += 1
    with open(out, "w") as file:
        write = lambda text: print(text, file=file)
        write("/* Made by scripts/embed-runtime.py. */")
        write(f"enum {{ RUNTIME_IMPORTS = {len(imports)}, RUNTIME_FUNCTIONS = {len(imports) + len(bodies)}, RUNTIME_TYPES = {len(types)} }};")
        places = {names[number]: address for number, address in addresses.items()}
        write(f"enum {{ RUNTIME_STACK = {stack}, RUNTIME_END = {places['__heap_base']}, RUNTIME_BUDGET = {places['budget']}, "
              f"RUNTIME_FAILURE = {places['failure']} }};")
        write("static const struct runtime_type runtime_types[] = {")
        for parameters, results in types:
            write(f'    {{"{"".join(f"{chr(92)}x{p:02x}" for p in parameters)}", {len(parameters)}, {results[0] if results else 0}}},')
        write("};")
        code, calls, rows = bytearray(), [], []
        for module, name, kind in imports:
            rows.append(f'    {{"{module}", "{name}", {kind}, 0, 0, 0, 0}},')
        for number, (offset, body) in enumerate(bodies):
            own = sorted(r - offset for r in relocations if offset <= r < offset + len(body))
            name = exports.get(len(imports) + number)
            name = f'"{name}"' if name else "NULL"
            rows.append(f'    {{NULL, {name}, {function_types[number]}, {len(code)}, {len(body)}, {len(calls)}, {len(own)}}},')
            for at in own:
                target = Reader(body[at:at + 5]).leb()
                calls.append((at, target))
            code += body
        write("static const struct runtime_function runtime_functions[] = {\n" + "\n".join(rows) + "\n};")
        named = sorted((name.encode(), number) for number, name in exports.items() if number >= len(imports))
        write("static const uint32_t runtime_by_name[] = {\n    " + ", ".join(str(number) for _, number in named) + ",\n};")
        write("static const struct runtime_call runtime_calls[] = {\n" + "\n".join(f"    {{{at}, {target}}}," for at, target in calls) + "\n};")

        def array(name, content):
            write(f"static const unsigned char {name}[] = {{")
            for i in range(0, len(content), 24):
                write("    " + ", ".join(str(b) for b in content[i:i + 24]) + ",")
            write("};")

        array("runtime_code", code)
        write("static const struct runtime_data runtime_datas[] = {")
        content = bytearray()
        for address, part in data:
            if part.strip(b"\0"):
                write(f"    {{{address}, {len(content)}, {len(part)}}},")
                content += part
        write("    {0, 0, 0},\n};")
        array("runtime_data_bytes", content)


main(*sys.argv[1:])
