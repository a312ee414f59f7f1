"""A prognosis in sentences: each with its number, none of them a promise."""

from __future__ import annotations

from collections.abc import Iterator

from isotherm.measure.laws.fit import Law
from isotherm.measure.laws.forecast import Forecast
from isotherm.measure.laws.rivals import Rival
from isotherm.measure.prognosis.prognosis import Prognosis
from isotherm.report.prognosis.numbers import Sections, estimate, near, origin, over, share, source, step, tenths, went


def sections(p: Prognosis) -> Sections:
    """Titles, and the sentences under each."""
    found = [
        ("In short", list(in_short(p))),
        ("Where the run stands", list(stands(p))),
        ("What is left, and when it ends", list(ends(p))),
        ("How far to trust this", [*trust(p), *p.cautions]),
        ("What can be done", list(done(p))),
        ("What was read", list(what_was_read(p))),
    ]
    return [(title, said) for title, said in found if said]


def in_short(p: Prognosis) -> Iterator[str]:
    yield went(p.entropy.name, p.entropy_ends, p.step)
    if p.reward_ends:
        yield f"The reward went from {near(p.reward_ends.start)} to {near(p.reward_ends.now)}."
    if p.exhaustion:
        yield f"{tenths(p.exhaustion.done.value)} of the fall of entropy is done, if it goes on as so far."
    if p.law and p.law.a > 0 and p.reward_ends:
        left = max(0.0, p.law.ceiling.value - p.reward_ends.now)
        yield f"On the fitted law the entropy that is left could buy at most {near(left)} of reward."
    if p.forecast and p.reward_ends:
        f, now = p.forecast, p.reward_ends.now
        gain = near(f.end_to_end.value - now).removeprefix("-")
        side = "above" if f.end_to_end.value >= now else "below"
        yield (
            f"If nothing is changed, the reward at step {step(f.until)} is expected at {estimate(f.end_to_end)} "
            f"(90 % interval), {gain} {side} the {near(now)} of now."
        )
    if not p.forecast:
        yield f"No forecast of the reward: {p.refusals['law']}" if not p.law else p.refusals["forecast"]


def used_up(p: Prognosis) -> str:
    """When 90 % of the fall is done."""
    assert p.exhaustion is not None
    e = p.exhaustion.step
    tense = "was" if e.value <= p.step[-1] else "will be"
    when = f"step {estimate(e, step)} (90 % interval)"
    return f"If it goes on as so far, 90 % of the fall of entropy {tense} done by {when}."


def what_was_read(p: Prognosis) -> Iterator[str]:
    steps = f"{len(p.step):,} steps with an entropy, {step(p.step[0])} to {step(p.step[-1])}"
    yield f"The log: {source(p.source)}; {steps}."
    yield f"Entropy is {origin(p.entropy)}"
    yield f"The reward is {origin(p.reward)}" if p.reward else "There is no reward in it."
    yield from p.notes


def stands(p: Prognosis) -> Iterator[str]:
    h, r = p.entropy_ends, p.reward_ends
    yield f"Entropy is {near(h.now)} nats per token now ({over(h)}), and was {near(h.start)} at the start."
    if r:
        yield f"The reward is {near(r.now)} now ({over(r)}), and was {near(r.start)} at the start."
    if p.exhaustion:
        e = p.exhaustion
        yield (
            f"{estimate(e.done, tenths)} of the fall of entropy is done, counted from {near(e.start.value)} to the "
            f"floor that the fall tends to, {estimate(e.floor)} nats (90 % intervals)."
        )
    if p.law:
        a, b = p.law.standard_errors
        yield (
            f"The law R = -a e^H + b (arXiv 2505.22617) fits with a = {near(p.law.a)} and b = {near(p.law.b)}, "
            f"standard errors {near(a)} and {near(b)}; its residuals have a root mean square of "
            f"{near(p.law.rmse)}, and R2 is {p.law.r2:.2f}."
        )
    yield from refused(p, "exhaustion", "law")


