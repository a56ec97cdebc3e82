"""A child process of an Apium worker that runs the tasks of a Celery app with Celery's own tracer.

The worker is not Python. It fetches messages, orders, limits and acks them, and gives each run of a task to a child
like this one. docs/CHILD-PROTOCOL.md has the frames, and its section "Children in Python" what is said here only by
code. The program needs the standard library and the user's Celery, nothing else.

It is not a file on the machine of the user. The worker starts `python -c STUB`, with the channel as descriptor 0, and
sends this text in the first frame. STUB is stub.py, beside this file:

    import os, socket, sys, types
    c = socket.socket(fileno=os.dup(0)); n = os.open(os.devnull, os.O_RDONLY); os.dup2(n, 0); os.close(n)
    h = c.recv(9, socket.MSG_WAITALL); t, g = int.from_bytes(h[:4], "big"), int.from_bytes(h[5:], "big")
    p = c.recv(t - 5, socket.MSG_WAITALL) if h[4:5] == b"\\r" and t > 5 else b""
    if not p or len(p) != t - 5: os._exit(2)
    m = sys.modules["apium_child"] = types.ModuleType("apium_child")
    exec(compile(p[g:], "apium/child.py", "exec"), m.__dict__)
    m.main(c)

Until `hello` is sent nothing may be imported that takes time, and nothing of the user at all. So Celery is imported
inside of functions. What runs before the version of Python is known keeps to the syntax of old ones.
"""

import collections
import json
import os
import re
import select
import signal
import struct
import sys
import threading
import time
import traceback
import weakref

PROTOCOL = 1
START, HELLO, READY, FAILED, RUN, BEGAN, ENDED, SOFT, CANCEL, STOP, STORE, STORED = range(1, 13)

# The length of the rest, the kind, the length of the head.
HEADER = struct.Struct(">IBI")
LONGEST_FRAME = 1 << 30
BUFFER = 1 << 16

# Bodies above this are written on their own instead of being copied behind their head.
COPIED = 1 << 14

REDIS_BACKEND = "celery.backends.redis.RedisBackend"

OLDEST_PYTHON = (3, 9)
OLDEST_CELERY = (5, 3)

# What timers of tasks use.
TIMER_SIGNALS = {signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGUSR2}

# Exit codes: the channel has ended; the app could not be started.
LOST, NOT_STARTED = 1, 2


# ---------------------------------------------------------------------------------------------------------------------
# The channel


class Channel:
    """The frames to and from the worker.

    There is no thread that reads. Between runs the main thread waits for the next one; while a task runs there is
    nothing to read but the answers to what it stores, and whoever waits for an answer reads. A task may store from
    threads of its own, so one of the waiting reads for all of them.
    """

    def __init__(self, sock):
        self.sock = sock
        # In a process that a task has forked the channel is gone, see `after_fork`.
        self.gone = False
        self.soft = SoftLimit()
        self._main = threading.get_ident()
        self._buffer = bytearray(BUFFER)
        self._view = memoryview(self._buffer)
        self._from = self._to = 0
        self._writing = threading.Lock()
        self._turn = threading.Condition(threading.Lock())
        self._someone_reads = False
        self._seq = 0
        self._answers = {}
        self._later = collections.deque()

    def send(self, kind, head, body=b""):
        """Writes one frame; `head` is JSON text in ASCII."""
        if self.gone:
            # A process that a task forked has come back from the task: it has no worker to tell.
            os._exit(LOST)
        head = head.encode("ascii")
        start = HEADER.pack(5 + len(head) + len(body), kind, len(head)) + head
        try:
            with self._writing:
                if len(body) <= COPIED:
                    self.sock.sendall(start + body)
                else:
                    self.sock.sendall(start)
                    self.sock.sendall(body)
        except OSError:
            os._exit(LOST)

    def next(self):
        """The next frame for the main thread. Does not return when the channel ends."""
        with self._turn:
            while not self._later:
                if self._someone_reads:
                    self._turn.wait()
                else:
                    self._read_one()
            return self._later.popleft()

    def store(self, run, document, task_id, state, wait):
        """Sends a result document and, if `wait`, returns the worker's answer: None or the text of an error."""
        on_main = threading.get_ident() == self._main
        if on_main:
            self.soft.hold()
        try:
            return self._exchange(run, document, task_id, state, wait)
        except BaseException:
            # By a signal handler of the user, in the middle of a frame: the channel is no longer in step.
            os._exit(LOST)
        finally:
            if on_main:
                self.soft.release()

    def _exchange(self, run, document, task_id, state, wait):
        with self._turn:
            self._seq += 1
            seq = self._seq
            if wait:
                self._answers[seq] = NOT_YET
        head = {"run": run, "seq": seq, "wait": wait, "task_id": task_id, "state": state}
        self.send(STORE, json.dumps(head), document.encode("utf-8"))
        if not wait:
            return None
        with self._turn:
            while self._answers[seq] is NOT_YET:
                if self._someone_reads:
                    self._turn.wait()
                else:
                    self._read_one()
            return self._answers.pop(seq)

    def _read_one(self):
        """Reads a frame and puts it where it belongs. Called with the lock, which is free while this thread waits."""
        self._someone_reads = True
        self._turn.release()
        try:
            kind, head, body = self._receive()
        finally:
            self._turn.acquire()
            self._someone_reads = False
            if self._answers:
                # Somebody else may wait, and has to read now.
                self._turn.notify_all()
        if kind == STORED:
            if head["seq"] in self._answers:
                self._answers[head["seq"]] = head.get("error")
        elif kind in (START, RUN, STOP):
            self._later.append((kind, head, body))
        elif kind not in (SOFT, CANCEL):
            # SOFT and CANCEL come as signals to a child of one run at a time.
            os._exit(LOST)

    def _receive(self):
        try:
            if self._from == self._to:
                # Most frames come as a whole, and nothing else with them.
                self._from, self._to = 0, self.sock.recv_into(self._buffer)
            if self._to - self._from < 9:
                self._need(9)
            length, kind, head_length = HEADER.unpack_from(self._buffer, self._from)
            if not 5 + head_length <= length <= LONGEST_FRAME:
                os._exit(LOST)
            if self._to - self._from < 4 + length:
                self._need(4 + length)
        except OSError:
            os._exit(LOST)
        head_at = self._from + 9
        body_at = head_at + head_length
        end = self._from + 4 + length
        # Headers may have values of kombu's types, as the transports of kombu read them.
        head = loads(str(self._view[head_at:body_at], "utf-8"))
        body = bytes(self._view[body_at:end])
        self._from = end
        if end == self._to and len(self._buffer) > BUFFER:
            # One big message must not cost its size for ever.
            self._buffer = bytearray(BUFFER)
            self._view = memoryview(self._buffer)
            self._from = self._to = 0
        return kind, head, body

    def _need(self, count):
        """Reads until `count` bytes of the frame are there."""
        if self._from + count > len(self._buffer):
            held = self._view[self._from:self._to]
            bigger = bytearray(max(BUFFER, count))
            bigger[:len(held)] = held
            self._buffer, self._view = bigger, memoryview(bigger)
            self._from, self._to = 0, len(held)
        while self._to - self._from < count:
            got = self.sock.recv_into(self._view[self._to:])
            if not got:
                os._exit(LOST)
            self._to += got

    def after_fork(self):
        """Forgets the channel in a process that a task has forked.

        The worker takes the end of the channel for the end of the child, so no other process may hold it open. And two
        writers would break the frames.
        """
        self.gone = True
        try:
            self.sock.close()
        except OSError:
            pass


