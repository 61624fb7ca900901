"""Runs Python code that comes as lines of JSON, one piece after another, in one
namespace. What the code prints goes to standard output and error as it is; the
end of each piece is told among it, after a mark that is the first argument."""


def main():
    import ast, asyncio, inspect, json, linecache, os, sys, traceback, types

    mark = b"\x1e" + sys.argv[1].encode()
    # The code gets an input of its own, and its children no way to this process.
    requests = os.fdopen(os.dup(0), "rb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    answers = os.dup(1)
    os.environ.setdefault("MPLBACKEND", "Agg")
    own = os.getpid()

    user = types.ModuleType("__main__")
    user.__builtins__ = __builtins__
    sys.modules["__main__"] = user
    sys.argv = [""]
    loop = None

    def run(code, name):
        nonlocal loop
        linecache.cache[name] = (len(code), None, code.splitlines(True), name)
        tree = ast.parse(code, name)
        last = None
        if tree.body and isinstance(tree.body[-1], ast.Expr):
            last = ast.Expression(tree.body.pop().value)
        value = None
        for part, mode in ((tree, "exec"), (last, "eval")):
            if part is None:
                continue
            compiled = compile(part, name, mode, flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            value = eval(compiled, user.__dict__)
            if inspect.CO_COROUTINE & compiled.co_flags:
                loop = loop or asyncio.new_event_loop()
                value = loop.run_until_complete(value)
        if last is not None:
            sys.displayhook(value)

    def fail(error, name):
        tb = error.__traceback__
        while tb is not None and tb.tb_frame.f_code.co_filename != name:
            tb = tb.tb_next
        if tb is None and not isinstance(error, SyntaxError):
            tb = error.__traceback__
        error.__traceback__ = tb
        traceback.print_exception(type(error), error, tb)

    n = 0
    for line in requests:
        request = json.loads(line)
        n += 1
        name = "<cell %d>" % n
        status = 0
        try:
            run(request["code"], name)
        except SystemExit as e:
            status = e.code if isinstance(e.code, int) else 0 if e.code is None else 1
            if status == 1 and not isinstance(e.code, int):
                print(e.code, file=sys.stderr)
        except BaseException as e:
            status = 1
            fail(e, name)
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:
                pass
        if os.getpid() != own:
            os._exit(0)
        answer = mark + json.dumps({"id": request["id"], "exit": status & 255}).encode() + b"\n"
        while answer:
            answer = answer[os.write(answers, answer):]


main()
