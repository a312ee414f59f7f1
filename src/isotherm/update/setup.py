"""Before a model is loaded: every mistake that can be seen, the folder's claim, the machine's precision."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from isotherm.advantages.responses import estimate
from isotherm.errors import UserError
from isotherm.files import json_bytes, read_json, write_whole
from isotherm.objective.added import sources
from isotherm.objective.compose import method
from isotherm.objective.method import Method
from isotherm.policy.folder import read_config
from isotherm.policy.model import check_model, model_folder
from isotherm.policy.text import load_text
from isotherm.records import Problem
from isotherm.rollout import store
from isotherm.rollout.source import open_source
from isotherm.tasks.files import read_problems
from isotherm.update import precision
from isotherm.update.config import Config, as_dict
from isotherm.update.environment import describe
from isotherm.update.evaluate import test_sets
from isotherm.update.folder import RunFolder
from isotherm.update.hold import thermostat
from isotherm.update.inputs import claim_inputs
from isotherm.update.loop import wants_reference

FREE = ("out", "keep", "save_every", "sinks")  # settings that may differ when a run goes on


def prepare(config: Config) -> None:
    """Every mistake that can be seen without loading a model raises its sentence here."""
    chosen = method(config.method)
    source = open_source(config.train, config.data, config.seed)
    source.problems(0, 1)
    test_sets(config)
    own = read_problems(config.eval_data) if config.eval_data else []
    check_model(config.model, config.chat)
    for path, problems in ((config.data, source.rows), (config.eval_data, own)):
        check_context(config.model, path, problems)
    if config.reference:
        check_model(config.reference, chat="no")
    thermostat(config, chosen)
    if chosen.controls and config.steps < 2:
        raise UserError(f"The method {config.method!r} moves its knob between steps, so steps must be at least 2.")
    if config.reference_every and not wants_reference(chosen):
        raise UserError(
            f"reference_every renews the frozen reference, but the method {config.method!r} has none; add a term that "
            "reads it, such as reference_kl or archer, or leave reference_every at 0."
        )
    if config.group == 1 and not config.replay:
        check_single(config, chosen)
    if config.mismatch_cap and config.scored_by == "sampler" and config.updates > 1:
        raise UserError("mismatch_cap corrects the sampler by the trainer's numbers, so it needs scored_by = trainer.")
    if config.measure_in == "parameters" and not config.measure_every:
        raise UserError("measure_in = parameters says where to measure, but measure_every = 0 never does; raise it.")
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UserError("device is cuda, but torch sees no GPU here; use --device cpu.")
    if config.replay:
        check_replay(config)


def check_context(model: str, path: str, problems: list[Problem]) -> None:
    """No prompt may have more tokens than the context that the model's config.json states."""
    shape = read_config(model_folder(model))
    context, text = shape.get("max_position_embeddings"), load_text(model_folder(model), shape)
    if type(context) is not int:
        return
    for number, problem in enumerate(problems, 1):
        if len(problem.prompt.encode()) > context and (size := len(text.encode(problem.prompt))) > context:
            raise UserError(
                f"The prompt of problem {number} in {path} has {size} tokens, but the context of the model {model} is "
                f"{context} (max_position_embeddings in its config.json); shorten it, or take another model."
            )


def check_single(config: Config, chosen: Method) -> None:
    """Groups of one teach nothing where they are compared within."""
    if config.signal != "keep":
        raise UserError(
            f"group is 1, so rewards never differ within a group and signal={config.signal} finds nothing to train on; "
            "raise group, or choose signal=keep and a method such as reinforce_pp."
        )
    reward, group = torch.tensor([0.0, 1.0], dtype=torch.float64), torch.arange(2)
    past = torch.tensor([[2.0, 0.5, 0.25]], dtype=torch.float64).expand(2, 3)
    if not estimate(chosen.advantage, reward, group, length=group + 1, likelihood=reward, past=past).any():
        raise UserError(
            f"group is 1, but the method {config.method!r} compares the responses of a group, so every advantage is 0; "
            "raise group, or choose a method such as reinforce_pp."
        )


def check_replay(config: Config) -> None:
    if not Path(config.replay, "rollouts").is_dir():
        raise UserError(f"replay is {config.replay}, which is no run folder with stored rollouts.")
    missing = [s for s in range(1, config.steps + 1) if not store.path_of(config.replay, s).is_file()]
    if missing:
        raise UserError(
            f"replay needs a stored rollout of each of the {config.steps} steps, but {config.replay} has none of step "
            f"{missing[0]}; lower steps, or choose a run that was made with store_every=1."
        )


def claim(config: Config, folder: RunFolder) -> None:
    """Writes the resolved config, or refuses a folder that holds a run of another one.

    A setting that is younger than the run was at its default there.
    """
    settings, added = as_dict(config), sources(config.method).encode()
    if folder.config.exists():
        try:
            there = as_dict(Config()) | read_json(folder.config)
        except UserError:
            raise UserError(f"{folder.config} is damaged; choose another folder with --out.") from None
        other = [name for name in settings if name not in FREE and there[name] != settings[name]]
        if other:
            name = other[0]
            raise UserError(
                f"{folder.path} holds a run with {name} = {there[name]!r}, not {settings[name]!r}; "
                "give the same settings to go on with it, or another folder with --out."
            )
        if added != (folder.method.read_bytes() if folder.method.is_file() else b""):
            raise UserError(
                f"{folder.path} holds a run whose method {config.method!r} was written otherwise, as {folder.method} "
                "shows; restore that, or give another folder with --out."
            )
        claim_inputs(config, folder.inputs, new=False)
    else:
        if added:
            write_whole(folder.method, added)
        claim_inputs(config, folder.inputs, new=True)
        write_whole(folder.config, json_bytes(settings))


def precision_of(config: Config, folder: RunFolder) -> precision.Precision:
    """Measured once in the life of a run; a resumed run keeps what it began with."""
    if folder.environment.exists():
        try:
            return precision.Precision(**json.loads(folder.environment.read_text())["precision"])
        except (OSError, RecursionError, ValueError, KeyError, TypeError):
            raise UserError(f"{folder.environment} is damaged; choose another folder with --out.") from None
    shape = json.loads((model_folder(config.model) / "config.json").read_text())
    width = int(shape.get("hidden_size") or 512)
    chosen = precision.choose(config.dtype, config.threads, width, config.device, config.kernels)
    write_whole(folder.environment, json.dumps({"precision": chosen._asdict(), **describe()}, indent=2) + "\n")
    return chosen
