"""The shape of the code: short functions and modules, docstrings, narrow excepts, honest dependencies, links that exist."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.config import Broker, Costs, Desk, Market, Offshore, Reference
from bot.engine.pair import Execution
from bot.instruments import FutureProduct, PerpProduct, StableProduct
from bot.sim.budget import Budget
from bot.sim.wire import Delays
from risk.limits import Limits
from strategies.convergence_params import ConvergenceParams

ROOT = Path(__file__).parents[2]
PACKAGES = ("bot", "strategies", "risk")
FUNCTION_LINES, MODULE_LINES, METHODS = 50, 400, 20
LONGER: dict[str, int] = {
    # Ratchet: what is longer than the rule, and how long it may be. Only ever shorten this list.
    "bot/engine/fold.py": 410,
}  # fmt: skip
PROVIDED_BY = {"sqlalchemy": "SQLAlchemy", "ib_insync": "ib-insync"}
USED_BY_NAME = {"tzdata"}
"""Needed without an import: zoneinfo reads it where the system has no zone files."""


def modules() -> list[Path]:
    """Every module that is shipped."""
    return sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*.py"))


def committed() -> list[Path]:
    """Every file under version control; without git, everything that is not ignored by name."""
    found = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=False)
    if found.returncode == 0:
        return [ROOT / line for line in found.stdout.splitlines() if (ROOT / line).is_file()]
    return [p for p in ROOT.rglob("*") if p.is_file() and not any(part.startswith(".") for part in p.relative_to(ROOT).parts)]


def name(path: Path) -> str:
    """Path as the ratchets write it."""
    return path.relative_to(ROOT).as_posix()


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function in a module."""
    return (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("path", modules(), ids=name)
def test_modules_functions_and_classes_are_short(path: Path) -> None:
    """A reader holds one of them in mind at a time."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert len(text.splitlines()) <= LONGER.get(name(path), MODULE_LINES)
    for f in functions(tree):
        assert (f.end_lineno or 0) - f.lineno < FUNCTION_LINES, f"{name(path)}:{f.lineno} {f.name}"
    for c in (n for n in ast.walk(tree) if isinstance(n, ast.ClassDef)):
        methods = [x for x in c.body if isinstance(x, ast.FunctionDef) and not x.decorator_list]
        assert len(methods) <= METHODS, f"{name(path)} {c.name}: {len(methods)} methods"


def test_the_ratchet_is_not_slack() -> None:
    """What has become short again leaves the list."""
    for path, allowed in LONGER.items():
        assert len((ROOT / path).read_text(encoding="utf-8").splitlines()) > MODULE_LINES - 40, f"{path} no longer needs {allowed}"


@pytest.mark.parametrize("path", modules(), ids=name)
def test_public_names_say_what_they_are(path: Path) -> None:
    """Modules, public classes and public functions have docstrings (members of protocols speak by their signature)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if path.read_text(encoding="utf-8").strip():
        assert ast.get_docstring(tree), f"{name(path)} has no docstring"
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{name(path)}:{node.lineno} {node.name}"
        if isinstance(node, ast.ClassDef) and not any("Protocol" in ast.unparse(b) for b in node.bases):
            for f in node.body:
                if isinstance(f, ast.FunctionDef) and not f.name.startswith("_") and not node.name.startswith("_"):
                    assert ast.get_docstring(f), f"{name(path)}:{f.lineno} {node.name}.{f.name}"


def test_nobody_swallows_everything() -> None:
    """A broad except hides bugs; one that releases what it holds and raises again does not."""
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ExceptHandler) and (node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")):
                last = node.body[-1]
                assert isinstance(last, ast.Raise), f"{name(path)}:{node.lineno} may swallow a bug"


def test_venues_package_is_empty() -> None:
    """Importing one venue must not import another one's library."""
    assert (ROOT / "bot/venues/__init__.py").read_text(encoding="utf-8").strip() == ""


def test_dependencies_are_what_is_imported() -> None:
    """Every declared dependency is used, and everything imported is declared."""
    imported = set()
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {a.name.partition(".")[0] for a in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.partition(".")[0])
    foreign = {PROVIDED_BY.get(m, m) for m in imported if m not in sys.stdlib_module_names and m not in PACKAGES}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.split(r"[<>=\[]", d)[0] for d in project["dependencies"]}
    assert foreign == declared - USED_BY_NAME


def test_pins_are_in_the_locks_alone() -> None:
    """The project states floors; the locks pin every dependency with hashes and name no place to get it from."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert not any("==" in d or "~=" in d for d in project["dependencies"])
    for lock in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / lock).read_text(encoding="utf-8")
        pins = re.findall(r"^([A-Za-z0-9_.-]+)==\S+ \\\n    --hash=sha256:", text, re.MULTILINE)
        wanted = [*project["dependencies"], *project["optional-dependencies"]["build"]]
        wanted += project["optional-dependencies"]["dev"] if "dev" in lock else []
        assert {re.split(r"[<>=\[]", d)[0].lower() for d in wanted} <= {p.lower() for p in pins}
        assert not re.search(r"https?:|file:|--index|--find-links|--trusted|@ ", re.sub(r"--no-emit-[a-z-]+", "", text))


LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)")


def test_links_lead_somewhere() -> None:
    """A relative link in a page names a file that exists."""
    for page in (p for p in committed() if p.suffix == ".md"):
        for target in LINK.findall(page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{name(page)} -> {target}"


PRIVATE = re.compile(r"/(?:work|root|home|Users|opt)/[\w.-]+|py" + r"pi\.|python" + r"hosted|npm" + r"js\.")


def test_nothing_names_this_machine() -> None:
    """What is committed works elsewhere: no absolute path of a machine, no package index."""
    for path in committed():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found = PRIVATE.search(text)
        assert found is None, f"{name(path)}: {found.group(0) if found else ''}"


def test_ci_runs_the_second_command_of_the_readme() -> None:
    """README has two commands; CI installs, checks and tests by the second, as it is written there."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^```sh\n(.+)\n```$", readme, re.MULTILINE)
    assert len(commands) == 2 and commands[0].endswith("-m bot paper") and commands[1].endswith(" -m pytest -n 2 --dist worksteal")
    assert (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()[-1] == commands[1]


def test_every_setting_is_read() -> None:
    """A setting that nothing reads is a promise that nothing keeps."""
    read = {
        node.attr
        for path in modules()
        if name(path) != "bot/config.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
    }
    sections = [Market, Delays, Budget, Costs, Desk, Broker, Offshore, Reference, Limits, Execution]
    sections += [ConvergenceParams, FutureProduct, PerpProduct, StableProduct]
    assert {f"{s.__name__}.{f}" for s in sections for f in s.__struct_fields__ if f not in read} <= {"Limits.clip_lots_max"}
    # clip_lots_max bounds execution.clip_lots, in bot/config.py itself
