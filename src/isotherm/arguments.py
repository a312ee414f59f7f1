"""The settings of a run as the command line gives them: a recipe, a file, then `--name value`."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType
from typing import Any

from isotherm.errors import OwnError, UserError, said


def settings_help() -> str:
    """All settings by section, from the fields of Config."""
    from isotherm.update.config import FIELDS

    lines, section = ["settings:"], ""
    for f in FIELDS.values():
        if f.metadata["section"] != section:
            section = f.metadata["section"]
            lines.append(f"\n  {section}")
        default = ",".join(map(str, f.default)) if isinstance(f.default, tuple) else f.default
        choices = f" ({', '.join(f.metadata['choices'])})" if f.metadata["choices"] else ""
        lines.append(f"    --{f.name.replace('_', '-'):<18} {f.metadata['help']}{choices} [{default}]")
    return "\n".join(lines)


def read_settings(arguments: list[str]) -> tuple[Any, bool]:
    """A Config from a recipe, then a file, then the command line; and whether only to show it."""
    from isotherm.update.config import Config, override

    dry = "--dry-run" in arguments
    rest = [a for a in arguments if a != "--dry-run"]
    config = recipe(rest.pop(0)) if rest and not rest[0].startswith("-") else Config()
    values: dict[str, Any] = {}
    while rest:
        name, value = option(rest)
        if name == "config":
            config = override(config, read_file(value))
        elif name in values:
            raise UserError(f"--{name.replace('_', '-')} is given twice; once is enough.")
        else:
            values[name] = value
    return override(config, values), dry


def option(rest: list[str]) -> tuple[str, str]:
    """Takes `--name value` or `--name=value` off the front."""
    word = rest.pop(0)
    if not word.startswith("--"):
        raise UserError(f"{word!r} is no setting; settings are written --name value.")
    name, given, value = word[2:].partition("=")
    name = name.replace("-", "_")
    if name != "config":
        from isotherm.update.config import require_known

        require_known(name)
    if not given:
        if not rest:
            raise UserError(f"--{name} needs a value.")
        value = rest.pop(0)
    return name, value


def read_file(path: str | Path) -> dict[str, Any]:
    """The settings in a YAML or TOML file."""
    from isotherm.update.config import require_known

    path = Path(path)
    if not path.is_file():
        raise UserError(f"The config file {path} does not exist.")
    try:
        if path.suffix == ".toml":
            import tomllib

            values = tomllib.loads(path.read_text(encoding="utf-8"))
        elif path.suffix in (".yaml", ".yml"):
            import yaml

            values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        else:
            raise UserError(f"The config file {path} must end in .yaml, .yml or .toml.")
    except UserError:
        raise
    except Exception as error:  # every parser has its own class; the sentence is the same
        raise UserError(f"The config file {path} cannot be read: {' '.join(str(error).split())}.") from None
    if not isinstance(values, dict):
        raise UserError(f"The config file {path} must hold settings as 'name: value' lines.")
    for name in values:
        try:
            require_known(str(name))
        except UserError as error:
            raise UserError(f"In {path}: {error}") from None
    return values


def recipe(text: str) -> Any:
    """The Config that a recipe's function returns."""
    from isotherm.update.config import Config

    name, _, function = text.partition(":")
    path = Path(name)
    if path.suffix != ".py" or not path.is_file():
        raise UserError(f"The recipe {name} does not exist; give a Python file with a function that returns a Config.")
    with told(name):
        own = functions_of(path)
    if not function and len(own) != 1:
        raise UserError(f"The recipe {name} has {len(own)} functions; name one as {name}:FUNCTION ({', '.join(own)}).")
    chosen = own.get(function or next(iter(own)))
    if chosen is None:
        raise UserError(f"The recipe {name} has no function {function}; it has: {', '.join(own)}.")
    with told(text):
        config = chosen()
    if not isinstance(config, Config):
        raise UserError(f"The recipe {text} returned {type(config).__name__}, not a Config.")
    return config


@contextmanager
def told(recipe: str) -> Iterator[None]:
    """What goes wrong in the user's own code becomes a sentence."""
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise OwnError(f"The recipe {recipe} fails: {said(error)}.") from error


def functions_of(path: Path) -> dict[str, Callable[[], Any]]:
    """Those that a file defines itself. As a module it has a name that no other has: dataclasses look it up."""
    name = f"isotherm_recipe_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {k: f for k, f in vars(module).items() if isinstance(f, FunctionType) and f.__module__ == name}
