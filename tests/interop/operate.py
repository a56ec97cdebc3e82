"""Runs the commands of Celery's own command line, one after the other in one process.

    operate.py FILE

FILE has a JSON list; each element is the words of one command (`["inspect", "active", "--json"]`). Prints a JSON list with
the exit code and the output of each. The app is that of `tasks.py`.
"""

import json
import sys

from click.testing import CliRunner

from celery.bin.celery import celery


def run(words):
    result = CliRunner().invoke(celery, ["-A", "tasks", "--no-color", *words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return {"words": words, "code": result.exit_code, "output": result.output}


with open(sys.argv[1]) as commands:
    print(json.dumps([run(words) for words in json.load(commands)]))