NOT_YET = object()


def loads(text):
    """Reads JSON as kombu does, whose way takes three times as long and matters only for its own types."""
    if '"__type__"' not in text:
        return json.loads(text)
    from kombu.utils.json import loads as loads_with_types
    return loads_with_types(text)


quoted = json.encoder.encode_basestring_ascii


def watch_for_the_end(sock):
    """Ends the process when the channel ends, where the system cannot be asked to do so."""
    def watch():
        poll = select.poll()
        # Without POLLIN: frames are for the main thread.
        poll.register(sock.fileno(), 0)
        while not any(events & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, events in poll.poll()):
            pass
        os._exit(LOST)

    threading.Thread(target=watch, name="apium-watch", daemon=True).start()


# ---------------------------------------------------------------------------------------------------------------------
# The process


def die_with_the_worker(sock):
    """A child must not outlive its worker, whatever it does."""
    try:
        import ctypes
        set_pdeathsig = 1
        asked = ctypes.CDLL(None, use_errno=True).prctl(set_pdeathsig, int(signal.SIGKILL), 0, 0, 0) == 0
    except (ImportError, OSError, AttributeError):
        asked = False
    if not asked:
        watch_for_the_end(sock)
        return
    # The worker may have died before it was asked for. Its end of the channel tells; the id of the parent does not,
    # since process 1 may well be the worker.
    poll = select.poll()
    poll.register(sock.fileno(), 0)
    if poll.poll(0):
        os._exit(LOST)


def reset_signals(soft):
    """The signals of a prefork child: ctrl-c is for the worker, and what ends a child ends it at once."""
    for name in ("SIGTERM", "SIGHUP", "SIGTTIN", "SIGTTOU"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, soft.on_signal)


def leave(code):
    """Ends the process as prefork children end: neither `atexit` nor threads of the user hold it up."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass
    os._exit(code)


def resident_kib():
    """The resident memory of this process."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * (os.sysconf("SC_PAGE_SIZE") // 1024)
    except OSError:
        # Elsewhere only the peak is known.
        import resource
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak // 1024 if sys.platform == "darwin" else peak


class SoftLimit:
    """SIGUSR1 becomes SoftTimeLimitExceeded, but only while the body of a task runs.

    A signal that comes when the run is all but over must not turn a success into a failure, and one that comes between
    runs is for nobody. Whether the body runs is asked only when the signal comes, of the frames on the stack: a mark
    that is set and cleared would cost every run, and a wrapper would show in every traceback.
    """

    def __init__(self):
        self._held = False
        self._missed = False
        self._mask = set()

    def on_signal(self, _signum, frame):
        if self._held:
            self._missed = True
        elif body_runs(frame):
            self._exceed()

    def hold(self):
        """The main thread uses the channel, and an exception in the middle of a frame would break it."""
        self._held = True
        # Tasks have timers of their own that raise. (With threads the system may still deliver to another one.)
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, TIMER_SIGNALS)

    def release(self):
        self._held = False
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        if self._missed:
            self._missed = False
            if body_runs(sys._getframe()):
                self._exceed()

    @staticmethod
    def _exceed():
        from celery.exceptions import SoftTimeLimitExceeded
        raise SoftTimeLimitExceeded()


def body_runs(frame):
    """Whether `frame` is inside of a task's body or of what Celery does before it.

    The stack from the outside: `Child.trace`, perhaps frames of tools that wrap the tracer, the tracer, and what it
    called. Tasks that the body calls eagerly have tracers of their own further inside, so the outermost one counts.
    """
    tracer = called = inner = None
    while frame is not None and frame.f_code is not Child.trace.__code__:
        if is_tracer(frame):
            tracer, called = frame, inner
        inner, frame = frame, frame.f_back
    if frame is None or tracer is None:
        return False
    if called is not None and is_in_trace_module(called) and called.f_code.co_name != "__protected_call__":
        # The tracer has called the functions by which it reacts to an error or sends what follows the run. (The named
        # one is what it calls the body through.)
        return False
    # `I` is what the tracer knows of an error, `state` how the body ended. (A redelivered message may have given
    # `state` that of an earlier run, but no body runs after a success.)
    seen = tracer.f_locals
    return seen.get("I") is None and seen.get("state") != "SUCCESS"


def is_tracer(frame):
    return frame.f_code.co_name == "trace_task" and is_in_trace_module(frame)


def is_in_trace_module(frame):
    return frame.f_globals.get("__name__") == "celery.app.trace"


# ---------------------------------------------------------------------------------------------------------------------
# The app


class CannotStart(Exception):
    """The app cannot be built; `what` is the word for the worker."""

    def __init__(self, what, text):
        super().__init__(text)
        self.what = what
        self.text = text


def without_passwords(text):
    return re.sub(r"(://[^\s/:@]*:)[^\s@]+@", r"\1********@", text)


def check_versions():
    if sys.version_info < OLDEST_PYTHON:
        raise CannotStart("python", "this is Python %d.%d, and Python %d.%d is the oldest that works (%s)" % (
            sys.version_info[0], sys.version_info[1], OLDEST_PYTHON[0], OLDEST_PYTHON[1], sys.executable))
    # Celery itself must not come from the current folder: the module of an app is often called celery.py.
    sys.path[:] = [entry for entry in sys.path if entry not in ("", os.getcwd())] or sys.path
    try:
        import celery
        celery.Celery
    except (ImportError, AttributeError) as error:
        raise CannotStart("celery", "Celery is not installed for %s: %s" % (sys.executable, error))
    if tuple(celery.VERSION[:2]) < OLDEST_CELERY:
        raise CannotStart("celery", "this is Celery %s, and Celery %d.%d is the oldest that works" % (
            (celery.__version__,) + OLDEST_CELERY))
    sys.path.insert(0, os.getcwd())


