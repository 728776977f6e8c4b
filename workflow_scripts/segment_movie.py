"""Cut the movies of one segment into clips of frames, with a table that marks scene cuts."""

import json
import sys

import numpy as np
from tqdm import tqdm

from mind_animator.artefacts.arrays import write_arrays
from mind_animator.artefacts.streams import write_stream
from mind_animator.artefacts.tables import write_table
from mind_animator.config.dataset import DatasetConfig
from mind_animator.config.stimuli import StimuliConfig
from mind_animator.datasets import open_dataset
from mind_animator.errors import InputError, run_command
from mind_animator.provenance import file_sha256
from mind_animator.video.cuts import cut_positions
from mind_animator.video.segment import plan_segment, ready_clips, segment_clips
from workflow_scripts.stages import Output, Param, Threads, Wildcard, command


def segment_movie(
    *,
    dataset: Param[DatasetConfig],
    segment: Wildcard[str],
    settings: Param[StimuliConfig],
    threads: Threads = 1,
    frames: Output,
    table: Output,
) -> None:
    """
    Parameters
    ----------
    dataset
        Settings of the data set (config.dataset).
    segment
        Id of the segment.
    settings
        Settings of the stimuli (config.stimuli).
    threads
        Threads of the video decoder.
    frames
        Frames of all clips of the segment (HDF5).
    table
        One row per clip, with scene cuts marked (TSV).
    """
    data = open_dataset(dataset)
    if segment not in (known := [own.id for own in data.segments]):
        raise InputError(f"--segment = '{segment}': must be one of {known}.")
    clip_table = data.clip_table(segment)
    names = list(clip_table["clip"])
    if not data.has_stimuli:  # the data set has captions only: there are no frames to cut
        write_arrays(frames, {}, names, {"stimuli": settings.model_dump_json()})
        write_table(table, clip_table.assign(scene_cut=False))
        return
    ready = data.frames(segment)
    movies = data.stimulus_files(segment)
    if ready is None:
        plan = plan_segment(clip_table, {path.name: path for path in movies}, settings, threads)
        clips = segment_clips(plan, settings)
        for file in plan:
            print(file.describe(), file=sys.stderr)
    else:
        clips = ready_clips(ready, len(names), settings, segment)

    cuts = np.zeros(len(names), bool)
    attrs = {
        "stimuli": settings.model_dump_json(),
        "movies": json.dumps({path.name: file_sha256(path) for path in movies}),
    }
    with write_stream(frames, names, attrs) as stream:
        for row, images in tqdm(clips, total=len(names), desc=segment, unit="clip", mininterval=5):
            stream.write(row, {"frames": images})
            cuts[row] = len(cut_positions(images)) > 0
    write_table(table, clip_table.assign(scene_cut=cuts))


main = command(segment_movie)

if __name__ == "__main__":
    run_command(main)
