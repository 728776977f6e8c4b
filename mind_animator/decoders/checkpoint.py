"""Checkpoints of a training: named steps, stored in a folder next to the output, from which it resumes."""

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

# Content of one stored step: tensors by name, and plain values.
Content = tuple[dict[str, Tensor], Any]


class Checkpoint:
    """Steps of a training, stored when ``interval`` seconds have passed since the last store.

    After each unit of work (an optimiser step, a decomposition) the training calls `save`. A killed training
    therefore loses at most ``interval`` seconds of work and the unit in progress. On SIGTERM (sent by a cluster
    before a job ends) and SIGINT (Ctrl-C), the process reports it, stores everything after the unit in progress,
    and exits. A signal that the process ignored at its start stays ignored. Signals are handled in the main
    thread only.

    Parameters
    ----------
    folder : Path, optional
        Next to the output, not declared to the workflow; None: nothing is stored and no signal is handled.
    fingerprint : str
        Of code, settings, seed and data; steps with another fingerprint are not used.
    interval : float
        Minimum time between two stores, seconds.
    device : str
        Device of the tensors that are read.
    """

    def __init__(
        self, folder: Path | None = None, fingerprint: str = "", interval: float = 30.0, device: str = "cpu"
    ) -> None:
        self.folder, self.fingerprint, self.interval, self.device = folder, fingerprint, interval, device
        self._unstored: dict[str, Callable[[], Content]] = {}
        self._superseded: set[str] = set()
        self._stored_at = time.monotonic()
        self._signal: int | None = None
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> "Checkpoint":
        if self.folder and self.folder.is_file():
            self.folder.unlink()  # written by other code
        if self.folder and threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._handlers[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def read(self, step: str) -> Content | None:
        """A stored step; None if there is none with this fingerprint."""
        if self.folder is None or not self._path(step).is_file():
            return None
        with safe_open(self._path(step), framework="pt", device=str(self.device)) as file:
            metadata = file.metadata()
            if metadata["fingerprint"] != self.fingerprint:
                print(f"Removed the checkpoint of another experiment: {self._path(step)}.", file=sys.stderr)
                self._path(step).unlink()
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, json.loads(metadata["values"])

    def save(self, step: str, content: Callable[[], Content], replaces: tuple[str, ...] = ()) -> None:
        """Register a finished step, and store all registered steps if the interval has passed.

        Parameters
        ----------
        step : str
        content : callable
            Returns the tensors and values to store.
        replaces : tuple of str
            Steps that are no longer needed once this one is stored.

        Raises
        ------
        SystemExit
            After everything is stored, if a signal asked the process to end.
        """
        if self.folder is None:
            return
        self._unstored[step] = content
        for other in replaces:
            self._unstored.pop(other, None)
        self._superseded.update(replaces)
        if self._signal is not None or time.monotonic() - self._stored_at >= self.interval:
            self._store()
        if self._signal is not None:
            print(f"Interrupted: the checkpoint is stored in {self.folder}.", file=sys.stderr)
            sys.exit(128 + self._signal)

    def cached(self, step: str, work: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Tensors of a step, computed only if they are not stored."""
        if stored := self.read(step):
            return stored[0]
        tensors = work()
        self.save(step, lambda: (tensors, None))
        return tensors

    def _on_signal(self, number: int, frame: object) -> None:
        self._signal = number
        with suppress(OSError):  # stderr may be closed
            os.write(2, b"Interrupted: storing the checkpoint after the step in progress.\n")

    def _path(self, step: str) -> Path:
        return self.folder / f"{step}.safetensors"

    def _store(self) -> None:
        for step, content in self._unstored.items():
            tensors, values = content()
            own = {name: t.detach().to("cpu", copy=True).contiguous() for name, t in tensors.items()}
            metadata = {"fingerprint": self.fingerprint, "values": json.dumps(values)}
            with atomic(self._path(step)) as temporary:
                save_file(own, temporary, metadata=metadata)
        self._unstored.clear()
        for step in self._superseded:
            self._path(step).unlink(missing_ok=True)
        self._superseded.clear()
        self._stored_at = time.monotonic()
