"""Runs a program in a terminal of its own.

    in_terminal.py COLUMNS ROWS WORDS KEYS PROGRAM ARGS...

Waits until the program has written each of WORDS (divided by spaces), types KEYS, and waits for its end. A program that
only writes what has changed writes all of it when the size of the terminal changes, so that is changed each second.
Prints a JSON object: its exit code, which words are missing, and whether it has left the second screen. After a minute
it ends the program.
"""

import fcntl
import itertools
import json
import os
import pty
import select
import struct
import sys
import termios
import time

LIMIT = 60


def main(columns, rows, words, keys, program):
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        os.execv(program[0], program)
    sizes = itertools.cycle([(int(rows), int(columns)), (int(rows), int(columns) - 1)])
    resize = lambda: fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", *next(sizes), 0, 0))
    resize()
    written, typed, until, changed = b"", False, time.monotonic() + LIMIT, time.monotonic()
    missing = lambda: [word for word in words.split() if word.encode() not in written]
    while time.monotonic() < until:
        if time.monotonic() - changed > 1 and not typed:
            resize()
            changed = time.monotonic()
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            read = os.read(terminal, 65536)
        except OSError:
            # The program has closed it.
            break
        if not read:
            break
        written += read
        if not typed and not missing():
            os.write(terminal, keys.encode())
            typed = True
    else:
        os.kill(pid, 9)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    print(json.dumps({"code": code, "missing": missing(), "given_back": b"\x1b[?1049l" in written}))


main(*sys.argv[1:5], sys.argv[5:])
