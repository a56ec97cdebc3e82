"""The child in Python, against the worker's side of the protocol and against Celery itself.

Run with `python -m unittest discover tests/python`, by a Python that has Celery and redis. A Redis server is started
for the tests.
"""

import contextlib
import importlib.util
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import warnings

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from supervisor import (  # noqa: E402
    CANCEL, CHILD, FAILED, HERE, READY, SOFT, Closed, Redis, Supervisor, message, until,
)

HOSTNAME = "w1@test"

redis = None
app = None


def setUpModule():
    global redis, app
    redis = Redis()
    unittest.addModuleCleanup(redis.stop)
    os.environ["PROJ_REDIS"] = redis.url
    # By Celery, of redis-py.
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="celery")
    from celery.app.trace import build_tracer, setup_worker_optimizations
    with contextlib.redirect_stdout(None):
        from proj.celery import app as proj
    app = proj
    app.loader.import_default_modules()
    # As in a worker of Celery, for what is compared with it.
    setup_worker_optimizations(app, HOSTNAME)
    for name, task in app.tasks.items():
        task.__trace__ = build_tracer(name, task, app.loader, HOSTNAME, app=app)


def tearDownModule():
    app.backend.client.close()
    app.pool.force_close_all()


def since(version):
    """For what older versions of Celery do not do."""
    import celery
    return unittest.skipIf(celery.VERSION[:2] < version, "Celery does so since %d.%d" % version)


def task(name, *args, **options):
    return message(app, "proj.tasks." + name, *args, **options)


def stored(task_id):
    """What is in the result backend."""
    with redis.client(1) as client:
        raw = client.get("celery-task-meta-" + task_id)
    return raw and json.loads(raw)


def store(_head, body):
    """The answer of a worker that stores at once."""
    with redis.client(1) as client:
        client.set("celery-task-meta-" + json.loads(body)["task_id"], body)


def sent(queue="proj"):
    """The messages in a queue, which are taken out."""
    with redis.client(0) as client:
        raw = client.lrange(queue, 0, -1)
        client.delete(queue)
    return [json.loads(one) for one in reversed(raw)]


def request_of(made):
    head, body = made
    properties = head["properties"]
    delivery = {key: head["delivery_info"][key] for key in ("exchange", "routing_key", "priority", "redelivered")}
    return dict(head["headers"], properties=properties, reply_to=properties.get("reply_to"),
                correlation_id=properties["correlation_id"], hostname=HOSTNAME, delivery_info=delivery)


def by_celery(made, name=None):
    """Runs a message with Celery's own tracer and backend, and returns what is stored then."""
    from celery.app.trace import fast_trace_task
    head, body = made
    with silent_logs():
        fast_trace_task(head["task"], head["headers"]["id"], request_of(made), body, "application/json", "utf-8")
    return stored(name or head["headers"]["id"])


@contextlib.contextmanager
def silent_logs():
    import logging
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def forget(*task_ids):
    with redis.client(1) as client:
        for task_id in task_ids:
            client.delete("celery-task-meta-" + task_id)


def pinned(document):
    """A document without what differs from run to run."""
    document = json.loads(json.dumps(document).replace("NaN", '"NaN"'))
    if document.get("date_done"):
        document["date_done"] = "a date"
    return document


class WithChild(unittest.TestCase):
    """The tests of a class share a child."""

    options = {}
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.child = Supervisor(**cls.options)
        cls.addClassCleanup(cls.child.kill)

    def setUp(self):
        self.child.on_store = lambda head, body: None
        sent()

    def run_task(self, name, *args, **options):
        return self.child.run(task(name, *args, **options))


