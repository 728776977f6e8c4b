"""Caption one shard of clips with BLIP-2; resumes where it was interrupted."""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from mind_animator.artefacts.arrays import iterate_clips, read_attrs, shard_of
from mind_animator.artefacts.files import read_json, sole_writer, write_json
from mind_animator.artefacts.tables import write_table
from mind_animator.captions.clips import COLUMNS, caption_group, clips_per_group, three_frames
from mind_animator.config.base import parse_settings
from mind_animator.config.captions import CaptionsConfig
from mind_animator.device import use_device
from mind_animator.errors import run_command
from mind_animator.models.load import load_blip2, load_clip, torch_device
from mind_animator.models.places import content_digest, locate
from mind_animator.provenance import code_digest, fingerprint


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--frames", type=Path, nargs="+", required=True, help="segments' frames, HDF5, in order"
    )
    parser.add_argument("--skip", type=int, required=True, help="clips of the first segment before the shard")
    parser.add_argument("--count", type=int, required=True, help="clips of the shard")
    parser.add_argument("--blip2", required=True, help="folder or hub id")
    parser.add_argument("--clip", required=True, help="folder or hub id")
    parser.add_argument("--lock", type=Path, required=True, help="lock file of hub models")
    parser.add_argument("--settings", required=True, help="the captions' settings, JSON")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--state", type=Path, required=True, help="where unfinished work is kept")
    parser.add_argument("--captions", type=Path, required=True, help="output, TSV")
    given = parser.parse_args(arguments)

    settings = parse_settings(CaptionsConfig, given.settings)
    device, half = torch_device(use_device(given.device))
    clips = shard_of(given.frames, given.skip, given.count)
    stamp = fingerprint(
        code=code_digest("workflow_scripts/caption_clips.py"),
        settings=settings.model_dump(exclude={"ready"}),
        seed=given.seed,
        clips=clips,
        frames=[{key: str(value) for key, value in read_attrs(path).items()} for path in given.frames],
        models=[content_digest(locate(place, given.lock)) for place in (given.blip2, given.clip)],
    )
    with sole_writer(given.state):
        rows = _resume(given.state, stamp)
        blip2 = load_blip2(given.blip2, given.lock, device=device, dtype=half)
        clip = load_clip(given.clip, given.lock, device=device)

        group = clips_per_group(settings)
        with tqdm(
            total=len(clips), initial=len(rows), desc="captions", unit="clip", mininterval=5
        ) as progress:
            for start in range(len(rows), len(clips), group):
                names = clips[start : start + group]
                frames = np.stack([three_frames(f) for _, f in iterate_clips(given.frames, "frames", names)])
                rows += caption_group(blip2, clip, names, frames, settings, given.seed)
                write_json(given.state, {"fingerprint": stamp, "rows": rows})
                progress.update(len(names))
        write_table(given.captions, pd.DataFrame(rows, columns=list(COLUMNS)))
        given.state.unlink(missing_ok=True)


def _resume(state: Path, stamp: str) -> list[dict[str, object]]:
    """Rows of an interrupted run of the very same work; none otherwise."""
    if not state.is_file():
        return []
    kept = read_json(state)
    return kept["rows"] if kept.get("fingerprint") == stamp else []


if __name__ == "__main__":
    run_command(main)
