"""What would move the entropy of a run: methods and settings, their direction, published value and exact setting."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from isotherm.measure.logs.names import ISOTHERM
from isotherm.measure.logs.record import Log
from isotherm.measure.prognosis.ends import ends
from isotherm.objective.advice import ADVICE
from isotherm.objective.elsewhere import ELSEWHERE
from isotherm.objective.knobs import KNOBS, TEMPERATURE
from isotherm.objective.page import command
from isotherm.objective.parameters import NO_PAPER, published
from isotherm.objective.published import METHODS, Row

# Methods whose papers or equations are about holding entropy, the cheapest first.
HOLDING = ("clip_higher", "entropy_bonus", "adaptive_bonus", "reference_kl", "kl_cov", "clip_cov", "par", "steer")
SETTING_OF = {"clip_higher": "clip_high", "entropy_bonus": "entropy_coef", "reference_kl": "beta"}  # in log.settings
LEFT = ("loss_type=dapo", "actor.loss_agg_mode=token-mean")  # settings of GRPO that need not change for a clip
VERSIONS = {"verl": "verl 0.9.1", "TRL": "TRL 1.16.0"}
UNCLIPPED = 1e-4  # share of clipped tokens below which a clip decides nothing


@dataclass(frozen=True)
class Move:
    """A way to change the entropy. `settings` are by tool; a tool that has nothing of the kind is absent."""

    name: str
    direction: str
    why: str
    fails: str
    paper: str
    published: str
    settings: dict[str, str]
    here: str  # what the log says about it
    idle: bool  # the log says that it would have nothing to act on


def moves(log: Log) -> list[Move]:
    """For the tool of the log, or for all tools where that is unknown; those that would do nothing here come last."""
    tools = tools_of(log)
    found = [of_method(METHODS[name], log, tools) for name in HOLDING]
    found.append(of_temperature(log, tools))
    return sorted((move for move in found if move.settings), key=lambda move: move.idle)


def missing(log: Log) -> list[str]:
    """Methods for which none of the tools has a setting that is known here."""
    return [name for name in HOLDING if not any(elsewhere(METHODS[name], tool) for tool in tools_of(log))]


def tools_of(log: Log) -> tuple[str, ...]:
    """The log's tool, or those whose settings are known."""
    return (log.source.tool,) if log.source.tool in (ISOTHERM, *VERSIONS) else tuple(VERSIONS)


def of_method(row: Row, log: Log, tools: tuple[str, ...]) -> Move:
    settings = {tool: elsewhere(row, tool) for tool in tools if elsewhere(row, tool)}
    said, idle = evidence(row, log)
    advice = ADVICE[row.name]
    return Move(
        row.name, direction(row), advice.use, advice.fails, row.paper, values(row), settings, said, idle
    )  # fmt: skip


def of_temperature(log: Log, tools: tuple[str, ...]) -> Move:
    knob, now = KNOBS[TEMPERATURE], log.settings.get("temperature")
    keys = {
        ISOTHERM: "--temperature T",
        "verl": "actor_rollout_ref.rollout.temperature=T",
        "TRL": "GRPOConfig(..., temperature=T)",
    }
    return Move(
        name=TEMPERATURE,
        direction="raising it raises the entropy that is sampled with",
        why="When the rollouts are to be more varied at once.",
        fails="It changes what is sampled, not the weights; what it does to the reward, this log does not tell.",
        paper="",
        published=f"none; a control here moves it between {knob.least:g} and {knob.most:g}",
        settings={tool: keys[tool] for tool in tools},
        here=f"The log's settings have temperature {now}." if number(now) is not None else "",
        idle=False,
    )


def direction(row: Row) -> str:
    """From the signs of its knobs: what raises the entropy."""
    known = [knob for knob in row.knobs if knob.direction]
    told = [f"{'raising' if knob.direction > 0 else 'lowering'} {knob.name.partition('.')[2]}" for knob in known]
    return f"{' or '.join(told)} raises the entropy" if told else "it leaves out tokens that lower the entropy most"


def values(row: Row) -> str:
    """Its parameters at their defaults, with what the paper gives."""
    told = [
        f"{name} {published(row.name, name)}"
        for name in row.parameters
        if published(row.name, name) not in ("not confirmed", NO_PAPER)
    ]
    return "; ".join(told)


def elsewhere(row: Row, tool: str) -> str:
    """The settings of a tool that give a row, with its defaults filled in; "" where it has nothing of the kind."""
    if tool == ISOTHERM:
        return command(row)
    known = ELSEWHERE.get(row.name)
    text = "" if known is None else known.verl if tool == "verl" else known.trl
    parts = [filled(part, row) for part in text.split(", ") if part and part not in LEFT and not unset(part, row)]
    if tool == "TRL":
        return f"GRPOConfig(..., {', '.join(parts)})" if parts else ""
    return " ".join(parts)


def filled(part: str, row: Row) -> str:
    """`key=parameter` with the parameter's default for its name; verl's keys in full."""
    key, _, value = part.partition("=")
    key = re.sub(r"^actor\.", "actor_rollout_ref.actor.", key)
    return f"{key}={row.parameters[value].default:g}" if value in row.parameters else f"{key}={value}"


def unset(part: str, row: Row) -> bool:
    """A dual clip of 0 is none here, and no value of theirs."""
    return part.endswith("=dual") and not row.parameters["dual"].default


def evidence(row: Row, log: Log) -> tuple[str, bool]:
    """What the log says about a method, and whether it would have nothing to act on."""
    told, idle = [], False
    now = number(log.settings.get(SETTING_OF.get(row.name, "")))
    if now is not None:
        told.append(f"The log's settings have {SETTING_OF[row.name]} {now:g}.")
    if row.name == "clip_higher":
        sentence, idle = clipping(log)
        told.append(sentence)
    if row.needs_updates and log.settings.get("updates") == 1 and log.source.tool == ISOTHERM:
        told.append("With one update per rollout, as here, it changes nothing.")
        idle = True
    return " ".join(filter(None, told)), idle


def clipping(log: Log) -> tuple[str, bool]:
    """How many tokens the clip stops, and whether that is next to none."""
    for name, words in (("update/clip_high", "stopped at the upper clip"), ("update/clip", "clipped")):
        if (share := ends(log.series.get(name, np.empty(0)))) is not None:
            idle = share.mean < UNCLIPPED
            rest = ", so a wider clip would have next to nothing to act on" if idle else ""
            return f"On average {100 * share.mean:.2g} % of the tokens were {words}{rest}.", idle
    return "", False


def number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