class Ends(WithChild):
    """What a run ends with, where the worker stores, is what Celery stores."""

    def same_as_celery(self, made, end):
        outcome = self.child.run(made)
        self.assertEqual(outcome.end, end, outcome.head)
        self.assertTrue(outcome.head["handled"])
        self.assertFalse(outcome.head["stored"])
        expected = by_celery(made)
        self.assertIsNotNone(expected)
        self.assertEqual(pinned(outcome.document), pinned(expected))
        return outcome

    def test_success(self):
        outcome = self.same_as_celery(task("add", 1, 2), "success")
        self.assertEqual(outcome.value, 3)
        self.assertEqual(outcome.head["repr"], "3")
        self.assertGreater(outcome.head["runtime"], 0)
        self.assertEqual(outcome.stores, [])

    def test_values_with_types_of_their_own(self):
        self.same_as_celery(task("rich"), "success")
        self.same_as_celery(task("echo", None), "success")

    def test_failure(self):
        outcome = self.same_as_celery(task("fail", "ValueError", "why", 1), "failure")
        self.assertEqual(outcome.head["repr"], "ValueError('why', 1)")
        self.assertFalse(outcome.head["expected"])
        self.assertTrue(outcome.head["failure"]["traceback"].rstrip().endswith("ValueError: ('why', 1)"))

    def test_expected_failure(self):
        self.assertTrue(self.same_as_celery(task("fail", "Expected", "no harm"), "failure").head["expected"])

    def test_exception_that_cannot_be_pickled(self):
        self.same_as_celery(task("fail", "Peculiar", "a", "b"), "failure")

    def test_arguments_that_do_not_fit(self):
        outcome = self.same_as_celery(task("add", 1, headers_more={"argsrepr": "(1,)"}), "failure")
        self.assertEqual(outcome.head["failure"]["exc_type"], "TypeError")

    def test_member_of_a_group(self):
        self.same_as_celery(task("add", 1, 2, group_id="g", group_index=1, parent_id="p", root_id="r"), "success")

    def test_retry(self):
        for how, exc in (("exc", "ValueError"), (None, None)):
            with self.subTest(how=how):
                made = task("retry", how)
                outcome = self.child.run(made)
                again, = sent()
                expected = by_celery(made)
                again_by_celery, = sent()
                self.assertEqual(outcome.end, "retried")
                self.assertEqual(pinned(outcome.document), pinned(expected))
                self.assertEqual(outcome.head["when"], "in 7s")
                self.assertEqual(outcome.head["failure"] and outcome.head["failure"]["exc_type"], exc)
                for one in (again, again_by_celery):
                    del one["headers"]["eta"], one["headers"]["origin"], one["properties"]["delivery_tag"]
                    del one["properties"]["reply_to"]
                self.assertEqual(again, again_by_celery)
                self.assertEqual(again["headers"]["retries"], 1)

    def test_autoretry(self):
        outcome = self.run_task("autoretry")
        self.assertEqual((outcome.end, outcome.head["when"]), ("retried", "in 5s"))
        self.assertEqual(len(sent()), 1)

    def test_replace(self):
        made = task("replace")
        outcome = self.child.run(made)
        self.assertEqual(outcome.end, "ignore")
        self.assertNotIn("document", outcome.head)
        new, = sent()
        self.assertEqual(new["headers"]["id"], made[0]["headers"]["id"])
        self.assertEqual(new["headers"]["task"], "proj.tasks.add")

    def test_ignore(self):
        outcome = self.run_task("ignore")
        self.assertEqual((outcome.end, outcome.stores), ("ignore", []))
        self.assertNotIn("document", outcome.head)

    def test_reject(self):
        outcome = self.run_task("reject", True)
        self.assertEqual((outcome.end, outcome.head["requeue"], outcome.head["reason"]), ("reject", True, "no thanks"))
        self.assertNotIn("document", outcome.head)

    @since((5, 7))
    def test_reject_for_good_is_a_failure(self):
        from celery.app.task import Context
        from celery.exceptions import Reject
        made = task("reject", False)
        outcome = self.child.run(made)
        self.assertEqual((outcome.end, outcome.head["requeue"]), ("reject", False))
        task_id = made[0]["headers"]["id"]
        # As Celery's main process does.
        app.backend.mark_as_failure(task_id, Reject("no thanks", requeue=False), request=Context(request_of(made)))
        self.assertEqual(pinned(outcome.document), pinned(stored(task_id)))

    def test_ignored_results(self):
        for name, end, kept in (("noop", "success", False), ("unserialisable_ignored", "success", False),
                                ("fail_ignored", "failure", False), ("fail_ignored_stored", "failure", True)):
            with self.subTest(name):
                made = task(name)
                outcome = self.child.run(made)
                self.assertEqual(outcome.end, end)
                self.assertFalse(outcome.head["stored"])
                self.assertEqual("document" in outcome.head, kept)
                self.assertEqual(by_celery(made) is not None, kept)
                if end == "failure":
                    self.assertEqual(outcome.head["failure"]["exc_type"], "ValueError")
                    self.assertIn("ValueError", outcome.head["failure"]["traceback"])

    def test_the_caller_may_ignore_the_result(self):
        outcome = self.run_task("add", 1, 2, ignore_result=True)
        self.assertEqual(outcome.end, "success")
        self.assertNotIn("document", outcome.head)
        self.assertEqual(outcome.body, b"")

    def test_value_that_is_no_json(self):
        made = task("unserialisable")
        outcome = self.child.run(made)
        self.assertEqual(outcome.end, "failure")
        ours, celerys = pinned(outcome.document), pinned(by_celery(made))
        # The tracebacks go through the backend, which is not the same.
        for document in (ours, celerys):
            self.assertIn("EncodeError", document.pop("traceback"))
        self.assertEqual(ours, celerys)

    def test_value_of_50_megabytes(self):
        size = 50 << 20
        outcome = self.run_task("big", size)
        self.assertEqual(len(outcome.value), size)
        outcome = self.run_task("echo", "y" * size)
        self.assertEqual(len(outcome.value), size)
        self.assertEqual(self.run_task("add", 1, 2).value, 3)

    def test_children_and_links(self):
        made = task("spawn")
        outcome = self.child.run(made)
        child, = sent()
        self.assertEqual(outcome.head["children"], [[[child["headers"]["id"], None], None]])
        self.assertEqual(outcome.head["document"]["children"], outcome.head["children"])
        self.assertEqual(child["headers"]["parent_id"], made[0]["headers"]["id"])
        linked = task("add", 1, 2, callbacks=[app.tasks["proj.tasks.echo"].s()])
        outcome = self.child.run(linked)
        link, = sent()
        self.assertEqual(outcome.head["children"], [[[link["headers"]["id"], None], None]])

    def test_group_result_as_value(self):
        outcome = self.run_task("spawn_group")
        self.assertEqual(len(sent()), 2)
        (_group_id, _parent), results = outcome.value
        self.assertEqual(len(results), 2)

    def test_next_of_a_chain(self):
        later = app.tasks["proj.tasks.echo"].s().set(task_id="next-of-chain")
        self.run_task("add", 1, 2, chain=[later])
        self.assertEqual([one["headers"]["id"] for one in sent()], ["next-of-chain"])

    def test_steps_behind_a_failure(self):
        add = app.tasks["proj.tasks.add"]
        behind = [add.s(1).set(task_id="behind-2"), add.s(2).set(task_id="behind-1")]
        made = task("fail", "KeyError", "no", chain=behind)
        outcome = self.child.run(made)
        self.assertEqual(outcome.end, "failure")
        self.assertEqual(outcome.stores, [])
        by_celery(made)
        records = {record["task_id"]: pinned(record) for record in outcome.head["records"]}
        self.assertEqual(records, {name: pinned(stored(name)) for name in ("behind-1", "behind-2")})

    def test_parts_of_a_chord(self):
        body = dict(app.tasks["proj.tasks.echo"].s(), chord_size=2)
        for name, args, state in (("add", (1, 2), "SUCCESS"), ("fail", ("ValueError", "x"), "FAILURE")):
            with self.subTest(name):
                group = "chord-of-" + name
                made = task(name, *args, group_id=group, group_index=1, chord=body)
                outcome = self.child.run(made)
                part, = outcome.head["parts"]
                by_celery(made)
                with redis.client(1) as client:
                    counted = client.zrange("celery-taskset-meta-%s.j" % group, 0, 0)[0]
                _, task_id, celerys_state, result = json.loads(counted)
                self.assertEqual(part, {
                    "task_id": task_id, "group": group, "group_index": 1, "chord": json.loads(json.dumps(body)),
                    "state": celerys_state, "result": result,
                })
                self.assertEqual(part["state"], state)

    def test_part_of_a_chord_behind_a_failure(self):
        body = dict(app.tasks["proj.tasks.echo"].s(), chord_size=1)
        behind = app.tasks["proj.tasks.add"].s(1).set(task_id="part-behind", group_id="g-behind", chord=body)
        behind.options["group_index"] = 0
        outcome = self.run_task("fail", chain=[behind])
        part, = outcome.head["parts"]
        self.assertEqual((part["task_id"], part["group"], part["state"]), ("part-behind", "g-behind", "FAILURE"))
        self.assertEqual([record["task_id"] for record in outcome.head["records"]], ["part-behind"])

    def test_part_of_an_ignored_task(self):
        body = dict(app.tasks["proj.tasks.echo"].s(), chord_size=1)
        outcome = self.run_task("noop", group_id="g-ignored", group_index=0, chord=body)
        self.assertNotIn("document", outcome.head)
        self.assertEqual(outcome.head["parts"][0]["result"], None)

    def test_unknown_task(self):
        outcome = self.run_task("nowhere")
        self.assertEqual((outcome.end, outcome.head["handled"]), ("unavailable", False))
        self.assertEqual(outcome.head["failure"]["exc_type"], "NotRegistered")

    def test_result_of_an_earlier_run_stays(self):
        # Only with acks_late and worker_deduplicate_successful_tasks; see Deduplicated.
        self.assertNotIn("already", self.run_task("add", 1, 2, redelivered=True).head)

    def test_exception_that_is_no_exception(self):
        made = task("raise_base")
        outcome = self.child.run(made)
        self.assertEqual(outcome.end, "failure")
        self.assertEqual(outcome.document["result"],
                         {"exc_type": "OwnBase", "exc_message": ["base"], "exc_module": "proj.tasks"})


