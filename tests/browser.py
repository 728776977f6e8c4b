"""Headless Chromium on a local file: the page after its scripts ran, and a picture of it at any width."""

import shutil
import subprocess
from pathlib import Path

import pytest

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


def _run(folder: Path, *arguments: str) -> str:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("Chromium is not installed")
    profile = folder / "profile"
    command = [program, *FLAGS, f"--user-data-dir={profile}", "--virtual-time-budget=4000", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout


def document(page: Path, fragment: str = "") -> str:
    """The page's HTML after its scripts ran."""
    return _run(page.parent, "--dump-dom", f"file://{page}{fragment}")


def screenshot(page: Path, picture: Path, width: int, height: int = 1400, fragment: str = "") -> None:
    """A picture of the page in a frame ``width`` pixels wide (a window cannot be as narrow as a phone)."""
    frame = page.parent / f"frame-{width}.html"
    frame.write_text(
        f'<body style="margin:0"><iframe src="{page.name}{fragment}" '
        f'style="border:0;width:{width}px;height:{height}px">'
    )
    _run(
        page.parent, f"--window-size={max(width, 500)},{height}", f"--screenshot={picture}", f"file://{frame}"
    )
