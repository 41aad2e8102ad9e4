"""Random programs for the compiler: what they print must be what CPython prints. They end, and use nothing that is refused."""
import random

NAMES = ["a", "b", "c", "d", "e"]


class Generator:
    def __init__(self, seed):
        self.random, self.lines, self.depth, self.functions = random.Random(seed), [], 0, []

    def pick(self, *choices):
        return self.random.choice(choices)

    def out(self, text):
        self.lines.append("    " * self.depth + text)

    # Each gives an expression whose value is of that type, whatever its variables hold.
    def integer(self, level=0):
        if level > 3 or self.random.random() < 0.25:
            return self.pick(str(self.random.randrange(-9, 20)), str(self.random.randrange(-10**6, 10**6)), str(self.random.randrange(10**15, 10**25)),
                             *(f"i_{n}" for n in NAMES), f"(2 ** {self.random.randrange(80)})", "0", "1", "-1", str(2**62 - 1), str(-2**62), str(2**31))
        x, y = self.integer(level + 1), self.integer(level + 1)
        return self.pick(
            f"({x} + {y})", f"({x} - {y})", f"({x} * {y})", f"({x} // ({y} or 3))", f"({x} % ({y} or 7))", f"(-({x}))", f"(~({x}))", f"({x} & {y})",
            f"({x} | {y})", f"({x} ^ {y})", f"(({x}) << {self.random.randrange(40)})", f"(({x}) >> {self.random.randrange(70)})", f"abs({x})",
            f"min({x}, {y})", f"max({x}, {y})", f"len({self.string(level + 1)})", f"len({self.items(level + 1)})", f"({x} if {self.condition(level + 1)} else {y})",
            f"(({x}) % 1000) ** {self.random.randrange(6)}", f"int({self.real(level + 1)} % 1000)", f"round({self.real(level + 1)} % 100)", f"sum({self.items(level + 1)})",
            f"divmod({x}, ({y} or 5))[{self.random.randrange(2)}]", f"{self.items(level + 1)}.count({x})", f"int(str({x}))", f"pow({x}, {self.random.randrange(9)}, 97)",
            f"({x}).bit_length()" if "i_" not in x else f"abs({x})")

    def real(self, level=0):
        if level > 3 or self.random.random() < 0.3:
            return self.pick(repr(self.random.uniform(-10, 10)), repr(self.random.uniform(-1e20, 1e20)), repr(self.random.random() * 10.0 ** self.random.randrange(-20, 20)),
                             *(f"f_{n}" for n in NAMES), "0.0", "-0.0", "1.5", "1e16", "0.1")
        x, y = self.real(level + 1), self.real(level + 1)
        return self.pick(f"({x} + {y})", f"({x} - {y})", f"({x} * {y})", f"({x} / ({y} or 2.0))", f"({x} // ({y} or 0.5))", f"({x} % ({y} or 0.25))", f"(-{x})",
                         f"abs({x})", f"({x} + {self.integer(level + 1)} % 1000)", f"float({self.integer(level + 1)} % 10 ** 6)", f"min({x}, {y})", f"max({x}, {y})",
                         f"({self.integer(level + 1)} % 10 ** 9 / (abs({self.integer(level + 1)}) % 50 + 1))", f"math.sqrt(abs({x}))", f"math.floor({x} % 1e6) * 0.5",
                         f"round({x}, {self.random.randrange(-3, 8)})", f"({x} if {self.condition(level + 1)} else {y})", f"math.sin({x} % 10)")

    def string(self, level=0):
        if level > 3 or self.random.random() < 0.3:
            return self.pick(*(repr(s) for s in ("", "a", "hello", "Hello World", "  x y ", "a,b,,c", "ünïcode", "日本", "tab\there", "it's", 'say "x"', "back\\slash", "line\nbreak")),
                             *(f"s_{n}" for n in NAMES))
        x, y = self.string(level + 1), self.string(level + 1)
        i, j = self.random.randrange(-4, 6), self.random.randrange(-4, 8)
        return self.pick(f"({x} + {y})", f"({x} * {self.random.randrange(3)})", f"{x}.upper()", f"{x}.lower()", f"{x}.strip()", f"{x}[{i}:{j}]", f"{x}[::{self.pick(-1, 2, -2)}]",
                         f"{x}.replace({y}, 'z')", f"'-'.join([{x}, {y}])", f"str({self.integer(level + 1)})", f"str({self.real(level + 1)})", f"repr({x})",
                         f"f'{{{self.integer(level + 1)}:{self.pick('', '5', '<8', '>10', '^9', '+', '012', ',', 'x', '#b', '_')}}}'".replace("\\", ""),
                         f"f'{{{self.real(level + 1)}:{self.pick('.2f', '10.3f', '.0f', 'e', '.3e', 'g', '.4g', '+.1f', ',.2f', '%', '08.2f')}}}'", f"str({self.items(level + 1)})",
                         f"{x}.center({self.random.randrange(12)}, '*')", f"{x}.rjust(8)", f"('%s|%d|%.3f' % ({x}, {self.integer(level + 1)}, {self.real(level + 1)} % 1e6))",
                         f"({x} if {self.condition(level + 1)} else {y})", f"{x}.title()" if "日" not in x else x, f"str(sorted({self.items(level + 1)}))",
                         f"str({x}.split({self.pick('', repr(','), repr(' '))}))", f"str({x}.partition('l'))", f"{x}.lstrip('hH ')", f"str(d_{self.pick(*NAMES)})")

    def items(self, level=0):
        """A list of integers."""
        if level > 2 or self.random.random() < 0.3:
            return self.pick("[]", "[3, 1, 2]", f"[{', '.join(self.integer(level + 2) for _ in range(self.random.randrange(1, 5)))}]", *(f"l_{n}" for n in NAMES))
        x = self.items(level + 1)
        return self.pick(f"({x} + {self.items(level + 1)})", f"{x}[{self.random.randrange(-3, 3)}:]", f"{x}[::-1]", f"sorted({x})", f"sorted({x}, reverse=True)",
                         f"[v * 2 for v in {x}]", f"[v for v in {x} if v % 2 == 0]", f"list(range({self.random.randrange(-3, 9)}))", f"({x} * {self.random.randrange(3)})",
                         f"list(range({self.random.randrange(9)}, {self.random.randrange(-9, 3)}, -2))", f"list(reversed({x}))", f"[k + v for k, v in enumerate({x})]",
                         f"[p * q for p, q in zip({x}, {self.items(level + 1)})]", f"sorted({x}, key=lambda v: (v % 3, -v))", f"list(map(abs, {x}))",
                         f"[len(w) for w in {self.string(level + 1)}.split()]", f"list({{v: 1 for v in {x}}})", f"[ord(ch) for ch in {self.string(level + 1)}]")

    def condition(self, level=0):
        if level > 3 or self.random.random() < 0.2:
            return self.pick("True", "False", *(f"(i_{n} > 3)" for n in NAMES), *(f"bool(s_{n})" for n in NAMES))
        sign = self.pick("<", "<=", ">", ">=", "==", "!=")
        kind = self.pick(self.integer, self.real, self.string)
        return self.pick(f"({kind(level + 1)} {sign} {kind(level + 1)})", f"({self.integer(level + 1)} {sign} {self.real(level + 1)})", f"(not {self.condition(level + 1)})",
                         f"({self.condition(level + 1)} and {self.condition(level + 1)})", f"({self.condition(level + 1)} or {self.condition(level + 1)})",
                         f"({self.integer(level + 1)} in {self.items(level + 1)})", f"({self.string(level + 1)} in {self.string(level + 1)})",
                         f"({self.integer(level + 1)} {sign} {self.integer(level + 1)} {self.pick('<', '!=', '>=')} {self.integer(level + 1)})",
                         f"({self.items(level + 1)} {self.pick('==', '<', '!=')} {self.items(level + 1)})", f"{self.string(level + 1)}.startswith({self.string(level + 1)})",
                         f"{self.string(level + 1)}.isalpha()" if self.random.random() < 0.5 else f"any(v > 2 for v in {self.items(level + 1)})")

    def statement(self, level=0):
        name = self.pick(*NAMES)
        deed = self.random.randrange(16)
        if deed < 3:
            self.out(f"i_{name} {self.pick('=', '+=', '-=', '=')} {self.integer()}")
        elif deed == 3:
            self.out(f"f_{name} {self.pick('=', '+=', '*=', '-=')} {self.real()}")
        elif deed == 4:
            self.out(f"s_{name} = ({self.string()})[:200]")
        elif deed == 5:
            self.out(f"l_{name} = ({self.items()})[:20]")
        elif deed == 6:
            self.out(self.pick(f"l_{name}.append({self.integer()})", f"l_{name}.insert({self.random.randrange(-2, 4)}, {self.integer()})", f"l_{name}.reverse()", f"l_{name}.sort()",
                               f"l_{name}.extend({self.items()})", f"d_{name}[{self.pick(self.integer(2), self.string(2))}] = {self.pick(self.integer(1), self.string(1))}",
                               f"d_{name}.pop({self.integer(2)}, None)", f"d_{name} = {{v: str(v) for v in {self.items()}}}"))
        elif deed < 10:
            self.out(f"print({self.pick(self.integer(), self.real(), self.string(), self.items(), self.condition(), f'd_{name}')})")
        elif deed == 10 and level < 2:
            self.out(f"if {self.condition()}:")
            self.block(level)
            if self.random.random() < 0.5:
                self.out("else:")
                self.block(level)
        elif deed == 11 and level < 2:
            self.out(f"for k{level} in {self.pick(f'range({self.random.randrange(6)})', f'range({self.random.randrange(5, 9)}, 0, -{self.random.randrange(1, 4)})', f'l_{name}[:5]')}:")
            self.block(level, f"i_{name} = i_{name} % 1000003 + k{level}")
        elif deed == 12 and level < 2:
            self.out(f"n{level} = {self.random.randrange(5)}")
            self.out(f"while n{level} > 0:")
            self.block(level, f"n{level} -= 1")
        elif deed == 13 and level < 2:
            self.out("try:")
            self.block(level, self.pick(f"i_{name} = {self.integer()} // {self.pick('0', self.integer())}", f"i_{name} = l_{name}[{self.random.randrange(-9, 9)}]",
                                        f"i_{name} = int({self.string()})", f"print(d_{name}[{self.integer()}])", f"l_{name}.remove({self.integer()})"))
            self.out(f"except {self.pick('Exception', '(ZeroDivisionError, ValueError)', 'LookupError')} as x:")
            self.block(level, "print(type(x).__name__, x)")
            self.out("except Exception:")
            self.block(level)
        elif deed == 14 and self.functions:
            function, count = self.pick(*self.functions)
            self.out(f"i_{name} = {function}({', '.join(self.integer(1) for _ in range(count))})")
        elif deed == 15:
            self.out(f"print({self.string()}, {self.integer()}, sep={self.pick(repr('-'), repr(''))}, end={self.pick(repr(';'), repr(chr(10)))})")
        else:
            self.out("pass")

    def block(self, level, extra=None):
        self.depth += 1
        if extra:
            self.out(extra)
        for _ in range(self.random.randrange(1, 3)):
            self.statement(level + 1)
        self.depth -= 1

    def function(self):
        number, count = len(self.functions), self.random.randrange(1, 3)
        parameters = ["p", "q"][:count]
        self.out(f"def g{number}({', '.join(parameters)}):")
        self.depth += 1
        for kind, value in (("i", "p"), ("f", "0.5"), ("s", "'x'"), ("l", "[1, 2]"), ("d", "{}")):
            for name in NAMES:
                self.out(f"{kind}_{name} = {value}")
        outer, self.functions = self.functions, list(self.functions)
        for inner in range(self.random.randrange(3)):
            self.closure(inner)
        for _ in range(3):
            self.statement(1)
        self.out(f"return {self.pick(self.integer(1), 'p', 'i_a')}")
        self.depth -= 1
        self.functions = [*outer, (f"g{number}", count)]

    def closure(self, number):
        """It reads the variables of the function around it, and calls those before it."""
        self.out(f"def h{number}(t, u={self.random.randrange(9)}):")
        self.depth += 1
        self.out(self.pick(f"l_a.append({self.integer(2)})", f"print({self.string(1)}, {self.real(1)})", f"d_b[t % 5] = {self.integer(2)}", "pass"))
        self.out(f"return ({self.integer(1)}) % 1000 + t * u{f' + h{number - 1}(u=3, t=t)' if number else ''}")
        self.depth -= 1
        self.functions.append((f"h{number}", 1))

    def program(self):
        self.out("import math")
        for _ in range(self.random.randrange(3)):
            self.function()
        for i, name in enumerate(NAMES):
            self.out(f"i_{name} = {self.random.randrange(-100, 100)}")
            self.out(f"f_{name} = {i}.5")
            self.out(f"s_{name} = {self.pick('hello', 'x', 'a b')!r}")
            self.out(f"l_{name} = [{i}, {i + 1}, {i + 2}]")
            self.out(f"d_{name} = {{{i}: 'v'}}")
        for _ in range(self.random.randrange(6, 14)):
            self.statement()
        for name in NAMES:
            self.out(f"print(i_{name}, f_{name}, s_{name}, l_{name}, d_{name})")
        return "\n".join(self.lines) + "\n"


def program(seed):
    return Generator(seed).program()
