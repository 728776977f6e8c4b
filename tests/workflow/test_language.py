"""Code and documentation do not use the words and names that the glossary retires."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = {".py", ".smk", ".md", ".yaml", ".toml", ".j2", ".cff", ".sh", ".svg"}
# Not written here: licences, files of the shipped models, and the pages that list the words themselves.
SKIPPED = re.compile(
    r"^(LICENSES/|docs/glossary\.md|tests/workflow/test_language\.py)|assets/models/.*\.json"
)
LONGEST = 120


def table(title: str) -> list[tuple[list[str], str, list[str]]]:
    """Rows of a table of the glossary: quoted texts of the first cell, replacement, quoted texts of the last cell."""
    section = (ROOT / "docs/glossary.md").read_text().partition(f"## {title}\n")[2].partition("\n## ")[0]
    rows = []
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]
        if len(cells) == 3 and cells[0].startswith("`"):
            quoted = [re.findall(r"`([^`]+)`", cells[column]) for column in (0, 2)]
            rows.append((quoted[0], cells[1], quoted[1]))
    return rows


def retired() -> list[tuple[str, str, list[str]]]:
    """Pattern, what to use instead, and where the word is allowed."""
    return [
        (re.sub(r"\(\?:([^)]*)\)", lambda m: m[0].replace("/", "|"), pattern), instead, allowed)
        for patterns, instead, allowed in table("Retired words")
        for pattern in patterns
    ]


def text_files() -> Iterator[tuple[str, Path]]:
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in names.splitlines():
        path = ROOT / name
        if (path.suffix in TEXT or path.name == "Snakefile") and not SKIPPED.search(name) and path.is_file():
            yield name, path


def lines_of_the_repository() -> Iterator[tuple[str, int, str, str]]:
    """File, number, the last word of the line before, and the line."""
    for name, path in text_files():
        before = ""
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if match := re.match(r"def (test_\w+)", line):
                line = match[1].replace("_", " ")
            yield name, number, before, line
            before = (line.split() or [""])[-1]


LINES = list(lines_of_the_repository())


def test_the_glossary_lists_words():
    assert len(retired()) > 40 and all(instead for _, instead, _ in retired())


@pytest.mark.parametrize(("pattern", "instead", "allowed"), retired(), ids=lambda value: str(value)[:40])
def test_retired_words_are_not_used(pattern, instead, allowed):
    inside = r"\w" if "_" in pattern else "A-Za-z0-9"  # words are also found in names such as dealt_pairs
    word = re.compile(rf"(?<![{inside}]){pattern}(?![{inside}])", re.IGNORECASE)
    found = [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, number, before, line in LINES
        if any(match.end() > len(before) + 1 for match in word.finditer(f"{before} {line}"))
        and not any(exception in f"{name} {line}" for exception in allowed)
    ]
    assert not found, f"use '{instead}' in\n" + "\n".join(found[:40])


def names_of(tree: ast.AST, stem: str) -> Iterator[tuple[int, str, bool]]:
    """Line, name, and whether it is a variable or an argument, of every name that a module binds."""
    yield 1, stem, False
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id, True
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr, True
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg, True
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("test_"):
            yield node.lineno, node.name, False
        elif isinstance(node, ast.alias) and node.asname:
            yield 1, node.asname, False


def test_retired_names_are_not_used():
    everywhere, somewhere = {}, []
    for names, instead, folders in table("Retired names"):
        everywhere |= {} if folders else dict.fromkeys(names, instead)
        somewhere += [(folder, name, instead) for folder in folders for name in names]
    assert len(everywhere) > 30
    found = []
    for name, path in text_files():
        if path.suffix != ".py":
            continue
        here = everywhere | {own: instead for folder, own, instead in somewhere if name.startswith(folder)}
        for line, bound, variable in names_of(ast.parse(path.read_text(encoding="utf-8")), path.stem):
            parts = bound.lower().replace("ground_truth", "").split("_")
            hits = [
                part for part in parts if part in here and (part != "draw" or (variable and bound == "draw"))
            ]
            found += [f"{name}:{line}: {bound} (use '{here[hit]}')" for hit in hits]
    assert not found, "\n".join(found[:60])


def test_lines_of_settings_are_not_too_long():
    """ruff checks Python and snakefmt the rules; YAML files are checked here. Long addresses are allowed."""
    found = [
        f"{name}:{number}"
        for name, number, _, line in LINES
        if Path(name).suffix == ".yaml" and len(line) > LONGEST and max(map(len, line.split())) < LONGEST / 2
    ]
    assert not found, f"more than {LONGEST} characters in {found}"
