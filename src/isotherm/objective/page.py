"""The table of methods and the page of each as text, from the rows themselves."""

from __future__ import annotations

import inspect
import itertools
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from isotherm.objective.advice import ADVICE, Advice
from isotherm.objective.compose import method, row_named
from isotherm.objective.elsewhere import ELSEWHERE
from isotherm.objective.factors import FACTORS, Part, bare
from isotherm.objective.functionals import functionals_of
from isotherm.objective.method import Slots
from isotherm.objective.parameters import meaning, published
from isotherm.objective.penalties import needs_reference
from isotherm.objective.published import METHODS, Row

SLOTS = ("advantage", "shape", "weights", "surrogate", "penalties", "normalizer", "deal", "control")
RUN = "Run it"
NOTHING = "nothing of the kind"
WIDEST = 23  # of a column
HEAD = ("method", "paper", "factors", "slot", "knob", "cost")
LEGEND = """\
factors: what the loss depends on beside the reward: c clip, p probability, a advantage, e entropy.
cost beyond GRPO: re-scoring, one more forward pass when micro-batched; reference, a second model; updates, two or more.
Combine methods with +, e.g. --method 'clip_higher + par(target=0.3)'. One in full: isotherm methods NAME."""
COSTS = {
    "re-scoring": "one more forward pass (re-scoring) when micro-batched, because it looks at the present policy.",
    "reference": "a frozen reference model in memory, and its forward pass over every response.",
    "updates": "updates >= 2: it changes nothing when each rollout is used for a single update (updates = 1).",
}


def table(width: int = 120) -> str:
    """Name, paper, factors, slot, knob and cost in columns; under each other where the terminal is narrow."""
    cells = [HEAD, *(cells_of(row) for row in METHODS.values())]
    wrapped = [[textwrap.wrap(cell, WIDEST, break_on_hyphens=False) for cell in line] for line in cells]
    widths = [max(len(text) for cell in column for text in cell) for column in zip(*wrapped, strict=True)]
    if sum(widths) + 2 * len(widths) - 2 > width:
        lines = [line for row in cells[1:] for line in stacked(row, width)]
    else:
        rows = [line for cell in wrapped for line in itertools.zip_longest(*cell, fillvalue="")]
        lines = ["  ".join(text.ljust(w) for text, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, "", *(filled(line, width) for line in LEGEND.splitlines())])


def cells_of(row: Row) -> tuple[str, ...]:
    found = method(row.name).factors
    factors = "".join(f[0] if f in found else "." for f in FACTORS)
    return row.name, row.paper, factors, ", ".join(slots(row)), row.knob or "-", ", ".join(costs(row)) or "none"


def stacked(cells: tuple[str, ...], width: int) -> Iterator[str]:
    """Name, paper and factors, and under them what else there is to say."""
    yield f"{cells[0]:<15}  {cells[1]:<16}  {cells[2]}"
    knob = "" if cells[4] == "-" else f"; knob {cells[4]}"
    cost = "" if cells[5] == "none" else f"; cost {cells[5]}"
    yield from paragraph(f"{cells[3]}{knob}{cost}", width, "  ")


def slots(row: Row) -> list[str]:
    """The slots that a row fills, in the order of the framework."""
    names = {"default_surrogate": "surrogate", "controls": "control"}
    return sorted((names.get(name, name) for name in row.build()), key=SLOTS.index)


def costs(row: Row) -> list[str]:
    """What a row needs that GRPO does not: keys of COSTS."""
    asked = {
        "re-scoring": method(row.name).needs_current,
        "reference": any(needs_reference(part) for part in own_parts(row)),
        "updates": row.needs_updates,
    }
    return [cost for cost, wanted in asked.items() if wanted]


def explain(name: str, width: int = 100) -> str:
    """One method: equations, parameters, when to use it, how it fails, how to run it here and elsewhere."""
    row = row_named(name)
    lines = [*paragraph(f"{row.name}: {row.summary}", width), *paragraph(source(row), width)]
    for title, texts in sections(row):
        lines += ["", title]
        for text in texts:  # a command is pasted, so it stays in one line
            lines += [f"  {text}"] if title == RUN else paragraph(text, width, "  ")
    return "\n".join(lines)