class Extended(WithChild):
    settings = {"result_extended": True}
    options = {"env": {"PROJ_SETTINGS": json.dumps(settings)}}

    def test_extended_documents(self):
        app.conf.update(self.settings)
        self.addCleanup(app.conf.update, {"result_extended": False})
        stamps = {"stamped_headers": ["s"], "stamps": {"s": ["1"]}}
        for made in (task("add", 1, 2), task("fail", headers_more=stamps)):
            outcome = self.child.run(made)
            expected = by_celery(made)
            self.assertEqual(expected["worker"], HOSTNAME)
            self.assertEqual(pinned(outcome.document), pinned(expected))


class Deduplicated(WithChild):
    options = {"env": {"PROJ_SETTINGS": json.dumps(
        {"task_acks_late": True, "worker_deduplicate_successful_tasks": True})}}

    def test_a_run_that_has_succeeded_already(self):
        made = task("add", 1, 2, redelivered=True)
        by_celery(made)
        outcome = self.child.run(made)
        self.assertEqual((outcome.end, outcome.head["already"], outcome.head["stored"]), ("success", True, True))
        self.assertNotIn("document", outcome.head)


class Stores(WithChild):
    """States that are stored while a run goes on."""

    def setUp(self):
        super().setUp()
        self.child.on_store = store

    def test_progress_is_stored_before_the_task_goes_on(self):
        made = task("progress")
        outcome = self.child.run(made)
        (head, document), = outcome.stores
        self.assertEqual((head["wait"], head["state"], head["run"]), (True, "PROGRESS", self.child.number))
        self.assertEqual(outcome.value, "PROGRESS")
        forget(document["task_id"])
        app.backend.store_result(document["task_id"], {"done": 1}, "PROGRESS", request=self.context(made))
        self.assertEqual(document, stored(document["task_id"]))

    @staticmethod
    def context(made):
        from celery.app.task import Context
        return Context(request_of(made))

    def test_started_does_not_wait(self):
        made = task("started")
        outcome = self.child.run(made)
        (head, document), = outcome.stores
        self.assertEqual((head["wait"], document["status"]), (False, "STARTED"))
        self.assertEqual(document["result"], {"pid": self.child.process.pid, "hostname": HOSTNAME})
        self.assertEqual(outcome.end, "success")

    def test_a_store_that_fails_fails_the_task(self):
        self.child.on_store = lambda head, body: "no disk"
        outcome = self.run_task("progress")
        self.assertEqual(outcome.end, "failure")
        self.assertEqual(outcome.head["failure"]["exc_type"], "BackendStoreError")
        self.assertEqual(outcome.head["failure"]["exc_message"], ["no disk"])

    def test_an_end_that_cannot_be_stored(self):
        self.child.on_store = lambda head, body: "no disk"
        with_errback = task("fail", errbacks=[app.tasks["proj.tasks.errback"].s()])
        outcome = self.child.run(with_errback)
        self.assertEqual((outcome.end, outcome.head["handled"], outcome.head["stored"]), ("failure", False, False))
        self.assertNotIn("document", outcome.head)
        self.assertEqual(self.run_task("add", 1, 2).value, 3)

    def test_a_state_that_looks_like_an_end(self):
        outcome = self.run_task("fail_by_hand")
        self.assertEqual([head["state"] for head, _ in outcome.stores], ["FAILURE"])
        self.assertEqual(outcome.end, "ignore")
        self.assertNotIn("document", outcome.head)

    def test_another_task(self):
        outcome = self.run_task("store_elsewhere", "elsewhere")
        (head, document), = outcome.stores
        self.assertEqual((head["wait"], document["task_id"], document["status"]), (True, "elsewhere", "ELSEWHERE"))

    def test_threads(self):
        outcome = self.run_task("store_in_threads", 8)
        self.assertEqual(outcome.value, [])
        self.assertEqual({document["task_id"] for _, document in outcome.stores}, {"thread-%d" % at for at in range(8)})

    def test_hooks_see_the_state(self):
        for how, end, hook, state in (("success", "success", "on_success", "SUCCESS"),
                                      ("failure", "failure", "on_failure", "FAILURE"),
                                      ("retry", "retried", "on_retry", "RETRY")):
            with self.subTest(how):
                made = task("hooked", how)
                outcome = self.child.run(made)
                self.assertEqual((outcome.end, outcome.head["stored"]), (end, True))
                self.assertNotIn("document", outcome.head)
                self.assertEqual([(head["wait"], head["state"]) for head, _ in outcome.stores], [(True, state)])
                if how == "failure":
                    self.assertEqual(outcome.head["failure"]["exc_message"], ["hooked"])
                told = self.run_task("tell").value
                self.assertEqual(told[0], ["before_start", made[0]["headers"]["id"]])
                self.assertIn([hook, state], told)
                self.assertEqual(["after_return", state] in told, how != "retry")

    def test_errbacks_see_the_state(self):
        made = task("fail", errbacks=[app.tasks["proj.tasks.errback"].s(), app.tasks["proj.tasks.old_errback"].s()])
        outcome = self.child.run(made)
        self.assertTrue(outcome.head["stored"])
        self.assertEqual([document["status"] for _, document in outcome.stores], ["FAILURE"])
        self.assertEqual(self.run_task("tell").value, [["errback", made[0]["headers"]["id"], "ValueError"]])
        message_of_errback, = sent()
        self.assertEqual(message_of_errback["headers"]["task"], "proj.tasks.old_errback")

    def test_a_process_of_the_task_stores_by_itself(self):
        outcome = self.run_task("fork_and_store", "forked")
        self.assertEqual((outcome.value, outcome.stores), (0, []))
        self.assertEqual(stored("forked")["status"], "FORKED")

    def test_reading_results_works(self):
        made = task("add", 4, 5)
        by_celery(made)
        outcome = self.run_task("read_result", made[0]["headers"]["id"])
        self.assertEqual(outcome.value, [9, "SUCCESS", "RedisBackend"])

    def test_a_backend_store_at_once_keeps_its_parts(self):
        body = dict(app.tasks["proj.tasks.echo"].s(), chord_size=1)
        outcome = self.run_task("hooked", group_id="g-hooked", group_index=0, chord=body)
        self.assertTrue(outcome.head["stored"])
        self.assertEqual(outcome.head["parts"][0]["result"], "hooked")
        self.run_task("tell")


