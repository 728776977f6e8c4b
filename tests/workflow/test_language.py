"""The words that the glossary retires stay out of code and documentation."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = {".py", ".smk", ".md", ".yaml", ".toml", ".j2", ".cff", ".sh"}
# Not written here: licences, shipped models' files, and the pages that list the words themselves.
SKIPPED = re.compile(
    r"^(LICENSES/|docs/glossary\.md|tests/workflow/test_language\.py)|assets/models/.*\.json"
)


def retired() -> list[tuple[str, str, list[str]]]:
    """Rows of the glossary's second table: pattern, what to use instead, where the word is allowed."""
    page = (ROOT / "docs/glossary.md").read_text().partition("## Retired words")[2]
    rows = []
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) >= 3 and cells[0].startswith("`"):
            for pattern in re.findall(r"`([^`]+)`", cells[0]):
                pattern = re.sub(r"\(\?:([^)]*)\)", lambda m: m[0].replace("/", "|"), pattern)
                rows.append((pattern, cells[1], re.findall(r"`([^`]+)`", cells[2])))
    return rows


def lines_of_the_repository():
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in names.splitlines():
        path = ROOT / name
        if path.suffix in TEXT and not SKIPPED.search(name) and path.is_file():
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                yield name, number, line


LINES = list(lines_of_the_repository())


def test_the_glossary_lists_words():
    assert len(retired()) > 10 and all(instead for _, instead, _ in retired())


@pytest.mark.parametrize(("pattern", "instead", "allowed"), retired(), ids=lambda value: str(value)[:40])
def test_retired_words_are_not_used(pattern, instead, allowed):
    word = re.compile(rf"(?<![\w]){pattern}(?![\w])", re.IGNORECASE)
    found = [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, number, line in LINES
        if word.search(line) and not any(place in f"{name} {line}" for place in allowed)
    ]
    assert not found, f"use '{instead}' in\n" + "\n".join(found[:40])
