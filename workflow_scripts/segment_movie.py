"""Cut the movies of one segment into clips of frames, with a table that marks scene cuts."""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mind_animator.artefacts.arrays import write_arrays
from mind_animator.artefacts.streams import write_stream
from mind_animator.artefacts.tables import write_table
from mind_animator.config.base import parse_settings
from mind_animator.config.dataset import DatasetConfig
from mind_animator.config.stimuli import StimuliConfig
from mind_animator.datasets import open_dataset
from mind_animator.errors import InputError, run_command
from mind_animator.provenance import file_sha256
from mind_animator.video.cuts import cut_places
from mind_animator.video.segment import plan_segment, ready_clips, segment_clips


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, help="the data set's settings, JSON")
    parser.add_argument("--segment", required=True, help="id of the segment")
    parser.add_argument("--settings", required=True, help="the stimuli's settings, JSON")
    parser.add_argument("--threads", type=int, default=1, help="decoder threads")
    parser.add_argument("--frames", type=Path, required=True, help="output, HDF5")
    parser.add_argument("--table", type=Path, required=True, help="output, TSV")
    given = parser.parse_args(arguments)

    settings = parse_settings(StimuliConfig, given.settings)
    dataset = open_dataset(parse_settings(DatasetConfig, given.dataset, "--dataset"))
    if given.segment not in {segment.id for segment in dataset.segments}:
        raise InputError(f"Expected --segment to be one of the data set's, got '{given.segment}'.")
    table = dataset.clip_table(given.segment)
    if not dataset.has_stimuli:  # captions alone: there is a table of clips, and nothing to cut
        write_arrays(given.frames, {}, list(table["clip"]), {"stimuli": settings.model_dump_json()})
        write_table(given.table, table.assign(scene_cut=False))
        return
    ready = dataset.frames(given.segment)
    movies = dataset.stimulus_files(given.segment)
    if ready is None:
        plan = plan_segment(table, {path.name: path for path in movies}, settings, given.threads)
        clips = segment_clips(plan, settings)
        for movie in plan:
            print(movie.describe(), file=sys.stderr)
    else:
        clips = ready_clips(ready, len(table), settings, given.segment)

    cuts = np.zeros(len(table), bool)
    attrs = {
        "stimuli": settings.model_dump_json(),
        "movies": json.dumps({path.name: file_sha256(path) for path in movies}),
    }
    with write_stream(given.frames, list(table["clip"]), attrs) as stream:
        for row, frames in tqdm(clips, total=len(table), desc=given.segment, unit="clip", mininterval=5):
            stream.write(row, {"frames": frames})
            cuts[row] = len(cut_places(frames)) > 0
    write_table(given.table, table.assign(scene_cut=cuts))


if __name__ == "__main__":
    run_command(main)
