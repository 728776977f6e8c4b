"""Which accelerator a job computes on: checked before any work, and one card a job on a shared workstation."""

import fcntl
import os
import tempfile
from pathlib import Path
from typing import IO

from mind_animator.errors import InputError

# Held open for the life of the process: the lock is the claim.
_claims: list[IO[str]] = []


def use_device(name: str) -> str:
    """The device of this process, ``cpu`` or ``cuda``; call it before anything else.

    Outside a cluster's job (which is given its cards) a free card is claimed and made the only visible
    one, so that jobs that run side by side each compute on a card of their own.

    Raises
    ------
    InputError
        If ``cuda`` is asked for and there is no such device, or none is free.
    """
    if name == "cpu":
        return name
    if name != "cuda":
        raise InputError(f"Expected device 'cpu' or 'cuda', got '{name}'.")
    import torch

    if not torch.cuda.is_available():
        raise InputError(
            "Expected a CUDA device (device: cuda), got none. On a machine without one: device: cpu."
        )
    if "SLURM_JOB_ID" not in os.environ:
        cards = _visible_cards()
        card = claim_card(cards)
        if card is None:
            raise InputError(
                f"Expected a free card among {cards}, got none; --resources gpu={len(cards)} caps jobs."
            )
        os.environ["CUDA_VISIBLE_DEVICES"] = card
    return name


def claim_card(cards: list[str], folder: Path | None = None) -> str | None:
    """Claim the first card that no other living process has claimed; None where all are taken.

    The claim is a lock on a file, so the system frees it however the process ends.
    """
    folder = folder or Path(tempfile.gettempdir())
    for card in cards:
        lock = open(folder / f"mind_animator-card-{card}.lock", "a")  # noqa: SIM115 (held open: see _claims)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        _claims.append(lock)
        return card
    return None


def _visible_cards() -> list[str]:
    """Cards that this process may use; counted in a way that does not start CUDA before one is chosen."""
    if given := os.environ.get("CUDA_VISIBLE_DEVICES"):
        return given.split(",")
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]
