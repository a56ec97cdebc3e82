"""The shapes of the canvas that the generated tests go through, and how a text says one.

A shape is a task, a chain of two, a group of two, or a chord of two: two members in its header, and a body. Every part of it is a
shape again. The number of shapes up to a depth follows from that,

    n(1) = 1        n(d + 1) = 1 + n(d)² + n(d)² + n(d)³

a task, the chains, the groups and the chords, so there are 4 up to depth 2 and 1 + 16 + 16 + 64 = 97 up to depth 3.

A text names the tasks `a`, `b`, `c`, … in the order in which they stand there: `chain(a,chord(b,c,d))` is a task, and after it a
chord of `b` and `c` with the body `d`.
"""

import itertools
import re
import string

KINDS = {"chain": 2, "group": 2, "chord": 3}
DEPTH = 3


def shapes(depth=DEPTH):
    """All shapes up to a depth, as trees: None is a task, `("chain", …)` all others."""
    yield None
    if depth > 1:
        parts = list(shapes(depth - 1))
        for kind, size in KINDS.items():
            for chosen in itertools.product(parts, repeat=size):
                yield (kind, *chosen)


def text(shape):
    """A shape as a text."""
    names = iter(string.ascii_lowercase)

    def told(part):
        return next(names) if part is None else f"{part[0]}({','.join(map(told, part[1:]))})"

    return told(shape)


def tree(told):
    """A text as a tree: a name is a task, `("chain", …)` all others."""
    words = iter(re.findall(r"[a-z]+|[()]", told))

    def part(word):
        if word not in KINDS:
            return word
        assert next(words) == "("
        parts = [part(next(words)) for _ in range(KINDS[word])]
        assert next(words) == ")"
        return (word, *parts)

    return part(next(words))


def leaves(told):
    """The names of the tasks in a text, in order."""
    return re.findall(r"\b[a-z]\b", told)


def cases():
    """Every shape, once as it is and once for each of its tasks that fails."""
    for shape in shapes():
        told = text(shape)
        for fails in (None, *leaves(told)):
            yield told, fails


if __name__ == "__main__":
    assert len(set(map(text, shapes()))) == 97
    print(len(list(shapes())), "shapes,", len(list(cases())), "cases")
