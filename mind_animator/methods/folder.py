"""A method that was run elsewhere: a folder of its videos, read according to the layout."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from pydantic import Field

from mind_animator.artefacts.clipfolder import match_clips, read_clip, scan_clips
from mind_animator.config.clipfolder import ClipFolderConfig, LayoutConfig
from mind_animator.errors import InputError
from mind_animator.methods.base import Method, ReconstructionInputs
from mind_animator.video.conform import conform


class Options(ClipFolderConfig):
    """A folder of videos (see `ClipFolderConfig`), and the size and number of frames of its clips.

    Attributes
    ----------
    frames : int
        Frames per clip, as in the stimuli.
    size : int, optional
        Height and width, pixels; the shorter side of the first readable file by default.
    duration : float
        Duration of a clip in seconds; used by ``timing: clock`` alone.
    """

    frames: int = Field(8, ge=2)
    size: int | None = Field(None, ge=16)
    duration: float = Field(2.0, gt=0)


class Folder(Method):
    """Videos that were made elsewhere, scored like those of any other method."""

    kind = "folder"
    Options = Options
    reconstruction = "frames"
    frames_from = "folder"

    def files(self, subject: str) -> list[str]:
        """The folder of the subject, which is the input of the DAG."""
        return [self.options.path.replace("{subject}", subject)]

    @classmethod
    def reconstruct(
        cls,
        settings: str,
        clips: Sequence[str],
        inputs: ReconstructionInputs,
    ) -> Iterator[tuple[str, np.ndarray | InputError]]:
        """Yield each clip's frames, or the reason why there are none; ``files`` is the one folder."""
        options = Options.model_validate_json(settings)
        layout = options.prediction_layout()
        (folder,) = inputs.files
        scan = scan_clips(folder, layout)
        for note in scan.notes:
            print(note, file=sys.stderr)
        placed = match_clips(scan.files, inputs.test_clips, layout, str(folder))
        size = options.size or _own_size(placed, layout)
        duration = options.duration if options.timing == "clock" else None
        for clip in clips:
            if clip not in placed:
                yield (
                    clip,
                    InputError(f"Expected a video of clip '{clip}' in {folder}, found none (missing)."),
                )
                continue
            try:
                video = read_clip(placed[clip], layout)
            except InputError as error:
                yield clip, error
                continue
            yield (
                clip,
                conform(video.frames, size=size, count=options.frames, times=video.times, duration=duration),
            )


def _own_size(files: dict[str, Path], layout: LayoutConfig) -> int:
    """Shorter side of the first readable clip."""
    reasons = []
    for path in files.values():
        try:
            return min(read_clip(path, layout).frames.shape[1:3])
        except InputError as error:
            reasons.append(str(error))
    raise InputError(
        f"Expected at least one readable video, got none of {len(files)}; the first: {reasons[0]}"
    )


ENTRY = Folder
