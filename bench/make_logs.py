"""Logs that other tools really write, as samples for the tests of measure/logs.

    python bench/make_logs.py tests/measure/logs/samples

Runs in an environment of its own with torch==2.13.0, trl==1.16.0, trackio, tensorboard and wandb, and the checkout's
src on PYTHONPATH. A few GRPO steps of the built-in model are logged by TRL itself, offline, to all three trackers.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

STEPS, HOST, USER = 6, "host", "user"
BUILTIN = Path(__file__).resolve().parents[1] / "src" / "isotherm" / "policy" / "builtin"
VARIABLES = {
    "WANDB_MODE": "offline", "WANDB_CONSOLE": "off", "WANDB_DISABLE_GIT": "true", "WANDB_DISABLE_CODE": "true",
    "WANDB_X_DISABLE_META": "true", "WANDB_X_DISABLE_STATS": "true", "WANDB_HOST": HOST, "WANDB_USERNAME": USER,
    "WANDB_SILENT": "true", "HF_HUB_OFFLINE": "1", "TRACKIO_DIR": "trackio", "WANDB_DIR": ".",
    "TENSORBOARD_LOGGING_DIR": "tensorboard", "HOSTNAME": HOST, "CUDA_VISIBLE_DEVICES": "",
}  # fmt: skip


def holds_target(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
    """1 where the number that the prompt asks for appears in the completion."""
    return [float(p.split()[1] in c) for p, c in zip(prompts, completions, strict=True)]


def train(model: str) -> None:
    """GRPO of TRL, logged to TensorBoard, W&B and trackio; checkpoints keep trainer_state.json."""
    import trackio
    import wandb
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
    from trl import GRPOConfig, GRPOTrainer

    set_seed(0)
    settings = GRPOConfig(
        output_dir="trl", use_cpu=True, bf16=False, per_device_train_batch_size=16, num_generations=8, num_iterations=2,
        max_completion_length=24, temperature=0.9, beta=0.04, epsilon=0.2, epsilon_high=0.28, learning_rate=1e-4,
        max_steps=STEPS, logging_steps=1, save_strategy="steps", save_steps=3, log_completions=True, seed=0,
        report_to=["tensorboard", "wandb", "trackio"], run_name="countdown", disable_tqdm=True,
    )  # fmt: skip
    wandb.init(project="samples", name="countdown", settings=wandb.Settings(host=HOST, username=USER, program="x.py"))
    trackio.init(project="samples", name="countdown", embed=False, auto_log_gpu=False)
    prompts = [f"Reach {20 + i % 20} with 3 4 7:" for i in range(64)]
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(model),
        processing_class=AutoTokenizer.from_pretrained(model),
        reward_funcs=holds_target,
        args=settings,
        train_dataset=Dataset.from_dict({"prompt": prompts}),
    )
    trainer.train()
    wandb.finish()


def tensors(folder: str) -> None:
    """TensorBoard scalars as TensorFlow 2 writes them, as tensors, beside the older form."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(folder)
    for step in range(5):
        writer.add_event(Event(wall_time=step, step=step, summary=scalar_pb("actor/entropy", 0.5 - 0.05 * step)))
        old = Summary(value=[Summary.Value(tag="actor/pg_loss", simple_value=0.1 * step)])
        writer.add_event(Event(wall_time=step, step=step, summary=old))
    writer.close()


def own_names(folder: str) -> None:
    """W&B rows that a script logs by itself: a step twice, NaN, infinity, text, a nested value."""
    import wandb

    chosen = wandb.Settings(host=HOST, username=USER, program="x.py")
    run = wandb.init(project="samples", name="plain", dir=folder, config={"lr": 1e-3}, settings=chosen)
    run.log({"entropy": 0.5, "reward": 0.1}, step=1)
    run.log({"entropy": 0.4, "reward": float("nan"), "note": "text"}, step=2)
    run.log({"entropy": float("inf"), "nested": {"reward": 3.0}}, step=3)
    run.log({"entropy": 0.2, "reward": 0.4}, step=5)
    run.finish()


def collect(out: Path) -> None:
    """What the tests read, under names without this machine's."""
    for old in ("trl", "trackio", "tensorboard", "wandb"):
        shutil.rmtree(out / old, ignore_errors=True)
        (out / old).mkdir(parents=True)
    for state in Path("trl").rglob("trainer_state.json"):
        target = out / "trl" / state.parent.name
        target.mkdir()
        shutil.copy(state, target)
    shutil.copytree("trl/completions", out / "trl" / "completions")
    for database in Path("trackio").rglob("*.db"):
        shutil.copy(database, out / "trackio")
    for name, source in (("trl", Path("tensorboard")), ("tensors", Path("tensors"))):
        (event,) = source.rglob("events.out.tfevents.*")
        shutil.copy(event, out / "tensorboard" / f"events.out.tfevents.1.{HOST}.{name}")
    for run in Path().rglob("run-*.wandb"):
        shutil.copy(run, out / "wandb" / ("plain.wandb" if "plain" in run.parts else "trl.wandb"))
    packages = ("trl", "transformers", "torch", "trackio", "tensorboard", "wandb")
    print(", ".join(f"{name} {version(name)}" for name in packages))


def main() -> None:
    out = Path(sys.argv[1]).resolve()
    os.environ.update(VARIABLES)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        shutil.copytree(BUILTIN, "model")
        Path("plain").mkdir()
        train("model")
        tensors("tensors")
        own_names("plain")
        collect(out)
        os.chdir(out)


if __name__ == "__main__":
    main()
