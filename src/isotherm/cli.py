"""The command `isotherm`. Everything heavy is imported by the command that needs it, so that help is instant."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO

from isotherm.arguments import read_settings, settings_help
from isotherm.errors import OwnError, UserError
from isotherm.files import is_full

DESCRIPTION = "Train reasoning models by reinforcement learning, and decide what happens to their entropy."
EXAMPLES = """\
examples:
  isotherm demo                                        GRPO beside an entropy intervention, then one report
  isotherm train                                       one run of the built-in model
  isotherm train --method "clip_higher + kl_cov"       another objective; `isotherm methods` lists them
  isotherm methods kl_cov                              one method in full: equations, parameters, when to use it
  isotherm train recipes/grpo.py --lr 1e-4 --dry-run   a recipe with one setting changed, only shown
  isotherm report runs/*                               compare runs on one page
  isotherm inspect RUN --step 40                       the responses of a step, token by token
  isotherm forecast LOG                                where anybody's run stands, what is left, when it ends
  isotherm diagnose LOG                                what drove its entropy, and what would move it
"""


def at_least(low: int, high: int = 2**31 - 1) -> Callable[[str], int]:
    """A whole number from the command line."""

    def read(text: str) -> int:
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) < 20 and low <= int(text) <= high):
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {low} to {high}")
        return int(text)

    return read


class Once(argparse.Action):
    """Stores a value, and refuses a second one."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        given = namespace.__dict__.setdefault("given", set())
        if option_string and self.dest in given:
            parser.error(f"{option_string} is given twice; once is enough")
        given.add(self.dest)
        setattr(namespace, self.dest, values)


class Parser(argparse.ArgumentParser):
    """argparse whose mistakes are sentences of our own kind."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.register("action", None, Once)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message[0].upper()}{message[1:]}. See {self.prog} --help.")


class Unread:
    """Standard output, or nothing once it takes no more (`| head`, a full disk): training goes on."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        return self.kept(self.stream.write, text) or len(text)

    def flush(self) -> None:
        self.kept(self.stream.flush)

    def kept(self, action: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return action(*arguments)
        except OSError:
            discard(self.stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def discard(stream: TextIO) -> None:
    """What is written from here on or still waits goes nowhere, or Python would try again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    trace = "--traceback" in arguments
    arguments = [a for a in arguments if a != "--traceback"]
    if sys.stdout is None:  # `>&-`
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115, open as long as the process lives
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal may lack our characters, and names need not be UTF-8
        sys.stdout.reconfigure(errors="replace")
    try:
        code = dispatch(arguments)
        sys.stdout.flush()  # a closed pipe shows here, not when Python ends
        return code
    except UserError as error:
        if trace:
            raise
        print(f"isotherm: {' '.join(str(error).splitlines())}{where(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("isotherm: stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        discard(sys.stdout)
        return 0
    except OSError as error:
        if trace or error.filename is not None or not is_full(error):
            raise
        discard(sys.stdout)
        print(f"isotherm: The output cannot be written: {error.strerror}.", file=sys.stderr)
        return 2


def where(error: UserError) -> str:
    """How to see more of what the user's own code raised; a run has it in a file of its own."""
    raised = isinstance(error, OwnError) and error.__cause__ is not None
    return " The whole traceback: the same command with --traceback." if raised else ""


def dispatch(arguments: list[str]) -> int:
    parser = build_parser()
    if arguments[:1] in (["train"], ["demo"]) and not {"-h", "--help"} & set(arguments):
        with contextlib.redirect_stdout(Unread(sys.stdout)):  # pyright: ignore[reportArgumentType]
            return (train if arguments[0] == "train" else demo)(arguments[1:])
    options = parser.parse_args(arguments)
    if not hasattr(options, "call"):
        parser.print_help()
        return 0
    return options.call(options)


def build_parser() -> Parser:
    parser = Parser("isotherm", description=DESCRIPTION, epilog=EXAMPLES, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--traceback", action="store_true", help="show Python's traceback of a mistake")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=Parser)

    def command(name: str, call: Callable[[Any], int] | None, help: str, **extra: Any) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name, help=help, description=help, formatter_class=argparse.RawTextHelpFormatter, **extra
        )
        if call is not None:
            sub.set_defaults(call=call)
        return sub

    usage = "isotherm {} [RECIPE] [--config FILE] [--SETTING VALUE ...] [--dry-run]"
    for name, call_help in (("demo", DEMO_HELP), ("train", TRAIN_HELP)):
        command(name, None, call_help, usage=usage.format(name), epilog=ARGUMENTS + settings_help())
    sub = command("sample", sample, "show what a model answers, and what share is right")
    sub.add_argument("model", nargs="?", default="builtin", help=f"'builtin', a model folder or a run folder {DEFAULT}")
    sub.add_argument(
        "--problems", default="countdown:2,chain:2,subset:2", help=f"families, each with a level {DEFAULT}"
    )
    sub.add_argument("--count", type=at_least(1, 10**5), default=3, help=f"problems per family {DEFAULT}")
    sub.add_argument("--samples", type=at_least(1, 2**16), default=8, help=f"responses per problem {DEFAULT}")
    sub.add_argument("--temperature", type=float, default=1.0, help=f"sampling temperature {DEFAULT}")
    sub.add_argument("--max-new", type=at_least(1, 2**20), default=64, help=f"longest response, in tokens {DEFAULT}")
    sub.add_argument("--seed", type=at_least(0), default=0, help=f"of the problems and the draws {DEFAULT}")
    sub = command("report", report, "write one page on one or several runs")
    sub.add_argument("runs", nargs="+", help="run folders")
    sub.add_argument("--out", default="", help="the page; default report.html in the run's folder, or here for several")
    sub = command("inspect", inspect, "show the responses of a step token by token, on one page", epilog=INSPECT_HELP)
    sub.add_argument("run", help="a run folder, or a token dump of prime-rl or slime")
    sub.add_argument("--step", type=at_least(0), help="a step whose responses are stored; default the last")
    sub.add_argument("--out", default="", help="the page; default microscope.html in the run, or here for a dump")
    sub.add_argument("--model", default="", help="a folder with the tokenizer; a run knows its own")
    add_readings(command)
    command("metrics", metrics, "list every metric with its unit, reduction and definition")
    sub = command(
        "methods",
        methods,
        "list the methods, or explain one in full",
        epilog=METHODS_HELP,
    )
    sub.add_argument(
        "name", nargs="?", default="", help="equations, parameters, when to use it, how it fails, how to run it"
    )
    sub = command("pretrain", pretrain, "make the built-in model from nothing (under 30 minutes on 2 cores)")
    sub.add_argument("out", help="folder for the model")
    sub.add_argument("--seed", type=at_least(0), default=0, help=f"of the weights and the lessons {DEFAULT}")
    sub.add_argument("--steps", type=at_least(0), default=0, help="training steps; 0 means those of the built-in model")
    sub.add_argument(
        "--dtype",
        choices=("bfloat16", "float32"),
        default="bfloat16",
        help=f"precision of matrix products {DEFAULT}",
    )
    return parser


def add_readings(command: Callable[..., argparse.ArgumentParser]) -> None:
    """`forecast` and `diagnose`: the commands that read anybody's log."""
    sub = command("forecast", forecast, "where a run stands on the law, what is left, and when it ends", epilog=LOGS)
    add = sub.add_argument
    add("path", metavar="PATH", help="a log, or the folder of a run")
    add("--until", type=at_least(1), metavar="STEP", help="the step to forecast to; default the planned length")
    add("--share", type=float, default=0.3, help="first part of the log that its own end is forecast from [0.3]")
    add("--reward", default="", metavar="NAME", help="which reward, by our name; default pass@1/train, reward/mean")
    reading(sub)
    sub = command("diagnose", diagnose, "what drove the entropy of a run, and what would move it", epilog=LOGS)
    sub.add_argument("path", metavar="PATH", help="a log, or the folder of a run")
    reading(sub)


def reading(sub: argparse.ArgumentParser) -> None:
    column = "what a column means, e.g. ent=entropy/exact; may be given several times"
    sub.add_argument("--run", default="", metavar="NAME", help="one of several runs in the log")
    sub.add_argument("--entropy", default="", metavar="NAME", help="which entropy, by our name, e.g. entropy/sampled")
    sub.add_argument("--column", action="append", default=[], metavar="NAME=MEANING", help=column)
    sub.add_argument("--json", default="", metavar="FILE", help="write all numbers there")
    sub.add_argument("--out", default="", metavar="FILE.html", help="write a page with figures there")


DEFAULT = "[%(default)s]"
LOGS = """\
reads without conversion: our run folders; TRL's trainer_state.json and completions; verl's console log and JSON lines;
W&B offline runs and CSV exports; trackio databases; TensorBoard events; prime-rl's folders; plain CSV and JSON lines"""

METHODS_HELP = """\
examples:
  isotherm methods                                     all of them: paper, factors, slots, knob, cost beyond GRPO
  isotherm methods kl_cov                              one in full, with a command line to paste
  isotherm train --method "kl_cov(k=0.02)"             one of its parameters changed; the others keep their defaults
  isotherm train --method "clip_higher + par"          terms of different slots go together
docs/papers.md lists what each was tested and reproduced with, docs/tutorial.md writes a new one."""

INSPECT_HELP = """\
examples:
  isotherm inspect runs/demo/grpo-seed0 --step 40
  isotherm inspect OUT --model MODEL                   OUT/token_exports of prime-rl (trainer.enable_token_export)
  isotherm inspect DIR --step 3 --model MODEL          DIR/p_3.pt of slime (--save-debug-train-data)
Values are exact to three digits. What a source does not record (a dump has no S2 and S2L) is not offered."""

DEMO_HELP = "two arms of one seed side by side, live, then one report that compares them"
TRAIN_HELP = "train one run; the same command again goes on where it was interrupted"
ARGUMENTS = """\
arguments:
    RECIPE               a Python file with one function that returns a Config, or FILE.py:function
    --config FILE        settings from a YAML or TOML file; they go over the recipe's, --SETTING VALUE over both
    --dry-run            check the settings and show them, in YAML that --config reads, and do nothing else
    --traceback          show Python's traceback of a mistake

"""


def train(arguments: list[str]) -> int:
    config, dry = read_settings(arguments)
    from isotherm import api

    if dry:
        api.check(config)
        return show(config)
    from isotherm.report.summary import sentences
    from isotherm.update.train import Stopped

    try:
        run = api.train(config)
    except Stopped:
        print(f"Stopped after a whole step and saved in {api.folder_of(config)}; the same command goes on from there.")
        return 130
    print("\n".join(sentences([run])))
    print(f"Report: {run.path / 'report.html'}")
    return 0


def show(config: Any) -> int:
    """The resolved settings as YAML, which --config reads."""
    import yaml

    from isotherm.update.config import as_dict

    print(yaml.safe_dump(as_dict(config), sort_keys=False), end="")
    return 0


def demo(arguments: list[str]) -> int:
    config, dry = read_settings(arguments)
    from isotherm import api, demo

    if dry:
        for arm in demo.arms(config):
            api.check(arm)
        return show(config)
    return demo.run(config, [a for a in arguments[:1] if not a.startswith("-")])


def report(options: argparse.Namespace) -> int:
    from isotherm.report.page import write_report
    from isotherm.runs import load_run

    runs = [load_run(path) for path in options.runs]
    out = Path(options.out) if options.out else (runs[0].path if len(runs) == 1 else Path()) / "report.html"
    print(write_report(runs, out))
    return 0


def inspect(options: argparse.Namespace) -> int:
    from isotherm.report.inspect import inspect

    print(inspect(options.run, options.step, options.out, options.model))
    return 0


def forecast(options: argparse.Namespace) -> int:
    from isotherm import api

    given = {name: getattr(options, name) for name in ("until", "share", "run", "entropy", "reward")}
    return told(api.forecast(options.path, columns=meanings(options.column), **given), options)


def diagnose(options: argparse.Namespace) -> int:
    from isotherm import api

    found = api.diagnose(options.path, run=options.run, entropy=options.entropy, columns=meanings(options.column))
    return told(found, options)


def meanings(columns: list[str]) -> dict[str, str]:
    """NAME=MEANING; the name of a column may hold = itself, a meaning does not."""
    for text in columns:
        if not all(text.rpartition("=")):
            raise UserError(f"--column {text!r} is not of the form NAME=MEANING, e.g. ent=entropy/exact.")
    names = [text.rpartition("=")[0] for text in columns]
    if len(set(names)) < len(names):
        raise UserError(f"--column gives {max(names, key=names.count)!r} two meanings; a column has one.")
    return {name: meaning for name, _, meaning in (text.rpartition("=") for text in columns)}


def told(found: Any, options: argparse.Namespace) -> int:
    """Print the page, and write the files that are asked for."""
    from isotherm.report.prognosis import page

    width = max(60, min(100, shutil.get_terminal_size((100, 24)).columns))
    written = page.write(found, options.json, options.out)
    print(page.text(found, width))
    for path in written:
        print(f"Written: {path}")
    return 0


def metrics(options: argparse.Namespace) -> int:
    from isotherm.measure.catalogue import table

    print(table())
    return 0


def methods(options: argparse.Namespace) -> int:
    from isotherm.objective.page import explain, table

    width = max(40, shutil.get_terminal_size((120, 24)).columns)
    print(explain(options.name, min(width, 100)) if options.name else table(width))
    return 0


def sample(options: argparse.Namespace) -> int:
    from isotherm.show import show_samples

    show_samples(
        options.model, options.problems, options.count, options.samples,
        options.temperature, options.max_new, options.seed,
    )  # fmt: skip
    return 0


def pretrain(options: argparse.Namespace) -> int:
    from isotherm.policy.pretrain import make

    make(Path(options.out), seed=options.seed, steps=options.steps, dtype=options.dtype)
    return 0


if __name__ == "__main__":
    sys.exit(main())
