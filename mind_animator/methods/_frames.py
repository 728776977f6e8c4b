"""Frames of another method's reconstructions, problem clips passed on with their reasons."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mind_animator.artefacts.streams import ClipReader, read_problems
from mind_animator.errors import InputError


def frames_of(files: Sequence[Path], clips: Sequence[str]) -> Iterator[np.ndarray | InputError]:
    """Yield each clip's frames, or why its maker has none; `InputError` is raised where nobody says why."""
    reader, problems = ClipReader(files), read_problems(files)
    for clip in clips:
        yield InputError(problems[clip]) if clip in problems else reader.read(clip, "frames")
    reader.close()
