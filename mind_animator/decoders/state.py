"""The state from which a killed training goes on: pieces of work in a folder beside the output."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from mind_animator.artefacts.files import atomic

# Tensors by name, and plain values: what one part of a state holds.
Part = tuple[dict[str, Tensor], Any]


class State:
    """Parts of a training, stored when ``seconds`` have passed since the last store; valid for one stamp only.

    A training tells after every piece of work (an optimiser step, a decomposition) what there is to store. So a kill
    loses at most ``seconds`` of work and the piece under way. Asked to end (SIGTERM: a cluster's notice; SIGINT:
    Ctrl-C), the process says so, stores after the piece under way, and ends. A signal that it was started to ignore
    stays ignored, and outside the main thread, which alone may heed signals, none is heeded.

    Parameters
    ----------
    folder : Path, optional
        Beside the output, unknown to the workflow; None: nothing is stored and no signal is heeded.
    stamp : str
        Fingerprint of code, settings, seed and data; parts with another one are not used.
    seconds : float
        Least time from one store's end to the next.
    device : str
        Where tensors that are read go.
    """

    def __init__(
        self, folder: Path | None = None, stamp: str = "", seconds: float = 30.0, device: str = "cpu"
    ) -> None:
        self.folder, self.stamp, self.seconds, self.device = folder, stamp, seconds, device
        self._unstored: dict[str, Callable[[], Part]] = {}
        self._superseded: set[str] = set()
        self._stored_at = time.monotonic()
        self._asked: int | None = None
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> "State":
        if self.folder and self.folder.is_file():
            self.folder.unlink()  # other code's state
        if self.folder and threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._handlers[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def read(self, part: str) -> Part | None:
        """A part as it was stored; None where there is none of this stamp."""
        if self.folder is None or not self._path(part).is_file():
            return None
        with safe_open(self._path(part), framework="pt", device=str(self.device)) as file:
            about = file.metadata()
            if about["stamp"] != self.stamp:
                print(f"A state of another experiment lies at {self._path(part)}: removed.", file=sys.stderr)
                self._path(part).unlink()
                return None
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads(about["values"])  # noqa: SIM118

    def tell(self, part: str, content: Callable[[], Part], instead_of: tuple[str, ...] = ()) -> None:
        """A piece of work has ended: ``content`` makes what there is of its part now, in place of other parts.

        Raises
        ------
        SystemExit
            If the process was asked to end; all is stored then.
        """
        if self.folder is None:
            return
        self._unstored[part] = content
        for other in instead_of:
            self._unstored.pop(other, None)
        self._superseded.update(instead_of)
        if self._asked is not None or time.monotonic() - self._stored_at >= self.seconds:
            self._store()
        if self._asked is not None:
            print(f"Asked to end: all is stored in {self.folder}.", file=sys.stderr)
            sys.exit(128 + self._asked)

    def piece(
        self, part: str, work: Callable[[], dict[str, Tensor]], instead_of: tuple[str, ...] = ()
    ) -> dict[str, Tensor]:
        """Tensors of a piece of work, which is not done again where it was stored."""
        if stored := self.read(part):
            return stored[0]
        tensors = work()
        self.tell(part, lambda: (tensors, None), instead_of)
        return tensors

    def _ask(self, number: int, frame: object) -> None:
        self._asked = number
        with suppress(OSError):  # nobody may read it
            os.write(2, b"Asked to end: storing after the piece under way.\n")  # print may be under way, too

    def _path(self, part: str) -> Path:
        return self.folder / f"{part}.safetensors"

    def _store(self) -> None:
        for part, content in self._unstored.items():
            tensors, values = content()
            own = {name: t.detach().to("cpu", copy=True).contiguous() for name, t in tensors.items()}
            with atomic(self._path(part)) as temporary:
                save_file(own, temporary, metadata={"stamp": self.stamp, "values": json.dumps(values)})
        self._unstored.clear()
        for part in self._superseded:
            self._path(part).unlink(missing_ok=True)
        self._superseded.clear()
        self._stored_at = time.monotonic()