class ByTheChild(WithChild):
    """Where the child stores, it does what Celery does."""

    options = {"results": "child"}

    def test_success_and_failure(self):
        self.assertEqual(self.child.ready["results"], "child")
        for name, args, end in (("add", (1, 2), "success"), ("fail", ("KeyError", "k"), "failure"),
                                ("retry", (), "retried")):
            with self.subTest(name):
                made = task(name, *args)
                outcome = self.child.run(made)
                self.assertEqual((outcome.end, outcome.head["stored"], outcome.stores), (end, True, []))
                self.assertEqual(outcome.body, b"")
                self.assertNotIn("document", outcome.head)
                by_child = stored(made[0]["headers"]["id"])
                if end == "failure":
                    self.assertEqual(dict(by_child["result"], traceback=by_child["traceback"]), outcome.head["failure"])
                forget(made[0]["headers"]["id"])
                self.assertEqual(pinned(by_child), pinned(by_celery(made)))

    def test_ignored(self):
        for name in ("noop", "fail_ignored"):
            self.assertFalse(self.run_task(name).head["stored"])
        self.assertTrue(self.run_task("fail_ignored_stored").head["stored"])

    def test_progress(self):
        outcome = self.run_task("progress")
        self.assertEqual(outcome.stores, [])
        self.assertIn("PROGRESS", outcome.head["repr"])

    def test_chord(self):
        body = dict(app.tasks["proj.tasks.echo"].s().set(task_id="body-of-chord"), chord_size=1)
        app.backend.set_chord_size("g-child", 1)
        outcome = self.run_task("add", 1, 2, group_id="g-child", group_index=0, chord=body)
        self.assertNotIn("parts", outcome.head)
        self.assertEqual([one["headers"]["id"] for one in sent()], ["body-of-chord"])


class Disabled(WithChild):
    options = {"env": {"PROJ_SETTINGS": json.dumps({"result_backend": "disabled://"})}, "describe": True}

    def test_nothing_is_stored(self):
        self.assertEqual(self.child.ready["results"], "child")
        self.assertFalse(self.child.ready["app"]["backend"]["is_plain"])
        outcome = self.run_task("add", 1, 2)
        self.assertEqual((outcome.end, outcome.head["stored"], outcome.stores), ("success", False, []))
        self.assertFalse(self.run_task("fail").head["stored"])


class Pickled(WithChild):
    """Other serializers of messages and results."""

    options = {"describe": True, "env": {"C_FORCE_ROOT": "1", "PROJ_SETTINGS": json.dumps({
        "accept_content": ["json", "pickle"], "result_serializer": "pickle",
        "result_accept_content": ["pickle", "json"]})}}

    def test_results_that_are_no_json_are_the_childs(self):
        self.assertEqual(self.child.ready["results"], "child")
        self.assertFalse(self.child.ready["app"]["backend"]["is_plain"])
        outcome = self.run_task("fail", "Peculiar", "a", "b")
        self.assertTrue(outcome.head["stored"])
        self.assertEqual(outcome.head["failure"]["exc_module"], "celery.utils.serialization")

    def test_pickled_message(self):
        outcome = self.run_task("echo", {"a": {1, 2}}, raw=True, serializer="pickle")
        self.assertEqual((outcome.end, outcome.head["repr"]), ("success", "{'a': {1, 2}}"))


