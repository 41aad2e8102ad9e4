# Runs inside the guest's Python, started as `python -I -S -X utf8 -c THIS [MODULE,...
# [CODE]]`. It gets all ready, imports the modules named, runs the code for practice, and then reads its job in front of the standard input, which is otherwise the
# program's own. That first read is where a warm interpreter is forked (docs/architecture.md): what is done
# before it is done once, what comes after it is done for each job.
#
# The job: the length of it all, then fields of 4 bytes length and the bytes: "a" if an answer is wanted, and
# "s" in a session; file name for tracebacks, source, number of sys.argv's elements, these, NAME=VALUE of the
# environment. The answer is written to the standard input: JSON with what the last expression's value is, and
# pictures. Reading on after an answer ends a session's turn, and what comes is the next job.
def _polyagent_boot():
    import _ast
    import _sitebuiltins  # what `site` would give, without its 10 ms
    import atexit
    import builtins
    import os
    import sys

    standard = []
    builtins.exit = _sitebuiltins.Quitter("exit", "Ctrl-D (i.e. EOF)")
    builtins.quit = _sitebuiltins.Quitter("quit", "Ctrl-D (i.e. EOF)")
    builtins.help = _sitebuiltins._Helper()
    # What is written is with the host at once, even if the run is stopped before the program ends; pieces of lines are put
    # together there.
    for name in ("stdout", "stderr"):
        buffered = getattr(sys, name)
        stream = type(buffered)(buffered.buffer.raw, buffered.encoding, buffered.errors, write_through=True)
        stream.mode = "w"
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
        standard.append(buffered)  # which would close the descriptor with its end
    environment = os.environ
    wheels = "/usr/local/lib/wheels"  # of a profile that has some
    if os.path.isdir(wheels):
        sys.path += [f"{wheels}/{name}" for name in sorted(os.listdir(wheels))]

    class Finder:
        """Lets some modules load as ever, the moment that somebody needs them, and adds what they lack."""

        @staticmethod
        def find_spec(fullname, path=None, target=None):
            complete = additions.pop(fullname, None)
            if complete is None:
                return None
            if not additions:
                sys.meta_path.remove(Finder)
            from importlib.util import find_spec

            spec = find_spec(fullname)
            loader, load = spec.loader, spec.loader.exec_module

            class Loader:
                create_module = staticmethod(loader.create_module)

                @staticmethod
                def exec_module(module):
                    load(module)
                    complete(module)

                def __getattr__(self, attribute):
                    return getattr(loader, attribute)

            spec.loader = Loader()
            return spec

    sources = {}

    def remember_sources(linecache):
        # Names like "<code>" have no file: without this, tracebacks have no source lines.
        for name, source in sources.items():
            text = source.decode("utf-8", "replace")
            linecache.cache[name] = (len(text), None, text.splitlines(True), name)

    def give_event_loop(asyncio):
        # The loops of `asyncio` wait for sockets, and wake themselves by one. Here are none to wait for.
        class Timers:
            def select(self, timeout):
                if timeout is None:
                    raise RuntimeError("asyncio: all tasks wait, and nothing is left that could wake them")
                if timeout > 0:
                    import time

                    time.sleep(timeout)
                return []

        class EventLoop(asyncio.BaseEventLoop):
            def __init__(self):
                super().__init__()
                self._selector = Timers()

            def _process_events(self, events):
                pass

            def _write_to_self(self):
                pass

        asyncio.EventLoop = asyncio.SelectorEventLoop = EventLoop
        policy = getattr(asyncio.unix_events, "_DefaultEventLoopPolicy", None) or getattr(
            asyncio, "DefaultEventLoopPolicy", None
        )
        if policy is not None:
            policy._loop_factory = EventLoop

    def refuse_sockets(socket):
        def refuse(*args, **options):
            raise PermissionError(errno.EPERM, "this sandbox has no network")

        import errno

        for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr", "getnameinfo", "socketpair"):
            setattr(socket, name, refuse)
            if not hasattr(socket._socket, name):
                setattr(socket._socket, name, refuse)
        socket.create_connection = socket.create_server = socket.socket.__init__ = refuse

    def refuse_threads(threading):
        def refuse(*args, **options):
            raise RuntimeError("can't start new thread: this sandbox has a single one")

        for name in ("_start_new_thread", "_start_joinable_thread"):
            if hasattr(threading, name):
                setattr(threading, name, refuse)

    def show_nothing(pyplot):
        pyplot.show = lambda *args, **options: None  # the figures that are left open come with the answer

    additions = {
        "asyncio": give_event_loop,
        "matplotlib.pyplot": show_nothing,
        "linecache": remember_sources,
        "socket": refuse_sockets,
        "threading": refuse_threads,
    }

    def reseed():
        # Forked copies of one generator would all give the same numbers. An exception ends the run
        # before its first line: no numbers are better than those of somebody else's run.
        random = sys.modules.get("random")
        if random is not None:
            random.seed()
        numpy = sys.modules.get("numpy")
        if numpy is not None:
            try:
                numpy.random.seed(int.from_bytes(os.urandom(4), "little"))
            except OSError:  # random numbers are denied: as `random` does then
                import time

                numpy.random.seed(time.time_ns() & 0xFFFFFFFF)

    def plug_holes():
        """What a job allocates is to lie side by side at the end of the heap, not in holes all over it: a
        fork copies each page that it writes to. The end is where something large goes. Returns what must
        be kept."""
        end = id(bytes(1 << 20))
        plugs = []
        for size in (*range(65536, 1024, -1024), *range(1024, 0, -8), 1):
            while len(plugs) < 100000:
                plug = bytes(size)
                if id(plug) >= end:
                    break
                plugs.append(plug)
        return plugs

    def read(size):
        data = os.read(0, size)
        while len(data) < size:
            part = os.read(0, size - len(data))
            if not part:
                raise EOFError("polyagent: the program is cut short")
            data += part
        return data

    def unpack(data):
        fields, at = [], 0
        while at < len(data):
            start = at + 4
            at = start + int.from_bytes(data[at:start], "little")
            fields.append(data[start:at])
        return fields

    def enter(directory):
        try:
            os.chdir(directory)
        except OSError:
            pass  # the variable was meant for the program alone

    def practise():
        """Code that has run often enough is specialised: the interpreter writes no more counters into it."""
        for _ in range(40):
            reseed()
            unpack(b"\4\0\0\0text" * 4)
            evaluate(b"None", "<code>", {})

    def evaluate(source, name, scope):
        """Runs a program; what its last statement comes to, if that is an expression."""
        tree = compile(source, name, "exec", _ast.PyCF_ONLY_AST, dont_inherit=True)
        last = tree.body[-1] if tree.body else None
        if type(last) is not _ast.Expr:
            exec(compile(tree, name, "exec", dont_inherit=True), scope)
            return None
        del tree.body[-1]
        exec(compile(tree, name, "exec", dont_inherit=True), scope)
        return eval(compile(_ast.Expression(last.value), name, "eval", dont_inherit=True), scope)

    def artifact(name, mime, data):
        import binascii

        text = binascii.b2a_base64(data, newline=False).decode()
        return {"name": name, "mime": mime, "bytes_base64": text}

    def figures():
        """Those of matplotlib that the program has left open, as it would see them in a notebook."""
        pyplot = sys.modules.get("matplotlib.pyplot")
        if pyplot is None:
            return []
        import io

        found = []
        for number in pyplot.get_fignums():
            data = io.BytesIO()
            pyplot.figure(number).savefig(data, format="png")
            found.append(artifact(f"figure-{number}.png", "image/png", data.getvalue()))
        pyplot.close("all")
        return found

    def describe(value):
        """The answer's part about a value: repr(), and HTML where it has some (pandas)."""
        text = repr(value)
        if len(text) > 65536:
            text = f"{text[:65536]}... ({len(text)} characters)"
        html = getattr(type(value), "_repr_html_", None)
        shown = html(value) if html is not None else None
        found = [artifact("result.html", "text/html", shown.encode())] if isinstance(shown, str) else []
        return text, found

    def answer(status, value):
        """What the job has come to, as JSON; nothing where there is nothing to say."""
        pictures = figures()
        text = None
        if value is not None:
            text, more = describe(value)
            pictures += more
        if text is None and not pictures:
            return b'{"exit_code":%d}' % status if session else b""
        import json

        fields = {"exit_code": status, "result": text, "artifacts": pictures}
        if text is None:
            del fields["result"]
        return json.dumps(fields).encode()

    def send(data):
        while data:
            data = data[os.write(0, data) :]

    def exit_status(stop):
        if stop.code is None:
            return 0
        if isinstance(stop.code, int):
            return stop.code & 0xFF
        print(stop.code, file=sys.stderr)
        return 1

    def report(error):
        # Frames of this file are no business of the program's author.
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code in own:
            trace = trace.tb_next
        error = error.with_traceback(trace)
        if sys.excepthook is sys.__excepthook__:
            import traceback

            traceback.print_exception(error)
        else:
            sys.excepthook(type(error), error, trace)

    def run(name, source, wanted):
        try:
            if wanted:
                return 0, evaluate(source, name, main)
            exec(compile(source, name, "exec", dont_inherit=True), main)
            return 0, None
        except SystemExit as stop:
            return exit_status(stop), None
        except BaseException as error:
            report(error)
            return 1, None

    def finish(status):
        try:
            if "threading" in sys.modules:
                sys.modules["threading"]._shutdown()
            atexit._run_exitfuncs()
        except SystemExit as stop:
            return exit_status(stop)
        return status

    def flush(status):
        for stream in (sys.stdout, sys.stderr):
            try:
                if not stream.closed:
                    stream.flush()
            except Exception:
                status = 120  # as Python itself does when it cannot flush
        return status

    own = {sys._getframe().f_code, evaluate.__code__, run.__code__, describe.__code__, answer.__code__}
    main = sys.modules["__main__"].__dict__
    del main["_polyagent_boot"]
    preload = sys.argv[1:]
    if preload:
        import gc

        for module in preload[0].split(","):
            __import__(module)
        if len(preload) > 1:
            exec(preload[1], {})
        # Nothing that is here now is ever garbage: the collector need not look at it again, and so does
        # not write to memory that all forks share.
        practise()
        gc.collect()
        gc.freeze()
        plugs = plug_holes()  # noqa: F841
    for module in [module for module in additions if module in sys.modules]:
        additions.pop(module)(sys.modules[module])
    sys.meta_path.insert(0, Finder)

    fresh = True
    while True:
        size = int.from_bytes(read(4), "little")  # <- the checkpoint, and the end of a session's turn
        fields = unpack(read(size))
        if fresh:  # the turns of a session go on with their own numbers
            reseed()
            fresh = False
        session, wanted = b"s" in fields[0], b"a" in fields[0]
        name, source, count = fields[1].decode(), fields[2], int(fields[3])
        sys.argv = [field.decode("utf-8", "surrogateescape") for field in fields[4 : 4 + count]]
        for field in fields[4 + count :]:
            key, _, value = field.decode("utf-8", "surrogateescape").partition("=")
            environment[key] = value
            if key == "PWD":
                enter(value)
        sources[name] = source
        if "linecache" in sys.modules:
            remember_sources(sys.modules["linecache"])
        status, value = run(name, source, wanted)
        reply = b""
        if wanted:  # before the program's last words: with those, matplotlib closes all figures
            try:
                reply = answer(status, value)
            except BaseException as error:
                report(error)
                status = 1
        status = flush(status if session else finish(status))
        value = None
        if session or reply:
            try:
                send(reply or b'{"exit_code":%d}' % status)
            except OSError:
                pass  # nobody wants to know
        if not session:
            # Not sys.exit: tearing an interpreter down takes 7 ms and helps nobody.
            os._exit(status)


_polyagent_boot()
