"""The documentation site builds without a warning: links, anchors, navigation and generated pages."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_site_builds_in_strict_mode(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=600, env=dict(os.environ, NO_MKDOCS_2_WARNING="1"),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    page = (tmp_path / "reference" / "configuration" / "index.html").read_text()
    assert "guidance_scale" in page and "required" in page
    commands = (tmp_path / "reference" / "commands" / "index.html").read_text()
    assert "mind-animator score" in commands