class Messages(WithChild):
    """What a message may look like."""

    def test_raw_bodies(self):
        self.assertEqual(self.run_task("add", 1, 2, raw=True).value, 3)
        for compression in ("gzip", "bzip2", "zlib"):
            self.assertEqual(self.run_task("add", 1, 2, raw=True, compression=compression).value, 3)

    def test_types_of_kombu(self):
        import datetime
        import uuid
        for raw in (False, True):
            outcome = self.run_task("kinds", datetime.datetime(2030, 1, 2), uuid.UUID(int=5), b"\xff", raw=raw)
            self.assertEqual(outcome.value, ["datetime", "UUID", "bytes"])

    def test_request(self):
        made = task("request", kwargs={}, headers_more={"own": "header"}, time_limit=9)
        ours = self.child.run(made).value
        from celery.app.task import Context
        expected = dict(request_of(made), args=[], kwargs={}, is_eager=False, callbacks=None, errbacks=None, chain=None,
                        chord=None)
        context = vars(Context(expected, called_directly=False))
        self.assertEqual(ours.pop("as_options"), json.loads(json.dumps(Context(expected).as_execution_options())))
        self.assertTrue(ours.pop("current"))
        ours.pop("_protected")
        self.assertEqual(ours, json.loads(json.dumps(context)))
        self.assertEqual(ours["delivery_info"],
                         {"exchange": "", "routing_key": "proj", "priority": 0, "redelivered": False})

    def test_version_1(self):
        body = {"id": "one", "task": "proj.tasks.add", "args": [1, 2], "kwargs": {}, "retries": 0, "eta": None,
                "expires": None, "utc": True, "callbacks": None, "errbacks": None, "timelimit": [None, None],
                "taskset": None, "chord": None}
        head = dict(task("add")[0], raw=True, headers={})
        outcome = self.child.run((head, json.dumps(body).encode()))
        self.assertEqual((outcome.end, outcome.value), ("success", 3))
        self.assertEqual(outcome.document["task_id"], "one")

    def refused(self, head, body, why, exception=None):
        outcome = self.child.run((head, body))
        self.assertEqual((outcome.end, outcome.head["handled"], outcome.head["refused"]), ("failure", False, why))
        self.assertNotIn("document", outcome.head)
        if exception:
            self.assertEqual(outcome.head["failure"]["exc_type"], exception)

    def test_what_cannot_be_read(self):
        head, body = task("add", 1, 2, raw=True)
        self.refused(head, b"[1, 2", "decode", "DecodeError")
        self.refused(dict(head, headers=dict(head["headers"], compression="application/x-gzip")), body, "decode")
        self.refused(dict(head, raw=False), b"\xff", "decode")

    def test_what_is_not_accepted(self):
        head, body = task("add", 1, 2, raw=True, serializer="pickle")
        self.refused(head, body, "content", "ContentDisallowed")

    def test_what_makes_no_sense(self):
        head, body = task("add", 1, 2)
        self.refused(head, b"[1]", "invalid")
        self.refused(dict(head, headers={}), body, "invalid", "KeyError")
        self.refused(head, b'[[], "no map", {}]', "invalid", "InvalidTaskError")
        self.assertEqual(self.run_task("add", 1, 2).value, 3)

    def test_frames_that_mean_nothing_here(self):
        self.child.send(SOFT, {"run": 1})
        self.child.send(CANCEL, {"run": 1})
        self.assertEqual(self.run_task("add", 1, 2).value, 3)


class Limits(WithChild):
    """The soft limit is a signal."""

    def test_soft_limit(self):
        with tempfile.TemporaryDirectory() as folder:
            flag = pathlib.Path(folder) / "runs"
            self.child.begin(task("wait_for_soft", str(flag)))
            until(flag.exists, "the task")
            self.child.signal()
            self.assertEqual(self.child.finish().value, "soft")

    def test_between_runs_it_is_for_nobody(self):
        self.child.signal()
        self.assertEqual(self.run_task("add", 1, 2).value, 3)

    def test_while_the_body_stores(self):
        self.child.on_store = lambda head, body: self.child.signal()
        self.assertEqual(self.run_task("soft_in_store").value, "soft")

    def test_after_the_body(self):
        self.child.on_store = lambda head, body: self.child.signal()
        outcome = self.run_task("hooked")
        self.assertEqual(outcome.end, "success")
        self.run_task("tell")

    def test_a_failure_is_not_replaced(self):
        self.child.on_store = lambda head, body: self.child.signal()
        outcome = self.run_task("hooked", "failure")
        self.assertEqual(outcome.head["failure"]["exc_type"], "ValueError")
        self.run_task("tell")

    def test_timers_of_the_task(self):
        def late(head, body):
            end = time.monotonic() + 0.1
            until(lambda: time.monotonic() > end)

        self.child.on_store = late
        self.assertEqual(self.run_task("alarm_in_store").value, "alarm")
        self.assertEqual(self.run_task("add", 1, 2).value, 3)


class Instead(WithChild):
    """Runs that have ended outside of the child."""

    def request(self, made):
        """Celery's own request, as in its main process."""
        from celery.utils.objects import Bunch
        from celery.worker.request import Request
        head, body = made
        payload = json.loads(body)
        return Request(
            Bunch(headers=head["headers"], body=body, properties=head["properties"], payload=payload,
                  delivery_info=head["delivery_info"], content_type="application/json", content_encoding="utf-8"),
            app=app, task=app.tasks[head["task"]], hostname=HOSTNAME)

    def test_time_limit(self):
        for name, hooks in (("add", False), ("hooked", True)):
            with self.subTest(name):
                self.child.on_store = store
                made = task(name, 1, 2) if name == "add" else task(name)
                outcome = self.child.run(made, instead={
                    "state": "FAILURE", "exc_type": "TimeLimitExceeded", "exc_module": "billiard.exceptions",
                    "exc_message": [5], "traceback": None, "hooks": True})
                self.assertEqual(outcome.end, "failure")
                document = outcome.stores[0][1] if hooks else outcome.document
                forget(made[0]["headers"]["id"])
                with silent_logs():
                    self.request(made).on_timeout(soft=False, timeout=5)
                self.assertEqual(pinned(document), pinned(stored(made[0]["headers"]["id"])))
                told = self.run_task("tell").value
                self.assertEqual([one[0] for one in told], ["on_failure", "exc", "after_return"] if hooks else [])
                self.child.on_store = lambda head, body: None

    @since((5, 7))
    def test_lost_child(self):
        lost = {"state": "FAILURE", "exc_type": "WorkerLostError", "exc_module": "billiard.exceptions",
                "exc_message": "Worker exited prematurely: exitcode 1.", "traceback": None, "hooks": False}
        behind = app.tasks["proj.tasks.add"].s(1).set(task_id="behind-lost")
        made = task("add", 1, 2, chain=[behind])
        outcome = self.child.run(made, instead=lost)
        self.assertEqual((outcome.end, outcome.head["failure"]["exc_type"]), ("failure", "WorkerLostError"))
        self.assertEqual([record["task_id"] for record in outcome.head["records"]], ["behind-lost"])
        task_id = made[0]["headers"]["id"]
        with silent_logs():
            request = self.request(made)
            request.on_failure(request._worker_lost_info(SystemExit(1)))
        expected = stored(task_id)
        expected["result"]["exc_message"] = outcome.document["result"]["exc_message"]
        self.assertEqual(pinned(outcome.document), pinned(expected))

    def test_lost_after_the_success(self):
        made = task("add", 1, 2)
        by_celery(made)
        outcome = self.child.run(made, instead={"state": "FAILURE", "exc_type": "WorkerLostError",
                                                "exc_module": "billiard.exceptions", "exc_message": "lost"})
        self.assertEqual((outcome.end, outcome.head["already"], outcome.head["repr"]), ("success", True, "3"))
        self.assertNotIn("document", outcome.head)

    def test_revoked(self):
        body = dict(app.tasks["proj.tasks.echo"].s(), chord_size=1)
        made = task("add", 1, 2, group_id="g-revoked", group_index=0, chord=body)
        outcome = self.child.run(made, instead={"state": "REVOKED", "exc_type": "TaskRevokedError",
                                                "exc_module": "celery.exceptions", "exc_message": "expired",
                                                "expired": True})
        self.assertEqual((outcome.end, outcome.head["parts"][0]["state"]), ("revoked", "REVOKED"))
        with silent_logs():
            self.request(made)._announce_revoked("expired", False, None, True)
        self.assertEqual(pinned(outcome.document), pinned(stored(made[0]["headers"]["id"])))

    def test_errbacks(self):
        self.child.on_store = store
        made = task("add", 1, 2, errbacks=[app.tasks["proj.tasks.errback"].s()])
        self.child.run(made, instead={"state": "FAILURE", "exc_type": "TimeLimitExceeded",
                                      "exc_module": "billiard.exceptions", "exc_message": [5], "hooks": True})
        self.assertEqual(self.run_task("tell").value, [["errback", made[0]["headers"]["id"], "TimeLimitExceeded"]])


    def test_a_call_of_an_errback(self):
        request = {"id": "failed", "task": "proj.tasks.add"}
        error = {"exc_type": "KeyError", "exc_module": "builtins", "exc_message": ["gone"]}
        ended = self.child.run(task("errback", request, error, "the traceback"), errback=3)
        self.assertEqual((ended.head["end"], ended.head["handled"], ended.stores), ("success", True, []))
        self.assertEqual(self.run_task("tell").value, [["errback", "failed", "KeyError"]])
        # An immutable one has its own arguments alone.
        ended = self.child.run(task("errback", 1), errback=0)
        self.assertEqual((ended.head["end"], ended.head["failure"]["exc_type"]), ("failure", "TypeError"))