def cannot_import(name, error):
    """The error comes first: whoever shows this as one line may cut it."""
    what = traceback.format_exception_only(type(error), error)[-1].strip()
    return CannotStart("import", "the module %s could not be imported: %s\n%s" % (name, what, traceback.format_exc()))


def find_app(name):
    """The app that `celery -A name` finds."""
    from celery import Celery
    from celery.app.utils import find_app as find
    from celery.local import Proxy
    try:
        app = find(name)
    except ModuleNotFoundError as error:
        if error.name == name and ":" in name:
            raise CannotStart("app", "there is no Celery app in %s" % name)
        if error.name == name.partition(":")[0]:
            raise CannotStart("import", "the module %s was not found" % error.name)
        raise cannot_import(name, error)
    except AttributeError as error:
        # Celery's finder lets the last error of its search through; one that the module raised has frames below.
        if is_own_error(error):
            raise CannotStart("app", "there is no Celery app in %s: %s" % (name, error))
        raise cannot_import(name, error)
    except (Exception, SystemExit) as error:
        raise cannot_import(name, error)
    if isinstance(app, Proxy):
        app = app._get_current_object()
    if not isinstance(app, Celery):
        raise CannotStart("app", "%s is not a Celery app but %s" % (name, type_name(app)))
    several = apps_to_choose_from(name)
    if len(several) > 1:
        raise CannotStart("app", "there are several Celery apps in %s: %s; name one with -A module:attribute" % (
            name, ", ".join(several)))
    return app


def is_own_error(error):
    """Whether Celery's search for an app raised this error, and not the module that it imported."""
    end = error.__traceback__
    while end.tb_next is not None:
        end = end.tb_next
    return end.tb_frame.f_globals.get("__name__", "").split(".")[0] in ("celery", "kombu")


def apps_to_choose_from(name):
    """The attributes that hold different apps, if Celery would take the first of them for want of a usual name."""
    from types import ModuleType

    from celery import Celery
    from celery.local import Proxy
    module = sys.modules.get(name)
    if module is None:
        return []
    if any(isinstance(vars(module).get(usual), Celery) for usual in ("app", "celery")):
        return []
    inner = sys.modules.get(name + ".celery")
    if hasattr(module, "__path__") and isinstance(inner, ModuleType):
        return apps_to_choose_from(name + ".celery")
    apps = {}
    for attribute, value in vars(module).items():
        if type(value) is not Proxy and isinstance(value, Celery):
            apps.setdefault(id(value), attribute)
    return list(apps.values())


class WorkerStandIn:
    """What receivers of `celeryd_init` and `worker_init` get for Celery's worker object.

    Apps set themselves up in these signals and count on their children to inherit it. A child that starts from nothing
    has to send them itself. Celery's fix-ups for Django are among the receivers.
    """

    def __init__(self, app, start):
        self.app = app
        self.hostname = start["hostname"]
        self.loglevel = start.get("loglevel")
        self.logfile = start.get("logfile")
        self.options = start.get("options") or {}
        self.pool_cls = "celery.concurrency.prefork:TaskPool"

    def __repr__(self):
        return "<Worker: %s (child of Apium)>" % self.hostname


def start_app(app, start):
    """What Celery's worker does with an app before it forks, and what its children do after that."""
    from celery import _state, signals
    from celery.app import trace
    hostname = start["hostname"]
    options = start.get("options") or {}
    if options and app.user_options.get("preload"):
        signals.user_preload_options.send(sender=start_app, app=app, options=options)
    try:
        app.loader.init_worker()
    except (Exception, SystemExit):
        raise CannotStart("import", "the task modules could not be imported:\n%s" % traceback.format_exc())
    trace.setup_worker_optimizations(app, hostname)
    worker = WorkerStandIn(app, start)
    signals.celeryd_init.send(sender=hostname, instance=worker, conf=app.conf, options=options)
    check_privileges(app, start)
    app.log.setup(
        start.get("loglevel") or "WARNING", start.get("logfile"),
        redirect_stdouts=app.conf.worker_redirect_stdouts,
        redirect_level=app.conf.worker_redirect_stdouts_level,
        colorize=start.get("color"), hostname=hostname,
    )
    signals.worker_init.send(sender=worker)

    # From here on it is a child.
    name_process(start)
    _state._set_task_join_will_block(True)
    app.loader.init_worker_process()
    app.set_current()
    _state.set_default_app(app)
    app.finalize()
    from celery.worker import state
    state.reset_state()


def check_privileges(app, start):
    from celery import platforms
    unpickles = {"pickle", "application/x-python-serialize", "application/group-python-serialize"}
    if 0 in (os.getuid(), os.geteuid()) and unpickles & set(app.conf.accept_content or ()):
        if not os.environ.get("C_FORCE_ROOT"):
            raise CannotStart("app", "a worker that accepts pickle does not run as root, since messages could then run "
                                     "any code as root; C_FORCE_ROOT=1 allows it")
    if start.get("describe"):
        # It warns, and one warning for a pool is enough.
        platforms.check_privileges(app.conf.accept_content)


def name_process(start):
    """The names that logs, `ps` and tasks see. Tasks read `current_process().index` to share things out."""
    import multiprocessing

    import billiard
    from celery import platforms
    index = start.get("index") or 0
    name = "ForkPoolWorker-%d" % (index + 1)
    process = billiard.current_process()
    process._name = name
    process.index = index
    multiprocessing.current_process().name = name
    platforms.set_process_title("apium: %s:%s" % (start["hostname"], name), info="-A %s" % start["app"])


# ---------------------------------------------------------------------------------------------------------------------
# The description of the app


TASK_OPTIONS = (
    "acks_late", "acks_on_failure", "acks_on_timeout", "acks_on_failure_or_timeout", "reject_on_worker_lost",
    "retry_on_worker_lost", "ignore_result", "store_errors_even_if_ignored", "track_started", "rate_limit",
    "time_limit", "soft_time_limit", "max_retries", "default_retry_delay", "priority", "queue", "exchange",
    "routing_key", "serializer", "compression", "send_events", "resultrepr_maxsize", "trail", "expires", "typing",
)