def ends(p: Prognosis) -> Iterator[str]:
    if p.law and p.reward_ends:
        yield ceiling(p.law, p.reward_ends.now)
    if p.exhaustion:
        yield used_up(p)
    if p.forecast:
        f = p.forecast
        yield f"The end is taken at step {step(f.until)}: {p.until.why}."
        yield (
            f"There the mean reward of {f.over} rows is expected at {estimate(f.end_to_end)} and the entropy at "
            f"{estimate(f.entropy)} nats (90 % intervals), if nothing is changed. If the reward just stayed, with its "
            f"changes so far: {estimate(f.persistence)}."
        )
    yield from refused(p, "forecast")


def ceiling(law: Law, now: float) -> str:
    left = law.ceiling.value - now
    if law.a <= 0:
        return (
            "a is not above 0: in this log the reward did not rise as entropy fell, so the law has no ceiling to name."
        )
    lead = f"On the law the reward at H = 0, the ceiling, is {estimate(law.ceiling)} (95 % interval)"
    if left <= 0:
        return f"{lead}, not above the reward of now: on this curve none is left to be bought with entropy."
    return f"{lead}, {near(left)} above the reward of now: what trading the rest of the entropy could buy at most."


def trust(p: Prognosis) -> Iterator[str]:
    if p.hindcast and p.hindcast.observed is not None:
        yield hindcast(p.hindcast, p.hindcast.observed, p.share)
    if p.rivals:
        yield judged(p.rivals)
    if p.law:
        law, mean = p.law, f", each a mean of {p.law.window}" if p.law.window > 1 else ""
        yield (
            f"The fit saw {law.n} rows{mean}; their residuals, correlated at {law.autocorrelation:.2f} from row to "
            f"row, tell as much as {law.effective_n:.0f} independent ones. F of the range of H against its noise is "
            f"{near(law.strength)} (16 is needed). Plain least squares gives a = {near(law.least_squares_a)}."
        )
    yield from refused(p, "hindcast", "rivals")


REFUSED = {"hindcast": "Not checked on the log's own rows: ", "rivals": "Not compared with other forms: "}


def refused(p: Prognosis, *parts: str) -> Iterator[str]:
    """Why these parts are not there, where they are not."""
    yield from (REFUSED.get(part, "") + p.refusals[part] for part in parts if part in p.refusals)


def hindcast(f: Forecast, observed: float, seen: float) -> str:
    past = max(f.end_to_end.low - observed, observed - f.end_to_end.high)
    verdict = "inside the 90 % interval"
    if past > 0:
        verdict = f"{near(past)} outside the 90 % interval, as a tenth of such checks are by chance alone"
    return (
        f"Checked on this log itself: from its first {share(seen)} (to step {step(f.cut)}) the reward at step "
        f"{step(f.until)} was forecast at {estimate(f.end_to_end)}, and {near(observed)} was seen, {verdict}."
    )


def judged(found: list[Rival]) -> str:
    """Which form predicts later rows better than the law."""
    better = [r.name for r in found if r.behind and r.behind.high < 0]
    worse = [r.name for r in found if r.behind and r.behind.low > 0]
    undecided = [r.name for r in found if r.behind and r.behind.low <= 0 <= r.behind.high]
    kinds = (("better than the law", better), ("worse", worse), ("undecided", undecided))
    told = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in kinds if names)
    lead = "The law is not the best form for this log. " if better else ""
    return (
        f"{lead}On later rows predicted from earlier ones (error of the law: {near(found[0].held_out)}), other forms "
        f"are {told}."
    )


def done(p: Prognosis) -> Iterator[str]:
    f = p.forecast
    if f and p.reward_ends:
        low, high = (x - p.reward_ends.now for x in (f.end_to_end.low, f.end_to_end.high))
        steps = step(f.until - p.step[-1])
        yield (
            f"The {steps} steps to the end are expected to move the reward by {near(low)} to {near(high)} (90 % "
            "interval). Where that does not pay for them, stop early or change what moves the entropy."
        )
    yield "`isotherm diagnose` on the same log says what went along with the fall, and what would move it."