class Signals(unittest.TestCase):
    """Signals are sent as under prefork."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.events = pathlib.Path(self.folder.name) / "events"
        self.child = Supervisor(app="proj.signals_app", describe=True, env={"PROJ_EVENTS": str(self.events)},
                                start={"options": {"queues": "a"}})
        self.addCleanup(self.child.kill)
        self.child.on_store = store

    def noted(self):
        lines = [json.loads(line) for line in self.events.read_text().splitlines()]
        self.events.write_text("")
        return lines

    def message(self, name, *args):
        return message(app, "proj.signals_app." + name, *args)

    def test_a_life(self):
        import celery
        sender = HOSTNAME if celery.VERSION[:2] >= (5, 7) else None
        self.assertEqual(self.noted(), [
            ["celeryd_init", {"sender": HOSTNAME, "app": True, "options": {"queues": "a"}}],
            ["worker_init", {"app": True}],
            ["worker_process_init", {"sender": sender}],
        ])
        self.assertEqual(self.child.ready["app"]["conf"]["task_default_rate_limit"], "10/m")
        # Receivers may look at the state, so it is stored before they are called.
        outcome = self.child.run(self.message("add", 1, 2))
        self.assertTrue(outcome.head["stored"])
        self.assertEqual(self.noted(), [
            ["task_prerun", {"task": "proj.signals_app.add", "args": [1, 2]}],
            ["task_postrun", {"state": "SUCCESS", "stored": "SUCCESS"}],
        ])
        self.child.run(self.message("fail"))
        self.assertEqual(self.noted(), [
            ["task_prerun", {"task": "proj.signals_app.fail", "args": []}],
            ["task_failure", {"task": "proj.signals_app.fail", "exception": "ValueError", "request": True}],
            ["task_postrun", {"state": "FAILURE", "stored": "FAILURE"}],
        ])
        self.child.run(self.message("add", 1, 2), instead={
            "state": "FAILURE", "exc_type": "WorkerLostError", "exc_module": "billiard.exceptions", "exc_message": "x"})
        self.assertEqual(self.noted(), [
            ["task_failure", {"task": "proj.signals_app.add", "exception": "WorkerLostError", "request": True}]])
        outcome = self.child.run(self.message("add", 1, 2), instead={
            "state": "REVOKED", "exc_message": "terminated", "terminated": True, "signum": 15})
        self.assertTrue(outcome.head["stored"])
        self.assertEqual(self.noted(), [
            ["task_revoked", {"task": "proj.signals_app.add", "terminated": True, "signum": 15, "expired": False}]])
        self.assertEqual(self.child.stop(), 0)
        self.assertEqual(self.noted(), [["worker_process_shutdown", {"pid": True, "exitcode": 0}]])


@unittest.skipUnless(importlib.util.find_spec("django"), "Django is not installed")
class Django(WithChild):
    """Celery's fix-up for Django works in a child."""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        # A file, since Django never closes a database in memory.
        cls.options = {"app": "proj.django_app", "describe": True, "env": {
            "DJANGO_SETTINGS_MODULE": "proj.django_settings", "PROJ_DATABASE": folder.name + "/db"}}
        super().setUpClass()

    def run_task(self, name, *args, **options):
        return self.child.run(message(app, "proj.django_app." + name, *args, **options))

    def test_settings(self):
        told = self.child.ready["app"]
        self.assertEqual(told["conf"]["task_acks_late"], True)
        self.assertEqual(told["effective"]["timezone"], "Europe/Paris")

    def test_connections_are_closed_after_each_task(self):
        first = self.run_task("query")
        self.assertEqual(first.value, 1)
        # The fix-up listens for the end of tasks, and is known not to look.
        self.assertIn("document", first.head)
        self.assertEqual(self.run_task("had_connection").value, [False, True])