EFFECTIVE = (
    "broker_url", "broker_read_url", "broker_write_url", "result_backend", "task_default_queue",
    "task_default_exchange", "task_default_routing_key", "accept_content", "result_serializer", "result_compression",
    "result_extended", "result_expires", "worker_prefetch_multiplier", "worker_concurrency", "worker_pool",
    "task_acks_late", "timezone", "enable_utc", "worker_max_tasks_per_child", "worker_max_memory_per_child",
    "broker_transport_options", "result_backend_transport_options", "task_create_missing_queues",
    "worker_send_task_events", "task_send_sent_event", "worker_hijack_root_logger",
)


def describe(app):
    import platform

    import celery
    conf, left = describe_settings(app.conf)
    return {
        "python": platform.python_version(),
        "celery": celery.__version__,
        "main": app.main,
        "tasks": [describe_task(task) for _, task in sorted(app.tasks.items())],
        "conf": conf,
        "conf_left_out": left,
        # By attribute, since some of them look at the environment.
        "effective": {name: plain(getattr(app.conf, name, None), name, {}) for name in EFFECTIVE},
        "backend": describe_backend(app),
        "inspected": describe_inspections(app),
    }


def describe_inspections(app):
    """What Celery's worker answers to `inspect conf` and `inspect report`."""
    from celery.utils.saferepr import saferepr
    from celery.utils.serialization import jsonify

    # Celery's worker sets it when it starts.
    modules = {type(task).__module__ for task in app.tasks.values()}
    app.conf.include = tuple({*app.conf.include, *modules})

    def conf(with_defaults):
        return jsonify(
            app.conf.table(with_defaults=with_defaults), unknown_type_filter=saferepr,
            keyfilter=lambda key: isinstance(key, str) and not key.startswith("__"))
    return {"conf": conf(False), "conf_with_defaults": conf(True), "report": app.bugreport()}


def describe_task(task):
    options = {name: plain(getattr(task, name, None), name, {}) for name in TASK_OPTIONS}
    return dict(options, name=task.name, called_with=describe_parameters(task))


def describe_parameters(task):
    """The parameters of a task that Celery's worker may call as an errback: a function that is not bound."""
    from functools import partial
    from inspect import getfullargspec
    header = getattr(task, "__header__", None)
    if header is None or isinstance(header, partial):
        return None
    spec = getfullargspec(header)
    return {"positional": spec.args, "keyword_only": spec.kwonlyargs,
            "var_args": spec.varargs is not None, "var_kwargs": spec.varkw is not None}


def describe_settings(conf):
    """The settings that the app sets itself, under their new names, and what of them cannot be told."""
    from celery.app.defaults import NAMESPACES, SETTING_KEYS
    from celery.app.utils import Settings
    # The last map has the defaults.
    own = Settings({}, conf.maps[:-1], conf._keys, conf.prefix)
    names = set(SETTING_KEYS)
    # Backends and transports read settings that are in no table of Celery.
    spaces = tuple(key + "_" for key, value in NAMESPACES.items() if isinstance(value, dict))
    prefix = (conf.prefix or "").upper()
    for key in own.keys():
        if isinstance(key, str) and key.startswith(prefix):
            name = key[len(prefix):].lower()
            if name.startswith(spaces) and (prefix or key == name):
                names.add(name)
    told, left = {}, {}
    for name in sorted(names):
        if name.startswith("beat_") or name not in own:
            continue
        value = routes(own[name], left) if name == "task_routes" else plain(own[name], name, left)
        if name not in left:
            told[name] = value
    return told, left


def routes(value, left):
    """Routes are looked for in order, so an entry that cannot be told leaves a hole."""
    entries = [value] if isinstance(value, (dict, str)) or callable(value) else value
    told = []
    for at, entry in enumerate(entries or ()):
        path = "task_routes[%d]" % at
        if isinstance(entry, str):
            # The name of a router: only Python can call it.
            left[path] = "router %s" % entry
            told.append(None)
        else:
            told.append(plain(entry, path, left))
    return told


def describe_backend(app):
    backend = app.backend
    return {
        "class": qualified(type(backend)),
        "url": backend.url or app.conf.result_backend,
        "serializer": backend.serializer,
        "persistent": bool(backend.persistent),
        "is_plain": qualified(type(backend)) == REDIS_BACKEND and stores_json(backend),
    }


def stores_json(backend):
    return backend.serializer == "json" and not getattr(backend, "compression", None)


def qualified(value):
    return "%s.%s" % (value.__module__, value.__qualname__)


def type_name(value):
    if hasattr(value, "__qualname__") and hasattr(value, "__module__"):
        return "%s %s" % (type(value).__name__, qualified(value))
    return qualified(type(value))


