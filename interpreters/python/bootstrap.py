# Runs inside the guest's Python, started as `python -I -S -X utf8 -c THIS [MODULE,...]`. It gets all ready,
# imports the modules named, and then reads its job in front of the standard input, which is otherwise the
# program's own. That first read is where a warm interpreter is forked (docs/architecture.md): what is done
# before it is done once, what comes after it is done for each job.
#
# The job: the length of it all, then fields of 4 bytes length and the bytes: file name for tracebacks,
# source, number of sys.argv's elements, these, NAME=VALUE of the environment.
def _polyagent_boot():
    import _sitebuiltins  # what `site` would give, without its 10 ms
    import atexit
    import builtins
    import os
    import sys

    builtins.exit = _sitebuiltins.Quitter("exit", "Ctrl-D (i.e. EOF)")
    builtins.quit = _sitebuiltins.Quitter("quit", "Ctrl-D (i.e. EOF)")
    builtins.help = _sitebuiltins._Helper()
    # A line is visible when it is complete, even if the run is stopped before the program ends.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)
    environment = os.environ

    class LinecacheFinder:
        """Lets `linecache` load as ever, the moment that somebody needs it, and adds the source."""

        @staticmethod
        def find_spec(fullname, path=None, target=None):
            if fullname != "linecache":
                return None
            sys.meta_path.remove(LinecacheFinder)
            from importlib.util import find_spec

            spec = find_spec(fullname)
            load = spec.loader.exec_module

            class Loader:
                create_module = staticmethod(spec.loader.create_module)

                @staticmethod
                def exec_module(module):
                    load(module)
                    remember_source(module)

            spec.loader = Loader
            return spec

    def remember_source(linecache):
        # Names like "<code>" have no file: without this, tracebacks have no source lines.
        text = source.decode("utf-8", "replace")
        linecache.cache[name] = (len(text), None, text.splitlines(True), name)

    def reseed():
        # Forked copies of one generator would all give the same numbers. An exception ends the run
        # before its first line: no numbers are better than those of somebody else's run.
        random = sys.modules.get("random")
        if random is not None:
            random.seed()
        numpy = sys.modules.get("numpy")
        if numpy is not None:
            numpy.random.seed(int.from_bytes(os.urandom(4), "little"))

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
            exec(compile("pass", "<code>", "exec", dont_inherit=True), {})

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
        while trace is not None and trace.tb_frame.f_code is here:
            trace = trace.tb_next
        error = error.with_traceback(trace)
        if sys.excepthook is sys.__excepthook__:
            import traceback

            traceback.print_exception(error)
        else:
            sys.excepthook(type(error), error, trace)

    here = sys._getframe().f_code
    main = sys.modules["__main__"].__dict__
    del main["_polyagent_boot"]
    preload = sys.argv[1:]
    if preload:
        import gc

        for module in preload[0].split(","):
            __import__(module)
        if "linecache" in sys.modules:
            linecache = sys.modules["linecache"]
        else:
            linecache = None
        # Nothing that is here now is ever garbage: the collector need not look at it again, and so does
        # not write to memory that all forks share.
        practise()
        gc.collect()
        gc.freeze()
        plugs = plug_holes()  # noqa: F841
    linecache = sys.modules.get("linecache")
    if linecache is None:
        sys.meta_path.insert(0, LinecacheFinder)

    size = int.from_bytes(read(4), "little")  # <- the checkpoint
    data = read(size)
    reseed()
    fields = unpack(data)
    name, source, count = fields[0].decode(), fields[1], int(fields[2])
    sys.argv = [field.decode("utf-8", "surrogateescape") for field in fields[3 : 3 + count]]
    for field in fields[3 + count :]:
        key, _, value = field.decode("utf-8", "surrogateescape").partition("=")
        environment[key] = value
        if key == "PWD":
            enter(value)
    if linecache is not None:
        remember_source(linecache)
    status = 0
    try:
        exec(compile(source, name, "exec", dont_inherit=True), main)
    except SystemExit as stop:
        status = exit_status(stop)
    except BaseException as error:
        status = 1
        report(error)
    try:
        if "threading" in sys.modules:
            sys.modules["threading"]._shutdown()
        atexit._run_exitfuncs()
    except SystemExit as stop:
        status = exit_status(stop)
    for stream in (sys.stdout, sys.stderr):
        try:
            if not stream.closed:
                stream.flush()
        except Exception:
            status = 120  # as Python itself does when it cannot flush
    # Not sys.exit: tearing an interpreter down takes 7 ms and helps nobody.
    os._exit(status)


_polyagent_boot()