class Description(unittest.TestCase):
    maxDiff = None

    def describe(self, app, **options):
        child = Supervisor(app=app, describe=True, **options)
        self.addCleanup(child.kill)
        return child.ready["app"]

    @since((5, 7))
    def test_tasks(self):
        import celery
        told = self.describe("proj.routed_app")
        self.assertEqual((told["celery"], told["main"]), (celery.__version__, "routed"))
        self.assertEqual(told["python"], ".".join(map(str, sys.version_info[:3])))
        tasks = {one["name"]: one for one in told["tasks"]}
        self.assertIn("celery.chord_unlock", tasks)
        configured = tasks["proj.routed_app.configured"]
        expected = {"queue": "low", "rate_limit": "1/s", "time_limit": 9, "soft_time_limit": 7, "max_retries": None,
                    "acks_late": True, "expires": 60.0, "priority": 4, "ignore_result": False, "serializer": "json",
                    "exchange": None, "routing_key": None, "compression": None, "track_started": False,
                    "typing": True, "trail": True, "resultrepr_maxsize": 1024, "send_events": True,
                    "default_retry_delay": 180, "reject_on_worker_lost": None, "retry_on_worker_lost": False,
                    "store_errors_even_if_ignored": False, "acks_on_failure": True, "acks_on_timeout": True,
                    "acks_on_failure_or_timeout": True, "name": "proj.routed_app.configured",
                    "called_with": {"positional": [], "keyword_only": [], "var_args": False, "var_kwargs": False}}
        self.assertEqual(configured, expected)

    def test_settings(self):
        told = self.describe("proj.routed_app")
        conf, left = told["conf"], told["conf_left_out"]
        low, plain = conf["task_queues"]
        self.assertEqual((low["name"], low["routing_key"], low["queue_arguments"], low["max_priority"]),
                         ("low", "low.#", {"x-max-priority": 3}, 5))
        self.assertEqual((low["exchange"]["name"], low["exchange"]["type"]), ("tasks", "topic"))
        self.assertEqual((plain["name"], plain["exchange"]["name"]), ("plain", ""))
        self.assertEqual(conf["task_routes"],
                         [None, {"proj.*": {"queue": "low"}}, None, [["feed.*", {"queue": "feed"}]]])
        self.assertEqual(conf["result_expires"], 7200)
        self.assertEqual(conf["broker_use_ssl"], {"cert_reqs": 2})
        self.assertEqual(conf["redis_backend_health_check_interval"], 7)
        self.assertEqual(conf["task_annotations"], {"*": {"rate_limit": "1/s", "on_failure": None}})
        self.assertFalse([name for name in conf if name.startswith("beat_")])
        self.assertEqual(left, {
            "task_routes[0]": "function proj.routed_app.route",
            "task_routes[2]": "router proj.routed_app.Router",
            "task_annotations.*.on_failure": "function proj.routed_app.route",
            "result_backend_transport_options.opaque": "proj.routed_app.Opaque",
        })
        effective = told["effective"]
        # The worker needs the passwords.
        self.assertEqual(effective["broker_url"], "redis://:secret@127.0.0.1:1/0")
        self.assertEqual(effective["broker_write_url"], effective["broker_url"])
        self.assertEqual(effective["task_default_exchange"], "celery")
        self.assertEqual(effective["worker_prefetch_multiplier"], 4)
        self.assertEqual(told["backend"], {
            "class": "celery.backends.redis.RedisBackend", "url": "redis://:secret@127.0.0.1:1/1", "serializer": "json",
            "persistent": True, "is_plain": True})

    def test_environment(self):
        told = self.describe("proj", env={"CELERY_BROKER_URL": redis.url + "/5"})
        self.assertEqual(told["effective"]["broker_url"], redis.url + "/5")
        self.assertEqual(told["effective"]["result_backend"], redis.url + "/1")

    def test_names_with_a_prefix(self):
        told = self.describe("proj.prefixed_app")
        self.assertEqual(told["conf"], {"task_acks_late": True, "broker_url": "memory://"})

    @since((5, 7))
    def test_compressed_results_are_not_plain(self):
        told = self.describe("proj", env={"PROJ_SETTINGS": json.dumps({"result_compression": "gzip"})})
        self.assertFalse(told["backend"]["is_plain"])

    def test_backends_that_the_worker_does_not_drive(self):
        child = Supervisor(start={"backends": ["celery.backends.rpc.RPCBackend"]})
        self.addCleanup(child.kill)
        self.assertEqual(child.ready, {"results": "child"})

    def test_only_on_request(self):
        child = Supervisor()
        self.addCleanup(child.kill)
        self.assertEqual(child.ready, {"results": "worker"})


class Starts(unittest.TestCase):
    """How a child starts, and what it says when it cannot."""

    def start(self, app, **options):
        child = Supervisor(app=app, cwd=options.pop("cwd", HERE / "starts"), ready=False, **options)
        self.addCleanup(child.kill)
        return child

    def failed(self, app, what, text, **options):
        child = self.start(app, **options)
        head, _ = child.expect(FAILED)
        self.assertEqual(head["what"], what, head)
        self.assertIn(text, head["text"])
        self.assertEqual(child.wait(), 2)
        return head["text"]

    def test_hello(self):
        child = self.start("one_app")
        self.assertEqual(child.hello, {"protocol": 1, "pid": child.process.pid})
        child.expect(READY)
        outcome = child.run(message(app, "one_app.add", 1, 2))
        self.assertEqual(outcome.end, "success")
        self.assertEqual(child.stop(), 0)

    def test_missing_module(self):
        self.failed("nowhere", "import", "the module nowhere was not found")

    def test_broken_module(self):
        text = self.failed("broken", "import", 'raise AttributeError("broken on purpose')
        self.assertNotIn("secret", text)
        self.assertIn("redis://user:********@host/0", text)

    def test_module_that_lacks_another(self):
        self.failed("lacks", "import", "celery_that_is_not_installed")

    def test_no_app(self):
        self.failed("no_app", "app", "there is no Celery app in no_app")
        self.failed("no_app:nothing", "app", "not a Celery app")
        self.failed("one_app:nothing", "app", "there is no Celery app in one_app:nothing")

    def test_several_apps(self):
        self.failed("two_apps", "app", "first, second")
        self.start("two_apps:second").expect(READY)

    def test_no_celery(self):
        self.failed("one_app", "celery", "not installed", python=("-S",))

    def test_old_celery(self):
        self.failed("one_app", "celery", "5.2.7", env={"PYTHONPATH": str(HERE / "old_celery")})

    def test_another_protocol(self):
        self.failed("one_app", "protocol", "version 2", start={"protocol": 2})

    @unittest.skipIf(os.getuid(), "root only")
    def test_pickle_as_root(self):
        self.failed("proj", "app", "C_FORCE_ROOT", cwd=HERE,
                    env={"PROJ_SETTINGS": json.dumps({"accept_content": ["pickle"]}), "C_FORCE_ROOT": ""})

    def test_the_module_ends_the_process(self):
        child = self.start("leaves")
        with self.assertRaises(Closed):
            child.receive()
        self.assertEqual(child.wait(), 7)

    def test_the_module_forks(self):
        with tempfile.TemporaryDirectory() as folder:
            fifo = os.path.join(folder, "fifo")
            os.mkfifo(fifo)
            child = Supervisor(app="proj.forking_app", env={"PROJ_FIFO": fifo})
            self.addCleanup(child.kill)
            child.process.kill()
            with self.assertRaises(Closed):
                child.receive()
            os.close(os.open(fifo, os.O_WRONLY))


