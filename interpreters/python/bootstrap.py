# Runs inside the guest's Python, started as `python -I -S -X utf8 -c THIS`. The host gives the program
# in front of the standard input, which is otherwise the program's own: the length of it all, then
# fields of 4 bytes length and the bytes: file name for tracebacks, source, sys.argv.
def _polyagent_boot():
    import builtins
    import os
    import sys

    def read(size):
        parts = []
        while size > 0:
            parts.append(os.read(0, min(size, 1 << 20)))
            size -= len(parts[-1])
            if not parts[-1]:
                raise EOFError("polyagent: the program is cut short")
        return b"".join(parts)

    data = read(int.from_bytes(read(4), "little"))
    fields, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        fields.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    name, source = fields[0].decode(), fields[1]
    sys.argv = [field.decode("utf-8", "surrogateescape") for field in fields[2:]]

    import _sitebuiltins  # what `site` would give, without its 10 ms

    builtins.exit = _sitebuiltins.Quitter("exit", "Ctrl-D (i.e. EOF)")
    builtins.quit = _sitebuiltins.Quitter("quit", "Ctrl-D (i.e. EOF)")
    builtins.help = _sitebuiltins._Helper()
    # A line is visible when it is complete, even if the run is stopped before the program ends.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)

    def remember_source(linecache):
        # Names like "<code>" have no file: without this, tracebacks have no source lines.
        text = source.decode("utf-8", "replace")
        linecache.cache[name] = (len(text), None, text.splitlines(True), name)

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

    sys.meta_path.insert(0, LinecacheFinder)

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
    status = 0
    try:
        exec(compile(source, name, "exec", dont_inherit=True), main)
    except SystemExit as stop:
        status = exit_status(stop)
    except BaseException as error:
        status = 1
        report(error)
    import atexit

    try:
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
