"""The tables of the docs are all made by one command, and hold what the tests hold."""

import re
import sys

import pytest
from test_published_clips import REFERENCE

from benchmarks import published_numbers
from mind_animator.provenance import ROOT

DOCS = {name: (ROOT / "docs" / name).read_text() for name in ("metrics.md", "benchmark.md")}


def test_every_table_has_its_place_and_is_filled():
    marks = re.findall(r"<!-- numbers (\w+) -->\n(.*?)<!-- end -->", "\n".join(DOCS.values()), re.DOTALL)
    assert sorted(name for name, _ in marks) == sorted(published_numbers.TABLES)
    for name, table in marks:
        assert table.startswith("| ") and table.count("\n") >= 3, name


def test_the_reference_values_are_in_the_page():
    table = re.search(r"<!-- numbers reference -->\n(.*?)<!-- end -->", DOCS["metrics.md"], re.DOTALL).group(
        1
    )
    rows = {row[0]: row[1:] for row in (line.strip("| ").split(" | ") for line in table.splitlines())}
    for name, (ssim, psnr, hue, epe_published, epe) in REFERENCE.items():
        values = [float(value) for value in rows[f"{name}.gif"]]
        assert [*values[:3], *values[4:]] == pytest.approx([ssim, psnr, hue, epe_published, epe], abs=1e-4)


def test_the_command_checks_and_names_what_differs(tmp_path, monkeypatch, capsys):
    command = ["published_numbers", "--data", str(tmp_path), "--only", "false_alarms", "--check"]
    monkeypatch.setattr(sys, "argv", [*command, "--docs", str(ROOT / "docs")])
    assert published_numbers.main() == 0
    page = tmp_path / "metrics.md"
    page.write_text(DOCS["metrics.md"].replace("| 24 | 1.2 | 0.29 |", "| 24 | 1.2 | 0.92 |"))
    monkeypatch.setattr(sys, "argv", [*command, "--docs", str(tmp_path)])
    assert published_numbers.main() == 1
    assert "differing: false_alarms" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", [*command[:-1], "--docs", str(tmp_path)])
    assert published_numbers.main() == 0
    assert page.read_text() == DOCS["metrics.md"]
