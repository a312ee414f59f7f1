"""A diagnosis in sentences: what went along with the fall, and what would move it."""

from __future__ import annotations

from collections.abc import Iterator

from isotherm.measure.logs.names import ISOTHERM
from isotherm.measure.prognosis.diagnosis import Diagnosis
from isotherm.measure.prognosis.drivers import FEWEST, LEAST, Driver
from isotherm.measure.prognosis.moves import VERSIONS, Move
from isotherm.report.prognosis.numbers import Sections, Setting, near, origin, share, signed, source, went

LACKING = (
    "The log has none of the series that are known to go with entropy (clip shares, KL, gradient norm, learning rate, "
    "length, signal)."
)
NO_CAUSE = (
    "What goes along with the fall need not cause it: each line compares stretches of this one run, with the common "
    "trend over the steps taken off; intervals are 95 % for all lines together, as if stretches were independent."
)
OTHER_WAY = "the same knobs turned the other way lower it."
SHARES = ("update/clip", "update/clip_high", "update/clip_low", "signal/groups", "length/overlong")


def sections(d: Diagnosis) -> Sections:
    found = [
        ("In short", list(in_short(d))),
        ("What drove it", list(drove(d))),
        ("What would move it", list(would(d))),
        ("What was read", [f"The log: {source(d.source)}.", f"Entropy is {origin(d.entropy)}", *d.notes]),
    ]
    return [(title, said) for title, said in found if said]


def in_short(d: Diagnosis) -> Iterator[str]:
    yield went(d.entropy.name, d.entropy_ends, d.step)
    clear = [x for x in d.drivers if x.relation and x.relation.low * x.relation.high > 0]
    if clear:
        first = max(clear, key=lambda x: abs(x.relation.value) if x.relation else 0.0)
        yield (
            f"Of {len(d.drivers)} drivers in the log {len(clear)} {'goes' if len(clear) == 1 else 'go'} along with the "
            f"pace of its fall beyond the trend, most clearly {first.words}."
        )
    elif any(x.relation for x in d.drivers):
        yield f"None of the {len(d.drivers)} drivers in the log clearly goes along with the pace of its fall."
    yield from d.refusals.values()


def drove(d: Diagnosis) -> Iterator[str]:
    yield from (parted(kind, sums, "predicted", "over the run") for kind, sums in d.parts.items())
    if d.parts:
        yield "These are pushes at the tokens' own states, to first order, and right up to one factor per run."
    several = "s" if d.measured_steps != 1 else ""
    where = f"in {d.measured_steps} step{several} with measured updates"
    yield from (parted(kind, sums, "measured", where) for kind, sums in d.measured.items())
    yield from (driver(x) for x in d.drivers)
    if not d.drivers:
        yield LACKING
    elif any(x.relation for x in d.drivers):
        yield NO_CAUSE
    if any(x.stretches < LEAST for x in d.drivers):
        yield f"What a driver has to do with the pace of the fall needs {LEAST * FEWEST} steps; there are fewer."


def parted(kind: str, sums: dict[str, float], how: str, where: str) -> str:
    """Shares of the change by sign or quadrant; the factor that is not known in a prediction falls out."""
    words = {"sign": "the sign of the advantage", "quadrant": "quadrant (arXiv 2510.10150)"}[kind]
    total, size = sum(sums.values()), sum(map(abs, sums.values()))
    if not size:
        return f"By {words}, the {how} change of entropy {where} is 0."
    ranked = sorted(sums.items(), key=lambda item: item[1])
    told = ", ".join(f"{name} {100 * x / size:+.0f} %" for name, x in ranked if x)
    one = all(x <= 0 for x in sums.values()) or all(x >= 0 for x in sums.values())
    way = f"{share(abs(total) / size)} {'downwards' if total < 0 else 'upwards'}"
    balance = "" if one else f", on balance {way}"
    return f"By {words}, the {how} change of entropy {where} is {told} of all that was pushed{balance}."


def driver(x: Driver) -> str:
    show, e = share if x.name in SHARES else near, x.ends
    words = x.words[0].upper() + x.words[1:]
    if e.least == e.most:
        return f"{words}: {show(e.mean)} throughout."
    now = f"{words}: {show(e.start)} at the start, {show(e.now)} now, {show(e.mean)} on average."
    r = x.relation
    if r is None:
        return now if x.stretches < LEAST else f"{now} It does not vary beyond its trend."
    told = f"rank correlation with the pace of the fall {signed(r)}"
    if r.low <= 0 <= r.high:
        return f"{now} No clear relation ({told})."
    return f"{now} Where it was higher, entropy fell {'faster' if r.low > 0 else 'more slowly'} ({told})."


def would(d: Diagnosis) -> Iterator[str]:
    if d.entropy_ends.now > d.entropy_ends.start:
        yield f"Entropy is higher than at the start. What follows raises it; {OTHER_WAY}"
    else:
        yield f"What follows raises or holds entropy; {OTHER_WAY} Whether the reward gains, this log cannot say."
    for m in d.moves:
        yield from move(m)
    tool = VERSIONS.get(d.source.tool, "")
    if d.missing:
        of = f" of {tool}" if tool else ""
        yield f"No setting{of} is known that gives {', '.join(d.missing)}; `isotherm methods NAME` has the equations."
    if tool:
        yield f"Settings are those of {tool}; what is not named stays as it is."
    elif d.source.tool == ISOTHERM:
        yield "The entropy is held on a line by the method's knob, or by the temperature, with --hold-entropy:"
        yield Setting(f"--hold-entropy {d.entropy_ends.now:.2g}")
    else:
        yield f"Settings are those of {' and '.join(VERSIONS.values())}; those of the log's tool are not known here."


def move(m: Move) -> Iterator[str]:
    """Direction, value, what the log says and how it fails; then the exact setting."""
    paper = f" ({m.paper})" if m.paper else ""
    here = f" {m.here}" if m.here else ""
    yield f"{m.name}{paper}: {m.direction}. {m.why} Published: {m.published}.{here} Known to fail: {m.fails}"
    for tool, text in m.settings.items():
        yield Setting(text if len(m.settings) == 1 else f"{tool}: {text}")
