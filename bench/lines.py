"""How many lines of mathematics a method is: the bodies of its own functions, without docstrings and signatures."""

from __future__ import annotations

import ast
import inspect
import textwrap

import numpy as np

from isotherm.objective.page import own_parts
from isotherm.objective.published import ROWS


def lines(function: object) -> int:
    """Lines of the body."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body  # pyright: ignore[reportArgumentType]
    assert isinstance(node, ast.FunctionDef)
    body = node.body[1:] if ast.get_docstring(node) else node.body
    return sum((x.end_lineno or 0) - x.lineno + 1 for x in body)


def main() -> None:
    counts = {row.name: sum(map(lines, own_parts(row))) for row in ROWS}
    for name, count in sorted(counts.items(), key=lambda item: item[1]):
        print(f"{name:<18} {count:>3}")
    values = list(counts.values())
    print(f"{len(values)} methods: median {np.median(values):.0f} lines, largest {max(values)}")


if __name__ == "__main__":
    main()
