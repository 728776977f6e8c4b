"""Measure luminance, contrast and motion energy of every clip, for the lag figure."""

import numpy as np
import pandas as pd
from tqdm import tqdm

from mind_animator.artefacts.arrays import iterate_clips, read_clip_names
from mind_animator.artefacts.tables import write_table
from mind_animator.errors import run_command
from mind_animator.fmri.quality import clip_features
from workflow_scripts.stages import Inputs, Output, command

PIXELS = 64  # images are subsampled to about this side length, which is sufficient for means over an image


def measure_stimuli(
    *,
    frames: Inputs,
    features: Output,
) -> None:
    """
    Parameters
    ----------
    frames
        Frames of all segments (HDF5).
    features
        Luminance, contrast and motion energy of every clip (TSV).
    """
    rows = []
    total = sum(len(read_clip_names(path)) for path in frames)
    with tqdm(total=total, unit="clip", mininterval=5) as progress:
        for path in frames:
            for clip, images in iterate_clips(path, "frames"):
                step = max(1, min(images.shape[1:3]) // PIXELS)
                rows.append({"clip": clip, **clip_features(np.ascontiguousarray(images[:, ::step, ::step]))})
                progress.update()
    write_table(features, pd.DataFrame(rows))


main = command(measure_stimuli)

if __name__ == "__main__":
    run_command(main)
