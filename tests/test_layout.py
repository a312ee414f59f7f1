"""The import rule, and what no file of the package may do."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "isotherm"
FILES = sorted(PACKAGE.rglob("*.py"))
NOUNS = {"records", "errors", "files", "own"}  # imported from anywhere

# What each part may import beside itself and the nouns: parts to its left. The last line is the edge of the package.
ALLOWED: dict[str, set[str]] = {
    "records": set(),
    "errors": set(),
    "files": set(),
    "own": set(),  # functions that the user wrote
    "native": set(),  # functions in C, each with a plain twin beside its caller
    "tasks": set(),
    "tokens": {"native"},
    "advantages": {"tokens"},
    "objective": {"tokens", "advantages"},
    "measure": {"tokens", "advantages", "objective"},
    "policy": {"tasks", "tokens", "native"},
    "rollout": {"tasks", "policy", "tokens", "native"},
    "update": {"native", "tasks", "policy", "rollout", "tokens", "advantages", "objective", "measure"},
    "runs": {"tasks", "rollout", "measure", "report"},
    "report": {"tokens", "advantages", "objective", "policy", "rollout", "update", "measure", "runs"},
}
EDGE = {"__init__", "__main__", "api", "arguments", "cli", "demo", "show", "integrations"}
MATHEMATICS = ("tokens", "advantages", "objective", "measure")
LIBRARIES = {"torch", "numpy"}


class Import(NamedTuple):
    file: Path
    name: str  # the module, absolute

    @property
    def place(self) -> str:
        return self.file.relative_to(PACKAGE).as_posix()

    @property
    def part(self) -> str:
        return part_of(self.file.relative_to(PACKAGE).with_suffix("").parts)

    @property
    def library(self) -> str:
        return self.name.split(".")[0]


def part_of(names: tuple[str, ...] | list[str]) -> str:
    return names[0] if names else "__init__"


def imports(file: Path, tree: ast.AST) -> list[Import]:
    """Every import of a file, inside functions and under TYPE_CHECKING too; relative ones made absolute."""
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} line {node.lineno}: imports inside the package are absolute"
            found += [f"{node.module}.{alias.name}" if node.module == "isotherm" else str(node.module)
                      for alias in node.names]  # fmt: skip
    return [Import(file, name) for name in found]


TREES = {file: ast.parse(file.read_text(encoding="utf-8")) for file in FILES}
IMPORTS = [i for file, tree in TREES.items() for i in imports(file, tree)]
INNER = [(i, part_of(i.name.split(".")[1:])) for i in IMPORTS if i.library == "isotherm"]


def test_every_part_has_its_place() -> None:
    parts = {part_of(file.relative_to(PACKAGE).with_suffix("").parts) for file in FILES}
    assert parts - EDGE == set(ALLOWED)


def test_imports_go_left() -> None:
    wrong = [
        f"{i.place} imports {i.name}"
        for i, target in INNER
        if i.part not in EDGE and target not in ALLOWED[i.part] | NOUNS | {i.part}
    ]
    assert not wrong


def test_the_edge_is_imported_by_the_edge_alone() -> None:
    assert not [f"{i.place} imports {i.name}" for i, target in INNER if i.part not in EDGE and target in EDGE]


def test_mathematics_imports_only_torch_and_numpy() -> None:
    """scipy in measure/laws/, triton in tokens/epilogue.py; measure/logs reads other tools' files."""
    wrong = []
    for i in IMPORTS:
        known = LIBRARIES | set(sys.stdlib_module_names) | {"isotherm"}
        known |= {"tokens/epilogue.py": {"triton"}}.get(i.place, set())
        known |= {"scipy"} if i.place.startswith("measure/laws/") else set()
        if i.part in MATHEMATICS and i.library not in known and not i.place.startswith("measure/logs"):
            wrong.append(f"{i.place} imports {i.name}")
    assert not wrong


def test_the_command_starts_without_torch() -> None:
    light = "isotherm.cli, isotherm.records, isotherm.tasks, isotherm.update.config, isotherm.objective.elsewhere"
    told = subprocess.run(
        [sys.executable, "-c", f"import {light}, sys; print('torch' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == "False"


def test_tasks_never_import_torch() -> None:
    assert not [i for i in IMPORTS if i.part == "tasks" and i.library == "torch"]


def test_only_integrations_know_trainers() -> None:
    assert not [
        f"{i.place} imports {i.name}" for i in IMPORTS if i.library in ("trl", "verl") and i.part != "integrations"
    ]


def test_no_file_has_a_name_that_says_nothing() -> None:
    assert not [f for f in FILES if f.stem in ("utils", "util", "common", "base", "helpers", "misc")]


def called(tree: ast.AST) -> list[str]:
    """The names of all calls but `torch.load(..., weights_only=True)` with that word written out."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [name for call in calls if (name := ast.unparse(call.func)) != "torch.load" or not plain(call)]


def plain(call: ast.Call) -> bool:
    return any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in call.keywords)


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.relative_to(PACKAGE).as_posix())
def test_nothing_is_executed_or_unpickled(file: Path) -> None:
    """Except the recipe that the user names, and slime's dumps, of which torch builds tensors and calls nothing."""
    bad = {"eval", "exec", "compile", "__import__", "torch.load", "np.load", "numpy.load", "marshal.loads"}
    found = [name for name in called(TREES[file]) if name in bad]
    found += [name for name in called(TREES[file]) if name.endswith(".exec_module") and file.name != "arguments.py"]
    found += [i.name for i in IMPORTS if i.file == file and i.library in ("pickle", "dill", "joblib", "shelve")]
    assert not found


def test_the_scan_sees_what_it_forbids() -> None:
    tree = ast.parse(
        "def f():\n    import pickle\n    from trl import GRPOTrainer\n    return eval('1') + torch.load(x)"
    )
    assert called(tree) == ["eval", "torch.load"]
    loads = "torch.load(x, weights_only=True), torch.load(x, weights_only=y), torch.load(x)[0].f(weights_only=True)"
    assert called(ast.parse(loads)) == ["torch.load", "torch.load(x)[0].f", "torch.load"]
    assert [i.library for i in imports(PACKAGE / "x.py", tree)] == ["pickle", "trl"]


def test_the_wheel_holds_what_is_no_code(tmp_path: Path) -> None:
    """The page's style and the built-in model travel with the package."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    data = [f for f in PACKAGE.rglob("*") if f.is_file() and f.suffix not in (".py", ".pyc")]
    assert {f.relative_to(PACKAGE.parent).as_posix() for f in data} <= names
    assert "isotherm/report/style.css" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
