"""Caption one shard of clips with BLIP-2; resumes where it was interrupted."""

from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from mind_animator.artefacts.arrays import iterate_clips, read_attrs, shard_of
from mind_animator.artefacts.files import read_json, sole_writer, write_json
from mind_animator.artefacts.tables import write_table
from mind_animator.captions.clips import COLUMNS, caption_group, clips_per_group, three_frames
from mind_animator.config.captions import CaptionsConfig
from mind_animator.config.models import ModelsConfig
from mind_animator.device import use_device
from mind_animator.errors import run_command
from mind_animator.models.hub import content_digest, locate
from mind_animator.models.load import load_blip2, load_clip, torch_device
from mind_animator.provenance import code_digest, fingerprint
from workflow_scripts.stages import Device, Inputs, Output, Param, command


def caption_clips(
    *,
    frames: Inputs,
    skip: Param[int],
    n_clips: Param[int],
    models: Param[ModelsConfig],
    settings: Param[CaptionsConfig],
    seed: Param[int],
    device: Param[Device] = "cpu",
    state: Param[Path],
    captions: Output,
) -> None:
    """
    Parameters
    ----------
    frames
        Frames of the segments in order (HDF5).
    skip
        Number of clips of the first segment that precede the shard.
    n_clips
        Clips of the shard.
    models
        Ids or folders of `blip2` and `clip`, and the lock file.
    settings
        Settings of captioning (config.captions).
    seed
        Random seed.
    device
        Device to compute on.
    state
        File that stores unfinished work; an interrupted run resumes from it.
    captions
        Captions of the clips (TSV).
    """
    target, half = torch_device(use_device(device))
    clips = shard_of(frames, skip, n_clips)
    stamp = fingerprint(
        code=code_digest("workflow_scripts/caption_clips.py"),
        settings=settings.model_dump(exclude={"ready"}),
        seed=seed,
        clips=clips,
        frames=[{key: str(value) for key, value in read_attrs(path).items()} for path in frames],
        models=[content_digest(locate(model, models.lock)) for model in (models.blip2, models.clip)],
    )
    with sole_writer(state):
        rows = _resume(state, stamp)
        blip2 = load_blip2(models.blip2, models.lock, device=target, dtype=half)
        clip = load_clip(models.clip, models.lock, device=target)

        group = clips_per_group(settings)
        with tqdm(
            total=len(clips), initial=len(rows), desc="captions", unit="clip", mininterval=5
        ) as progress:
            for start in range(len(rows), len(clips), group):
                names = clips[start : start + group]
                triples = np.stack([three_frames(f) for _, f in iterate_clips(frames, "frames", names)])
                rows += caption_group(blip2, clip, names, triples, settings, seed)
                write_json(state, {"fingerprint": stamp, "rows": rows})
                progress.update(len(names))
        write_table(captions, pd.DataFrame(rows, columns=list(COLUMNS)))
        state.unlink(missing_ok=True)


def _resume(state: Path, stamp: str) -> list[dict[str, object]]:
    """Rows of an interrupted run with identical inputs and settings; none otherwise."""
    if not state.is_file():
        return []
    kept = read_json(state)
    return kept["rows"] if kept.get("fingerprint") == stamp else []


main = command(caption_clips)

if __name__ == "__main__":
    run_command(main)
