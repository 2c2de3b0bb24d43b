"""The documentation tells the truth about what can be checked: settings, problem codes, the life cycle, links, addresses."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.core.management import get_commands
from django.urls import Resolver404, resolve
from rest_framework import exceptions

from experiments.states import EXPERIMENT_LIFECYCLE
from mlops.lifecycle.diagram import mermaid
from registry.states import VERSION_LIFECYCLE

ROOT = Path(__file__).resolve().parents[2]
CODE = ("mlops", "registry", "experiments", "alerts", "engine")
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
CALL = re.compile(r"curl\b.*?(?:\$\{?TILTYARD\}?|https?://(?:127\.0\.0\.1|localhost):8000)(/[^\s\"'`)]*)?", re.DOTALL)
# Nothing of the API answers 406 (mlops.api.json.JSONOnly negotiates nothing), and the bare base class is nobody's.
NEVER_ANSWERED = {exceptions.NotAcceptable, exceptions.APIException}
# Variables of the interpreter and of Django, of tests and benchmarks; not settings of the product.
NOT_SETTINGS = {"DJANGO_SETTINGS_MODULE", "OMP_NUM_THREADS", "POLARS_MAX_THREADS"}


def text(page: str) -> str:
    return (ROOT / page).read_text()


def trees() -> Iterator[ast.Module]:
    for folder in CODE:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "migrations" not in path.parts:
                yield ast.parse(path.read_text())


def literal(node: ast.AST | None) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def variables_read() -> set[str]:
    """First arguments of `env.str("X")` and its like, of `os.environ.get("X")`, and keys of `os.environ["X"]`."""
    found = set()
    for tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                owner = ast.unparse(node.func.value)
                if owner == "env" or (owner == "os.environ" and node.func.attr == "get"):
                    found.add(literal(node.args[0]))
            elif isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ" and isinstance(node.ctx, ast.Load):
                found.add(literal(node.slice))
    return found - {""} - NOT_SETTINGS


def codes_answered() -> set[str]:
    """Codes of problems: `Problem(status, "code", …)`, `code = "…"` of a refusal's class, the doors' own, and those of DRF."""
    found = {str(kind.default_code) for kind in exceptions.APIException.__subclasses__() if kind not in NEVER_ANSWERED}
    for tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("Problem", "problem_bytes", "refusal"):
                found |= {literal(part) for part in ast.walk(node.args[1])} if len(node.args) > 1 else set()
            elif isinstance(node, ast.ClassDef):
                found |= {literal(value) for name, value in class_values(node) if name == "code"}
    return found - {""}


def class_values(node: ast.ClassDef) -> Iterator[tuple[str, ast.AST | None]]:
    for statement in node.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            yield statement.targets[0].id, statement.value
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            yield statement.target.id, statement.value


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    prose = FENCE.sub("", page.read_text())
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links() -> list[tuple[str, str]]:
    return [
        (str(page.relative_to(ROOT)), target)
        for page in PAGES
        for target in LINK.findall(FENCE.sub("", page.read_text()))
        if not urlsplit(target).scheme
    ]


def calls() -> list[tuple[str, str]]:
    """(page, path) of every curl in a code block, continued lines joined."""
    found = []
    for page in PAGES:
        for _, block in FENCE.findall(page.read_text()):
            for line in block.replace("\\\n", " ").splitlines():
                found += [(str(page.relative_to(ROOT)), path or "/") for path in CALL.findall(line)]
    return found


def test_every_variable_that_is_read_is_documented() -> None:
    operations = text("docs/operations.md")

    undocumented = {name for name in variables_read() if f"`{name}`" not in operations}

    assert undocumented == set()
    assert {"SECRET_KEY", "WEB_THREADS", "DATABASE_POOL_SIZE"} <= variables_read()


def test_every_documented_variable_is_read_somewhere() -> None:
    table = text("docs/operations.md").split("## Environment variables")[1].split("Compose also reads")[0]
    documented = {name for line in table.splitlines() if line.startswith("| `") for name in re.findall(r"`([A-Z_]+)`", line.split("|")[1])}

    assert documented - variables_read() == set()


def test_every_problem_code_has_its_heading() -> None:
    page = ROOT / "docs" / "problems.md"

    assert codes_answered() - anchors(page) == set()
    assert {"illegal_transition", "gates_failed", "throttled", "busy"} <= codes_answered()


def test_no_problem_is_documented_that_nobody_answers() -> None:
    listed = set(re.findall(r"^\| \[`(\w+)`\]", text("docs/problems.md"), re.MULTILINE))
    answered = codes_answered()

    assert listed - answered == set()
    assert listed == anchors(ROOT / "docs" / "problems.md") & answered


def test_concepts_draw_the_life_cycle_that_the_code_obeys() -> None:
    assert f"```mermaid\n{mermaid(VERSION_LIFECYCLE)}\n```" in text("docs/concepts.md")


def test_experiments_draw_the_life_cycle_that_the_code_obeys() -> None:
    assert f"```mermaid\n{mermaid(EXPERIMENT_LIFECYCLE)}\n```" in text("docs/experiments.md")


@pytest.mark.parametrize(("page", "target"), sorted(set(links())))
def test_relative_link_leads_somewhere(page: str, target: str) -> None:
    path, _, fragment = target.partition("#")
    destination = (ROOT / page).parent / path if path else ROOT / page

    assert destination.exists()
    assert not fragment or fragment in anchors(destination)


@pytest.mark.parametrize(("page", "path"), sorted(set(calls())))
def test_curl_of_the_docs_calls_an_address_that_is_served(page: str, path: str) -> None:
    address = urlsplit(path).path
    address = re.sub(r"\$\{?\w+\}?", "00000000-0000-0000-0000-000000000001", address)

    try:
        resolve(address)
    except Resolver404:
        pytest.fail(f"{page} calls {path}, which nothing serves")


def test_every_command_of_the_docs_exists() -> None:
    blocks = "\n".join(block for page in PAGES for _, block in FENCE.findall(page.read_text()))
    targets = set(re.findall(r"^([a-z-]+):", text("Makefile"), re.MULTILINE))
    modules = {name for name in re.findall(r"python -m ([\w.]+)", blocks) if name.split(".")[0] in (*CODE, "benchmarks")}

    assert set(re.findall(r"^make ([a-z-]+)", blocks, re.MULTILINE)) - targets == set()
    assert set(re.findall(r"(?:manage\.py|bin/tiltyard) ([a-z_]+)", blocks)) - set(get_commands()) == set()
    assert {name for name in modules if not (ROOT / f"{name.replace('.', '/')}.py").exists()} == set()


def test_the_docs_hold_calls_of_both_apis() -> None:
    pages = {page for page, _ in calls()}

    assert {"README.md", "docs/api-datasets.md"} <= pages