class Process(unittest.TestCase):
    """The process of a child, and how it ends."""

    def start(self, **options):
        child = Supervisor(**options)
        self.addCleanup(child.kill)
        return child

    def test_surroundings(self):
        told = self.start(index=3, memory=True)
        outcome = told.run(task("process"))
        self.assertEqual(outcome.value, {
            "pid": told.process.pid, "path": str(HERE), "argv": ["celery", "-A", "proj", "worker"],
            "stdin": "/dev/null", "name": "ForkPoolWorker-4", "index": 3, "join_will_block": True, "threads": 1,
            "sigint": True, "sigterm": True})
        self.assertGreater(outcome.head["memory"], 10 << 10)

    def test_ctrl_c_is_not_for_children(self):
        child = self.start()
        child.signal(signal.SIGINT)
        self.assertEqual(child.run(task("add", 1, 2)).value, 3)

    def test_terminate(self):
        child = self.start()
        with tempfile.TemporaryDirectory() as folder:
            flag = pathlib.Path(folder) / "runs"
            child.begin(task("wait_for_soft", str(flag)))
            until(flag.exists)
            child.signal(signal.SIGTERM)
            self.assertEqual(child.wait(), -signal.SIGTERM)

    def test_the_channel_ends(self):
        child = self.start()
        child.channel.shutdown(socket.SHUT_WR)
        self.assertEqual(child.wait(), 1)

    def test_a_frame_that_nobody_knows(self):
        child = self.start()
        child.send(99)
        self.assertEqual(child.wait(), 1)

    def test_tasks_that_end_the_process(self):
        for name, args, code in (("leave", (3,), 3), ("leave", ("text",), 1), ("leave", (None,), 0),
                                 ("leave_at_once", (4,), 4)):
            with self.subTest(name, args=args):
                child = self.start()
                child.begin(task(name, *args))
                with self.assertRaises(Closed):
                    child.receive()
                self.assertEqual(child.wait(), code)

    def test_a_task_that_closes_everything(self):
        child = self.start()
        child.begin(task("close_all"))
        with self.assertRaises(Closed):
            child.receive()
        child.wait()

    def test_a_process_that_outlives_the_child(self):
        child = self.start()
        with tempfile.TemporaryDirectory() as folder:
            fifo = os.path.join(folder, "fifo")
            os.mkfifo(fifo)
            child.run(task("fork_and_leave", fifo))
            child.process.kill()
            with self.assertRaises(Closed):
                child.receive()
            os.close(os.open(fifo, os.O_WRONLY))

    @unittest.skipUnless(sys.platform == "linux", "elsewhere a thread watches the channel")
    def test_the_worker_dies(self):
        read, write = os.pipe()
        worker = os.fork()
        if worker == 0:
            os.close(read)
            child = Supervisor()
            child.begin(task("wait_for_soft"))
            os.write(write, b"%d" % child.process.pid)
            os._exit(0)
        os.close(write)
        os.waitpid(worker, 0)
        child = int(os.read(read, 20))
        os.close(read)
        until(lambda: not os.path.exists("/proc/%d" % child) or state_of(child) == "Z", "the end of the child")

    def test_where_the_system_cannot_be_asked(self):
        ours, theirs = socket.socketpair()
        program = CHILD.decode() + (
            "import socket\nwatch_for_the_end(socket.socket(fileno=0))\nprint('on', flush=True)\n"
            "threading.Event().wait(60)\n")
        with theirs:
            process = subprocess.Popen([sys.executable, "-c", program], stdin=theirs, stdout=subprocess.PIPE)
        with ours, process:
            self.assertEqual(process.stdout.readline(), b"on\n")
            ours.sendall(b"a frame")
            self.assertIsNone(process.poll())
            ours.close()
            self.assertEqual(process.wait(30), 1)

    def test_nothing_grows(self):
        child = self.start()
        before = None
        for _round in range(3):
            for _ in range(150):
                child.run(task("noop_stored"))
                child.run(task("fail"))
                child.run(task("progress"))
            objects = child.run(task("objects")).value
            if before is not None:
                self.assertLess(objects, before + 100)
            before = objects

    def test_logs(self):
        for loglevel, wanted, unwanted in (("INFO", ["succeeded in", "logged hi", "printed\n", "warned hi"], []),
                                           ("ERROR", [], ["succeeded in", "logged hi"])):
            with self.subTest(loglevel), tempfile.TemporaryFile() as output:
                child = self.start(loglevel=loglevel, output=output)
                made = task("log", "hi")
                child.run(made)
                child.stop()
                output.seek(0)
                text = output.read().decode()
                self.assertIn("proj is imported", text)
                for part in wanted:
                    self.assertIn(part, text)
                for part in unwanted:
                    self.assertNotIn(part, text)
                if wanted:
                    task_id = made[0]["headers"]["id"]
                    self.assertIn("WARNING/ForkPoolWorker-1] proj.tasks.log[%s]: logged hi" % task_id, text)


def state_of(pid):
    try:
        return pathlib.Path("/proc/%d/stat" % pid).read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "Z"


if __name__ == "__main__":
    unittest.main()