def plain(value, path, left):
    """`value` in JSON's types. What has no such form becomes null, and `left` gets its path and type."""
    import datetime
    from collections.abc import Mapping

    from kombu import Exchange, Queue
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        # Not `str(value)`: an enum of texts says its name.
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, Exchange):
        return plain({
            "name": value.name, "type": value.type, "durable": value.durable, "auto_delete": value.auto_delete,
            "delivery_mode": value.delivery_mode, "arguments": value.arguments, "passive": value.passive,
            "no_declare": value.no_declare,
        }, path, left)
    if isinstance(value, Queue):
        return plain({
            "name": value.name, "exchange": value.exchange, "routing_key": value.routing_key,
            "bindings": [
                {"exchange": bound.exchange, "routing_key": bound.routing_key, "arguments": bound.arguments}
                for bound in value.bindings or ()
            ],
            "queue_arguments": value.queue_arguments, "binding_arguments": value.binding_arguments,
            "consumer_arguments": value.consumer_arguments, "max_priority": value.max_priority,
            "max_length": value.max_length, "max_length_bytes": value.max_length_bytes,
            "message_ttl": value.message_ttl, "expires": value.expires, "durable": value.durable,
            "exclusive": value.exclusive, "auto_delete": value.auto_delete, "no_ack": value.no_ack,
            "alias": value.alias, "no_declare": value.no_declare,
        }, path, left)
    if isinstance(value, Mapping):
        return {str(key): plain(item, "%s.%s" % (path, key), left) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        value = sorted(value, key=repr)
    if isinstance(value, (list, tuple)):
        return [plain(item, "%s[%d]" % (path, at), left) for at, item in enumerate(value)]
    left[path] = type_name(value)
    return None


# ---------------------------------------------------------------------------------------------------------------------
# Results that the worker stores


class Run:
    """One run of a task, as the result backend of the child knows it."""

    __slots__ = ("number", "task", "task_id", "end", "stored", "failure", "records", "parts")

    def __init__(self, number, task, task_id):
        self.number = number
        self.task = task
        self.task_id = task_id
        # The state that goes into `ended`; or the one that the worker has stored already.
        self.end = None
        self.stored = None
        self.failure = None
        self.records = []
        self.parts = []


class End:
    """The last state of a run, as texts of JSON: the value, and the rest of the document."""

    __slots__ = ("state", "value", "document", "children")

    def __init__(self, state, value, document, children):
        self.state = state
        self.value = value
        self.document = document
        self.children = children


class Results:
    """Lets the worker store what the app's backend would store.

    Only two methods of the backend are replaced, on the object: what stores a state and what counts a part of a chord.
    Everything else (the client, reading, groups, chords) stays what it was, and so does the class.

    The last state of a run is not stored here but goes into `ended`, so that the worker stores it, counts the chord
    parts and acks in one step. That is safe: nobody has seen anything of the end when the child dies before `ended`,
    and the message is not acked, so the run is lost as a whole and the rules for lost runs apply. It is also right only
    if nobody can look before `ended`. So when code of the user runs after the state is stored (hooks, receivers,
    errbacks), the state is stored at once and that code waits for it.
    """

    def __init__(self, app, channel):
        from celery import signals, states
        from celery.app.trace import task_has_custom
        from celery.exceptions import BackendStoreError
        self.channel = channel
        self.run = None
        self.main = threading.get_ident()
        self.BackendStoreError = BackendStoreError
        self.success = states.SUCCESS
        self.started = states.STARTED
        self.task_has_custom = task_has_custom
        self.hooked = {}
        self.hooks = {
            states.SUCCESS: ("on_success", "after_return"),
            states.FAILURE: ("on_failure", "after_return"),
            states.RETRY: ("on_retry",),
            states.REVOKED: (),
        }
        self.heard = {
            states.SUCCESS: (signals.task_success, signals.task_postrun),
            states.FAILURE: (signals.task_failure, signals.task_postrun),
            states.RETRY: (signals.task_retry, signals.task_postrun),
            states.REVOKED: (signals.task_revoked,),
        }
        self.adopt(app.backend)
        # Every thread has a backend of its own, made when the thread first asks.
        make = app._get_backend

        def make_and_adopt():
            return self.adopt(make())

        app._get_backend = make_and_adopt

    def adopt(self, backend):
        from kombu.utils.encoding import bytes_to_str
        store_plainly, count_plainly = backend.store_result, backend.on_chord_part_return
        channel = self.channel

        def store_result(task_id, result, state, traceback=None, request=None, **kwargs):
            if channel.gone:
                # In a process that a task has forked, as under Celery.
                return store_plainly(task_id, result, state, traceback=traceback, request=request, **kwargs)
            result = backend.encode_result(result, state)
            meta = backend._get_result_meta(result=result, state=state, traceback=traceback, request=request)
            meta["task_id"] = task_id = bytes_to_str(task_id)
            run = self.run if threading.get_ident() == self.main else None
            own = run is not None and task_id == run.task_id
            if run is not None and run.end is not None:
                # The run is ending, and nothing of the user runs any more: these are steps behind it that fail too.
                if not own:
                    run.records.append(as_text(backend.encode(meta)))
                elif run.end.state != self.success:
                    run.end = self.make_end(backend, run, meta)
                # A success is never replaced, as in the backends.
                return result
            ends = own and state in self.heard and is_in_machinery(sys._getframe(2))
            if ends and not self.someone_looks(run.task, state, request):
                run.end = self.make_end(backend, run, meta)
                return result
            document = as_text(backend.encode(meta))
            error = channel.store(self.run and self.run.number, document, task_id, state, state != self.started)
            if error is not None:
                raise self.BackendStoreError(error, state=state, task_id=task_id)
            if ends:
                run.stored = state
                run.failure = failure_of(meta)
            return result

        def on_chord_part_return(request, state, result, **kwargs):
            run = self.run if threading.get_ident() == self.main else None
            if channel.gone or run is None:
                return count_plainly(request, state, result, **kwargs)
            if request.group and request.id:
                run.parts.append(as_text(backend.encode({
                    "task_id": request.id,
                    "group": request.group,
                    "group_index": request.group_index,
                    "chord": request.chord,
                    "state": state,
                    "result": backend.encode_result(result, state),
                })))

        backend.store_result = store_result
        backend.on_chord_part_return = on_chord_part_return
        return backend

    def make_end(self, backend, run, meta):
        result = meta.pop("result")
        run.failure = failure_of(dict(meta, result=result))
        value = as_text(backend.encode(result)) if meta["status"] == self.success else ""
        return End(meta["status"], value, as_text(backend.encode(meta)), meta["children"])

    def someone_looks(self, task, state, request):
        """Whether code of the user runs after this state is stored and before `ended`."""
        has_hooks = self.hooked.get((task.name, state))
        if has_hooks is None:
            has_hooks = any(self.task_has_custom(task, hook) for hook in self.hooks[state])
            self.hooked[task.name, state] = has_hooks
        if has_hooks:
            return True
        if state == "FAILURE" and request is not None and request.errbacks:
            return True
        return any(is_heard(signal_) for signal_ in self.heard[state])


def is_heard(sent):
    """Whether a signal has receivers, those of Celery's fix-up for Django aside: they look at no result."""
    for _, receiver in sent.receivers:
        if isinstance(receiver, weakref.ReferenceType):
            receiver = receiver()
        if getattr(receiver, "__module__", None) != "celery.fixups.django":
            return True
    return False


def is_in_machinery(frame):
    """Whether a state is stored by the tracer or by this program, and not by a task that calls the backend itself."""
    return is_in_trace_module(frame) or frame.f_globals is globals()


def as_text(encoded):
    return encoded if isinstance(encoded, str) else encoded.decode("utf-8")


def failure_of(meta):
    """The failure in a result document, or None."""
    result = meta["result"]
    if meta["status"] == "SUCCESS" or not isinstance(result, dict):
        return None
    return dict(result, traceback=meta["traceback"])


# ---------------------------------------------------------------------------------------------------------------------
# Runs


class Refused(Exception):
    """A message that is no run: `why` says whether it cannot be read, is not accepted or makes no sense."""

    def __init__(self, why, cause):
        super().__init__(why)
        self.why = why
        self.cause = cause


class Child:
    """Runs tasks, one at a time."""

    def __init__(self, app, channel, start):
        import celery
        from celery import signals, states
        from celery.app import trace
        from celery.app.task import Context
        from celery.exceptions import Ignore, InvalidTaskError, NotRegistered, Reject
        from celery.utils.log import get_logger
        from celery.utils.saferepr import saferepr
        from kombu.exceptions import ContentDisallowed
        from kombu.serialization import loads as loads_body
        from kombu.serialization import prepare_accept_content
        from kombu.utils.encoding import safe_repr, safe_str
        from kombu.utils.json import JSONEncoder
        self.app = app
        self.channel = channel
        self.hostname = start["hostname"]
        self.memory = bool(start.get("memory"))
        self.tasks = app.tasks
        self.accept = prepare_accept_content(app.conf.accept_content)
        self.is_5_7 = celery.VERSION[:2] >= (5, 7)
        self.signals = signals
        self.states = states
        self.Context = Context
        self.Ignore, self.Reject = Ignore, Reject
        self.InvalidTaskError, self.NotRegistered = InvalidTaskError, NotRegistered
        self.task_has_custom = trace.task_has_custom
        self.logger = get_logger("celery.worker.apium")
        self.saferepr, self.safe_repr, self.safe_str = saferepr, safe_repr, safe_str
        self.ContentDisallowed = ContentDisallowed
        self.loads_body = loads_body
        self.encode = JSONEncoder().encode
        self.results = None
        if start.get("results") == "worker" and worker_may_store(app.backend, start):
            self.results = Results(app, channel)
        for task in self.tasks.values():
            self.build_tracer(task)

    def build_tracer(self, task):
        # By the module: tools for tracing put a function of their own there.
        from celery.app import trace
        task.__trace__ = trace.build_tracer(task.name, task, self.app.loader, self.hostname, app=self.app)

    def serve(self):
        while True:
            kind, head, body = self.channel.next()
            if kind == STOP:
                return
            if kind == RUN:
                self.serve_run(head, body)

    def serve_run(self, head, body):
        number = head["run"]
        self.channel.send(BEGAN, '{"run":%d}' % number)
        began = time.monotonic()
        run = None
        try:
            task = self.tasks.get(head["task"])
            if task is None:
                missing = self.NotRegistered(head["task"])
                ended = dict(self.failure(None, None, missing, None), end="unavailable", handled=False)
            else:
                if task.__trace__ is None:
                    # It was registered after the start.
                    self.build_tracer(task)
                task_id, args, kwargs, request = self.read(head, body)
                if head.get("errback") is not None:
                    ended = self.errback(task, args, kwargs, head["errback"])
                else:
                    run = Run(number, task, task_id)
                    if self.results:
                        self.results.run = run
                    if head.get("instead"):
                        ended = self.instead(run, args, kwargs, request, head["instead"])
                    else:
                        ended = self.trace(run, args, kwargs, request)
        except Refused as refused:
            ended = dict(self.failure(None, None, refused.cause, None), handled=False, refused=refused.why)
        finally:
            if self.results:
                self.results.run = None
        self.answer(number, run, ended, time.monotonic() - began)

    def answer(self, number, run, ended, took):
        if ended.get("runtime") is None:
            ended["runtime"] = took
        if run is not None and run.stored:
            ended["stored"] = True
        if run is not None and run.end is not None:
            ended["stored"] = False
            if run.end.children:
                ended["children"] = run.end.children
        if self.memory:
            ended["memory"] = resident_kib()
        if len(ended) == 5 and ended["end"] == "success":
            # Most runs end like this, and the encoder would take as long as everything else here.
            head = '{"run":%d,"end":"success","handled":true,"stored":%s,"runtime":%r,"repr":%s' % (
                number, "true" if ended["stored"] else "false", ended["runtime"], quoted(ended["repr"]))
        else:
            head = self.encode(dict(ended, run=number))[:-1]
        value = b""
        if run is not None:
            # These texts are JSON already, made by the backend.
            if run.end is not None:
                head += ',"document":' + run.end.document
                value = run.end.value.encode("utf-8")
            if run.records:
                head += ',"records":[%s]' % ",".join(run.records)
            if run.parts:
                head += ',"parts":[%s]' % ",".join(run.parts)
        self.channel.send(ENDED, ascii_only(head + "}"), value)

    # What a message says

    def read(self, head, body):
        """The id, the arguments and the request of a run, as Celery's worker and its children make them."""
        try:
            headers, payload = self.decode(head, body)
            args, kwargs, embed = payload
            task_id = headers["id"]
            properties = head.get("properties") or {}
            delivery = head.get("delivery_info") or {}
            request = headers
            # Exactly these four: `retry` sends them on as options.
            priority = delivery.get("priority")
            request.update(
                properties=properties,
                reply_to=properties.get("reply_to"),
                correlation_id=properties.get("correlation_id"),
                hostname=self.hostname,
                delivery_info={
                    "exchange": delivery.get("exchange"),
                    "routing_key": delivery.get("routing_key"),
                    "priority": properties.get("priority") if priority is None else priority,
                    "redelivered": delivery.get("redelivered", False),
                },
                args=args, kwargs=kwargs, is_eager=False,
            )
            request.update(**embed or {})
        except Refused:
            raise
        except Exception as error:
            raise Refused("invalid", error)
        return task_id, args, kwargs, request

    def decode(self, head, body):
        headers = head.get("headers") or {}
        if not head.get("raw"):
            return headers, self.guarded(lambda: loads(str(body, "utf-8")))
        properties = head.get("properties") or {}
        if headers.get("compression"):
            from kombu.compression import decompress
            body = self.guarded(decompress, body, headers["compression"])
        payload = self.guarded(
            self.loads_body, body,
            properties.get("content_type") or "application/json", properties.get("content_encoding") or "utf-8",
            accept=self.accept,
        )
        if isinstance(payload, dict):
            # Version 1 of Celery's protocol: everything is in the body.
            from celery.worker import strategy

            class Message:
                pass

            Message.headers = headers
            convert = strategy.hybrid_to_proto2 if "args" in payload else strategy.proto1_to_proto2
            payload, headers, _, _ = convert(Message, payload)
            headers = dict(headers)
        return headers, payload

    def guarded(self, decode, *args, **kwargs):
        try:
            return decode(*args, **kwargs)
        except self.ContentDisallowed as error:
            raise Refused("content", error)
        except Exception as error:
            raise Refused("decode", error)

    # How a run ends

    def trace(self, run, args, kwargs, request):
        """Runs the task and says how it ended. `body_runs` looks for the frame of this function."""
        try:
            result, info, runtime, text = run.task.__trace__(run.task_id, args, kwargs, request)
        except (SystemExit, KeyboardInterrupt):
            # The process is to end, and the run with it.
            raise
        except BaseException as error:
            return self.escaped(run, request, error)
        if info is None:
            if text is None and result is not None:
                # What the tracer could not even begin with. It has told nobody but the log.
                return dict(self.failure(run, None, result.exception, result), handled=False, refused="invalid")
            ended = {"end": "success", "handled": True, "stored": self.is_stored(run, request), "runtime": runtime,
                     "repr": text}
            if text is None:
                # An earlier run of the message has succeeded, and its result stays.
                ended["already"] = ended["stored"] = True
            return ended
        if info.state == self.states.REJECTED:
            return self.rejected(run, request, info.retval, result)
        if info.state == self.states.IGNORED:
            return {"end": "ignore", "handled": True, "stored": False}
        if info.state == self.states.RETRY:
            reason = info.retval
            failure = None
            if reason.exc is not None:
                failure = run.failure or self.describe_failure(reason.exc, result.traceback)
            return {"end": "retried", "handled": True, "stored": self.is_stored(run, request, failed=True),
                    "failure": failure, "repr": self.safe_repr(reason.exc), "when": reason.humanize(),
                    "reason": str(reason)}
        return self.failure(run, request, info.retval, result)

    def is_stored(self, run, request, failed=False):
        """Whether the child has stored the end of a run, where it stores: unless nothing is to be stored."""
        if run is None or not self.is_to_be_stored(run.task, request, failed):
            return False
        # A task may have a backend of its own.
        own_backend = run.task._backend is not None and run.task._backend is not self.app.backend
        return (own_backend or not self.results) and not is_disabled(run.task.backend)

    @staticmethod
    def is_to_be_stored(task, request, failed):
        ignored = request.get("ignore_result")
        if ignored is None:
            ignored = task.ignore_result
        return bool(not ignored or (failed and task.store_errors_even_if_ignored))

    def failure(self, run, request, error, einfo):
        """`ended` for a failure. `einfo` is what the tracer made of the exception, if there was a tracer."""
        error = unwrapped(error)
        shown = unwrapped(einfo.exception) if einfo is not None else error
        task = run.task if run is not None else None
        throws = task.throws if task is not None else None
        failure = run.failure if run is not None else None
        return {
            "end": "failure", "handled": True,
            "stored": run is not None and request is not None and self.is_stored(run, request, failed=True),
            "failure": failure or self.describe_failure(error, einfo and einfo.traceback),
            "expected": bool(throws and isinstance(error, throws)),
            "repr": self.safe_repr(shown),
        }

    def describe_failure(self, error, text):
        """An exception in the form of Celery's stored documents."""
        from celery.utils.serialization import ensure_serializable, get_pickleable_exception
        error = get_pickleable_exception(error)
        return {
            "exc_type": type(error).__qualname__,
            "exc_message": ensure_serializable(error.args, self.encode),
            "exc_module": type(error).__module__,
            "traceback": text,
        }

    def rejected(self, run, request, error, einfo):
        ended = {"end": "reject", "handled": True, "stored": False, "requeue": bool(error.requeue),
                 "reason": None if error.reason is None else self.safe_str(error.reason)}
        if not error.requeue and self.is_5_7:
            # It will never run again, so Celery's main process has it fail.
            failed = self.fail_outside(run, request, error, None, einfo)
            ended.update(failure=failed["failure"], handled=failed["handled"], stored=failed["stored"])
        return ended

    def escaped(self, run, request, error):
        """An exception that the tracer let through: the end was not recorded, and Celery's main process does it."""
        from billiard.einfo import ExceptionInfo
        einfo = ExceptionInfo()
        if isinstance(error, self.Reject):
            return self.rejected(run, request, error, einfo)
        if isinstance(error, self.Ignore):
            return {"end": "ignore", "handled": True, "stored": False}
        ended = self.fail_outside(run, request, error, None, einfo)
        self.logger.error("Task handler raised error: %r", error, exc_info=einfo.exc_info)
        return ended

    def fail_outside(self, run, request, error, text, einfo, hooks=False):
        """Records a failure that the tracer did not record, and calls what is to be called then."""
        task, states = run.task, self.states
        context = self.Context(request)
        handled = True
        try:
            task.backend.mark_as_failure(
                run.task_id, error, text, request=context,
                store_result=self.is_to_be_stored(task, request, failed=True),
            )
        except Exception:
            handled = False
            self.logger.exception("Could not record the failure of task %s[%s]", task.name, run.task_id)
        # Handlers read the request from the task.
        task.request_stack.push(context)
        try:
            if hooks:
                args, kwargs = request["args"], request["kwargs"]
                task.on_failure(error, run.task_id, args, kwargs, einfo)
                if self.task_has_custom(task, "after_return"):
                    task.after_return(states.FAILURE, error, run.task_id, args, kwargs, None)
        except Exception as raised:
            self.logger.exception("Task %s[%s] handler raised: %r", task.name, run.task_id, raised)
        finally:
            self.signals.task_failure.send(
                sender=task, task_id=run.task_id, exception=error, args=request["args"], kwargs=request["kwargs"],
                traceback=error.__traceback__ if hooks else einfo.traceback, einfo=einfo,
            )
            task.request_stack.pop()
        ended = self.failure(run, request, error, einfo)
        if not run.failure:
            ended["failure"]["traceback"] = text
        if not handled:
            ended.update(handled=False, stored=False)
        return ended

    def errback(self, task, args, kwargs, of_failure):
        """Calls a task as Celery's backend calls errbacks. Its first arguments tell of the failure: the request, the
        exception and the traceback, or nothing of these."""
        from celery.app.task import Context
        try:
            if of_failure:
                request, error, *others = args
                args = [Context(request), self.app.backend.exception_to_python(error), *others]
            value = task(*args, **kwargs)
        except (SystemExit, KeyboardInterrupt):
            # The process is to end, as in `trace`.
            raise
        except BaseException as error:
            from billiard.einfo import ExceptionInfo
            return self.failure(None, None, error, ExceptionInfo())
        return {"end": "success", "handled": True, "stored": False, "repr": self.safe_repr(value)}

    # Ends that came from outside of the child

    def instead(self, run, args, kwargs, request, instead):
        """The body is not run: a limit, a revoke or the loss of a child has ended the run already."""
        if instead["state"] == self.states.REVOKED:
            return self.revoked(run, request, instead)
        if instead["state"] == self.states.RETRY:
            return self.retry_outside(run, request, instead)
        if instead.get("exc_type") == "WorkerLostError":
            stored = self.stored_success(run, request)
            if stored is not None:
                # The child was lost after the success: to record a failure now would be wrong.
                return {"end": "success", "handled": True, "stored": True, "already": True,
                        "repr": self.saferepr(stored.get("result"), run.task.resultrepr_maxsize)}
        from billiard.einfo import ExceptionInfo
        error = self.app.backend.exception_to_python({
            "exc_type": instead.get("exc_type") or "Exception",
            "exc_module": instead.get("exc_module"),
            "exc_message": instead.get("exc_message") or "",
        })
        try:
            raise error
        except Exception:
            einfo = ExceptionInfo()
        try:
            return self.fail_outside(
                run, request, error, instead.get("traceback"), einfo, hooks=bool(instead.get("hooks")))
        finally:
            # The exception and the frames of its traceback refer to each other.
            error.__traceback__ = None

    def retry_outside(self, run, request, instead):
        """Sends the message of a task whose child was lost once more (`retry_on_worker_lost`)."""
        from billiard.einfo import ExceptionInfo
        from celery.exceptions import Retry, WorkerLostError
        task, context = run.task, self.Context(request)
        error = WorkerLostError(*(instead.get("exc_message") or ()))
        countdown = task.default_retry_delay
        try:
            raise error
        except WorkerLostError:
            einfo = ExceptionInfo()
        handled = True
        try:
            task.signature_from_request(context, countdown=countdown, retries=context.retries + 1).apply_async()
            if self.is_to_be_stored(task, request, failed=True):
                task.backend.mark_as_retry(run.task_id, error, einfo.traceback, request=context)
        except Exception:
            handled = False
            self.logger.exception("Could not retry task %s[%s], whose child was lost", task.name, run.task_id)
        reason = Retry(exc=error, when=countdown)
        task.request_stack.push(context)
        try:
            task.on_retry(error, run.task_id, request["args"], request["kwargs"], einfo)
            self.signals.task_retry.send(sender=task, request=context, reason=reason, einfo=einfo)
        except Exception as raised:
            self.logger.exception("Task %s[%s] handler raised: %r", task.name, run.task_id, raised)
        finally:
            task.request_stack.pop()
            error.__traceback__ = None
        ended = self.failure(run, request, error, einfo)
        ended.update(end="retried", handled=handled, when=reason.humanize(), reason=str(reason))
        return ended

    def revoked(self, run, request, instead):
        context = self.Context(request)
        reason = instead.get("exc_message") or "revoked"
        if isinstance(reason, (list, tuple)):
            reason = reason[0] if reason else "revoked"
        handled = True
        to_store = self.is_to_be_stored(run.task, request, failed=True)
        try:
            run.task.backend.mark_as_revoked(run.task_id, reason, request=context, store_result=to_store)
        except Exception:
            handled = False
            self.logger.exception("Could not record the revoke of task %s[%s]", run.task.name, run.task_id)
        self.signals.task_revoked.send(
            sender=run.task, request=context, terminated=bool(instead.get("terminated")),
            signum=instead.get("signum"), expired=bool(instead.get("expired")),
        )
        return {"end": "revoked", "handled": handled,
                "stored": handled and self.is_stored(run, request, failed=True), "failure": run.failure}

    def stored_success(self, run, request):
        backend = run.task.backend
        if not self.is_to_be_stored(run.task, request, failed=False) or is_disabled(backend):
            return None
        try:
            if backend.as_uri() == "rpc://":
                # Its results are in the queue of the caller.
                return None
            meta = backend.get_task_meta(run.task_id, cache=False)
        except Exception:
            return None
        return meta if meta["status"] == self.states.SUCCESS else None


def worker_may_store(backend, start):
    """Whether the backend is one that the worker drives. Only then are its documents what this class would store."""
    driven = start.get("backends") or [REDIS_BACKEND]
    return qualified(type(backend)) in driven and stores_json(backend) and not is_disabled(backend)


def is_disabled(backend):
    from celery.backends.base import DisabledBackend
    return isinstance(backend, DisabledBackend)


def unwrapped(error):
    from billiard.einfo import ExceptionWithTraceback
    return error.exc if isinstance(error, ExceptionWithTraceback) else error


def ascii_only(text):
    """Backends may write other letters as they are; inside of texts of JSON they may also be escaped."""
    return text if text.isascii() else json.dumps(json.loads(text))


# ---------------------------------------------------------------------------------------------------------------------


def main(sock):
    die_with_the_worker(sock)
    channel = Channel(sock)
    reset_signals(channel.soft)
    os.register_at_fork(after_in_child=channel.after_fork)
    kind, start, _ = channel.next()
    if kind != START:
        os._exit(LOST)
    channel.send(HELLO, json.dumps({"protocol": PROTOCOL, "pid": os.getpid()}))
    try:
        child, ready = begin(channel, start)
    except CannotStart as error:
        channel.send(FAILED, json.dumps({"text": without_passwords(error.text), "what": error.what}))
        leave(NOT_STARTED)
    except Exception:
        text = "the app could not be started:\n%s" % traceback.format_exc()
        channel.send(FAILED, json.dumps({"text": without_passwords(text), "what": "app"}))
        leave(NOT_STARTED)
    channel.send(READY, json.dumps(ready))
    code = 0
    try:
        child.serve()
    except SystemExit as ended:
        # By a task. Celery's children end then too.
        code = ended.code
    except BaseException:
        # By a task that raises it, or by a signal handler that a task has left behind.
        traceback.print_exc()
        code = LOST
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    code = code or 0
    child.signals.worker_process_shutdown.send(sender=sender_of_process_signals(child), pid=os.getpid(), exitcode=code)
    leave(code & 0xFF)


def begin(channel, start):
    if start.get("protocol") != PROTOCOL:
        raise CannotStart("protocol", "the worker speaks version %s of the protocol, and this is version %d" % (
            start.get("protocol"), PROTOCOL))
    check_versions()
    # What looks at the command line to find out whether it is in a worker.
    sys.argv = ["celery", "-A", start["app"], "worker"]
    app = find_app(start["app"])
    start_app(app, start)
    child = Child(app, channel, start)
    # Receivers that raise are logged by Celery and do no harm.
    child.signals.worker_process_init.send(sender=sender_of_process_signals(child))
    reset_signals(channel.soft)
    ready = {"results": "worker" if child.results else "child"}
    if start.get("describe"):
        ready["app"] = describe(app)
    return child, ready


def sender_of_process_signals(child):
    return child.hostname if child.is_5_7 else None