def sections(row: Row) -> Iterator[tuple[str, list[str]]]:
    """Titles, and the paragraphs under each."""
    yield "Equations (the slots that it does not fill are GRPO's)", [equation(part) for part in own_parts(row)]
    yield "Parameters", [parameter(row, name) for name in row.parameters] or ["none"]
    yield "Slots and knobs", [", ".join(slots(row)), *(f"{k.name}, from {k.least:g} to {k.most:g}" for k in row.knobs)]
    yield "Cost beyond GRPO", [COSTS[cost] for cost in costs(row)] or ["none"]
    advice = ADVICE.get(row.name)
    if advice:
        yield "When to use it", [advice.use]
        yield "How it fails", [advice.fails]
    yield RUN, [command(row)]
    if advice:
        yield from elsewhere(row)


def elsewhere(row: Row) -> Iterator[tuple[str, list[str]]]:
    """The same for the settings in other frameworks."""
    if row.name not in ELSEWHERE:
        yield "In verl and TRL", ["no matching setting is known"]
        return
    found = ELSEWHERE[row.name]
    yield "In verl (actor stands for actor_rollout_ref.actor)", [found.verl or NOTHING]
    yield "In TRL", [found.trl or NOTHING]
    yield "What differs there, and why", list(found.differences) or ["nothing that is known"]


def source(row: Row) -> str:
    where = f"; published for {row.setting}" if row.setting else ""
    return f"{', '.join(filter(None, (row.paper, row.equation)))}{where}. {link(row)}".rstrip()


def link(row: Row) -> str:
    """The paper's page, where it is on arXiv."""
    kind, _, number = row.paper.partition(" ")
    return f"https://arxiv.org/abs/{number}" if kind == "arXiv" else ""


def equation(part: Part) -> str:
    """What a function computes, in the words of its docstring."""
    text = (inspect.getdoc(part) or "").partition(">>>")[0]
    return f"{part.__name__}: {' '.join(text.split())}"


def parameter(row: Row, name: str) -> str:
    default = f"{name} = {shown(row.parameters[name].default)}"
    if row.name not in ADVICE:  # a row of the user's own
        return default
    return f"{default}: {meaning(row.name, name)}. Published: {published(row.name, name)}."


def shown(value: object) -> str:
    """A default as one writes it in an expression."""
    return value if isinstance(value, str) else repr(value)


def command(row: Row) -> str:
    """A command line that can be pasted, with every parameter at its default."""
    given = ", ".join(f"{name}={shown(p.default)}" for name, p in row.parameters.items())
    term = f"{row.name}({given})" if given else row.name
    advice = ADVICE.get(row.name, Advice("", ""))
    expression = advice.method.replace(row.name, term) or term
    return f"isotherm train --method '{expression}' {advice.options}".rstrip()


def paragraph(text: str, width: int, indent: str = "") -> list[str]:
    """Lines of at most that width; what follows the first is indented a little more."""
    return filled(text, width, indent, indent + "  ").splitlines()


def filled(text: str, width: int, first: str = "", next: str = "") -> str:
    return textwrap.fill(text, width, initial_indent=first, subsequent_indent=next, break_on_hyphens=False)


def own_parts(row: Row) -> list[Part]:
    """The functions in the slots that a row fills."""
    return parts_of(row.build())


def parts_of(filled: Slots) -> list[Part]:
    several = [part for name in ("shape", "weights") for part in filled.get(name, ())]
    single = [
        filled[name] for name in ("advantage", "surrogate", "default_surrogate", "normalizer", "deal") if name in filled
    ]
    penalties = [part for p in filled.get("penalties", ()) for part in (p.coefficient, p.cost)]
    read = [f for part in (*several, *penalties) for f in functionals_of(part).values()]
    moves = [control.update for control in filled.get("controls", ())]
    return list(dict.fromkeys(bare(part) for part in (*several, *penalties, *read, *moves, *single)))


def parts(name: str) -> list[Callable[..., Any]]:
    """The functions that a method is made of."""
    built = method(name)
    slots = [built.advantage, *built.on_batch, built.surrogate, *(p.cost for p in built.penalties)]
    others = [*built.functionals.values(), *(control.update for control in built.controls)]
    return list(dict.fromkeys(bare(part) for part in [*slots, *others]))
