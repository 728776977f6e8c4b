"""Headless Chromium on a local file: the page after its scripts ran, and a picture of it at any width."""

import html
import json
import re
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


def act(page: Path, script: str, width: int = 1200) -> object:
    """What an async script, run on the page as a visitor's hands, returns: a value that JSON can hold.

    ``wait(milliseconds)``, ``click(node)`` and ``hover(node)`` are at hand.
    """
    hands = """<script>
    const wait = time => new Promise(done => setTimeout(done, time));
    const click = node => node.dispatchEvent(new MouseEvent("click", {bubbles: true}));
    const hover = node => node.dispatchEvent(new MouseEvent("mouseenter"));
    addEventListener("load", async () => {
      let found;
      try { found = await (async () => { %s })(); } catch (error) { found = {error: String(error)}; }
      const place = document.createElement("pre");
      place.id = "found";
      place.textContent = JSON.stringify(found);
      document.body.append(place);
    });
    </script></body>"""
    copy = page.with_name(f"acted-{page.name}")
    copy.write_text(page.read_text().replace("</body>", hands % script))
    drawn = _run(page.parent, f"--window-size={width},1000", "--dump-dom", f"file://{copy}")
    found = re.search(r'<pre id="found">(.*?)</pre>', drawn, re.S)
    assert found, "the script did not come to its end"
    return json.loads(html.unescape(found.group(1)))


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
