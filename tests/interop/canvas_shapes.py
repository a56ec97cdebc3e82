"""The shapes of the generated workflows, and the text of a shape.

A shape is a task, a chain of two shapes, a group of two shapes, or a chord of three: two members of the header, and the body.
So the number of shapes up to a depth is

    n(1) = 1        n(d + 1) = 1 + n(d)² + n(d)² + n(d)³

for the task, the chains, the groups and the chords: 4 up to depth 2, and 1 + 16 + 16 + 64 = 97 up to depth 3.

A text names the tasks `a`, `b`, `c`, … in order: `chain(a,chord(b,c,d))` is a task, followed by a chord of `b` and `c` with the
body `d`. A text may have other kinds too, with any number of parts, as `crates/apium/tests/interop/canvas/rows.rs` makes them:
`pipe(…)` is joined by `|`, `steps(…)` is a chain that nothing has joined, and `then(a,…)`, `else(a,…)` and `replace(a,…)` are a
task with a callback, with an errback, and one that is replaced.
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

    def written(part):
        return next(names) if part is None else f"{part[0]}({','.join(map(written, part[1:]))})"

    return written(shape)


def tree(text):
    """A text as a tree: a name is a task, `("chain", …)` all others."""
    words = iter(re.findall(r"[a-z]+|[()]", text))

    def part(word):
        if len(word) == 1:
            return word
        assert next(words) == "("
        parts = []
        while (inner := next(words)) != ")":
            parts.append(part(inner))
        return (word, *parts)

    return part(next(words))


def leaves(text):
    """The names of the tasks in a text, in order."""
    return re.findall(r"\b[a-z]\b", text)


def cases():
    """Every shape, once as it is and once for each of its tasks that fails."""
    for shape in shapes():
        shape_text = text(shape)
        for fails in (None, *leaves(shape_text)):
            yield shape_text, fails


if __name__ == "__main__":
    assert len(set(map(text, shapes()))) == 97
    print(len(list(shapes())), "shapes,", len(list(cases())), "cases")
