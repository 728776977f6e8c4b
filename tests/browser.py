"""Headless Chromium on a local file: the page after its scripts ran, its image at any width, a visitor's hands."""

import json
import os
import shutil
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip

LIMIT = 300  # seconds that a browser may take

HANDS = """(async () => {
  const wait = time => new Promise(done => setTimeout(done, time));
  const click = node => node.dispatchEvent(new MouseEvent("click", {bubbles: true}));
  const hover = node => node.dispatchEvent(new MouseEvent("mouseenter"));
  %s
})()"""


def _command(folder: Path, *arguments: str) -> list[str]:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("Chromium is not installed")
    return [program, *FLAGS, f"--user-data-dir={folder / 'profile'}", *arguments]


def _run(folder: Path, *arguments: str) -> str:
    command = _command(folder, "--virtual-time-budget=4000", *arguments)
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=True).stdout


def document(page: Path, fragment: str = "") -> str:
    """The page's HTML after its scripts ran."""
    return _run(page.parent, "--dump-dom", f"file://{page}{fragment}")


def act(page: Path, script: str, width: int = 1200) -> object:
    """What an async script, run on the page as a visitor's hands, returns: a value that JSON can hold.

    ``wait(milliseconds)``, ``click(node)`` and ``hover(node)`` are available. Time is the clock's, so that videos play.
    """
    with _devtools(page.parent, f"--window-size={width},1000") as ask:
        target = ask("Target.createTarget", url="about:blank")["targetId"]
        session = ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        ask(
            "Page.navigate", session, url=f"file://{page}"
        )  # answers once the new page has taken the old one's place

        def evaluate(expression: str) -> object:
            reply = ask(
                "Runtime.evaluate", session, expression=expression, awaitPromise=True, returnByValue=True
            )
            assert "exceptionDetails" not in reply, reply["exceptionDetails"]
            return reply["result"].get("value")

        while evaluate("document.readyState") != "complete":
            time.sleep(0.05)
        return evaluate(HANDS % script)


def screenshot(page: Path, image: Path, width: int, height: int = 1400, fragment: str = "") -> None:
    """An image of the page in a frame ``width`` pixels wide (a window cannot be as narrow as a phone)."""
    frame = page.parent / f"frame-{width}.html"
    frame.write_text(
        f'<body style="margin:0"><iframe src="{page.name}{fragment}" '
        f'style="border:0;width:{width}px;height:{height}px">'
    )
    _run(page.parent, f"--window-size={max(width, 500)},{height}", f"--screenshot={image}", f"file://{frame}")


@contextmanager
def _devtools(folder: Path, *arguments: str):
    """A function that sends one command of the DevTools protocol to a new browser and gives its result."""
    (down, to_browser), (from_browser, up) = os.pipe(), os.pipe()
    shell = ["bash", "-c", f'exec "$@" 3<&{down} 4>&{up}', "bash"]
    command = _command(folder, "--remote-debugging-pipe", *arguments)
    browser = subprocess.Popen([*shell, *command], pass_fds=(down, up), stderr=subprocess.DEVNULL)
    os.close(down)
    os.close(up)
    limit = threading.Timer(LIMIT, browser.kill)
    limit.start()
    with open(to_browser, "wb", buffering=0) as commands, open(from_browser, "rb") as replies:
        number = 0

        def ask(method: str, session: str | None = None, **parameters: object) -> dict:
            nonlocal number
            number += 1
            message = {"id": number, "method": method, "params": parameters}
            message |= {"sessionId": session} if session else {}
            commands.write(json.dumps(message).encode() + b"\0")
            for reply in _messages(replies):
                if reply.get("id") == number:
                    assert "error" not in reply, reply
                    return reply["result"]
            raise AssertionError("the browser went away")

        try:
            yield ask
        finally:
            limit.cancel()
            browser.kill()
            browser.wait()


def _messages(stream):
    """JSON messages, each ended by a zero byte."""
    message = bytearray()
    while byte := stream.read(1):
        if byte == b"\0":
            yield json.loads(message)
            message.clear()
        else:
            message += byte
