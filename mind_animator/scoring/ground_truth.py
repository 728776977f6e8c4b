"""What depends on the ground truth alone, computed once for all methods: frames, flows, embeddings."""

from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from mind_animator.artefacts.streams import write_problems, write_stream
from mind_animator.errors import InputError
from mind_animator.scoring.pairs import describe_pair
from mind_animator.scoring.score import (
    NEEDS,
    NETWORKS,
    NOT_ASKED,
    Networks,
    Source,
    describe_motion,
    embed_clips,
)


def encode_ground_truth(
    clips: Sequence[str],
    source: Source,
    networks: Networks,
    path: Path | str,
    *,
    batch: int,
    rate: float,
    pair_size: int,
    strict: bool = True,
) -> dict[str, str]:
    """Write the ground truth's file, one clip in memory at a time.

    Arrays: ``frames`` (clip, frame, size, size, 3) uint8, what `describe_motion` gives, ``pair_*``: the
    ground truth's side of the pairs at ``pair_size`` pixels (`PairSide.arrays`: SSIM's moments, hue, flow), and
    what `embed_clips` gives for the networks that are there. Attributes: ``rate`` (frames a second of the clips
    as they are compared) and ``absent:NAME``, why an array is not there.

    With ``strict`` false, an unreadable true clip is kept as a problem: whoever is scored on it gets the
    reason.

    SSIM's window sums at full size are not in the file: 25 MB a clip of 8 x 512 x 512 (30 GB of 1,200) to save
    a few of the 600 ms that such a clip takes. They are computed once for all predictions that a job compares
    with the clip (benchmarks/README.md).

    Returns
    -------
    dict of clip to reason
        Clips that could not be read.

    Raises
    ------
    InputError
        If a true clip cannot be read (``strict``), or none can.
    """
    absent = {f"absent:{name}": networks.absent.get(name, "no model given") for name in NEEDS.values()}
    absent["absent:efficientnet"] = networks.absent.get("efficientnet", NOT_ASKED)
    absent = {
        key: why for key, why in absent.items() if getattr(networks, key.removeprefix("absent:")) is None
    }
    problems: dict[str, str] = {}
    with write_stream(path, clips, {"rate": rate, **absent}) as writer:
        for row, clip in enumerate(tqdm(clips, "ground-truth clips", mininterval=5, disable=None)):
            try:
                frames = source.read(clip)
            except InputError as error:
                if strict:
                    raise
                problems[clip] = f"the ground truth is unreadable: {error}"
                continue
            writer.write(
                row, {"frames": frames} | describe_motion(frames) | describe_pair(frames, pair_size).arrays
            )
        if len(problems) == len(clips):
            raise InputError(
                f"Expected at least one readable true clip, got: {next(iter(problems.values()), 'none')}"
            )
        write_problems(writer, problems)
        if any(getattr(networks, name) is not None for name in NETWORKS):
            row_of = {clip: row for row, clip in enumerate(clips)}
            for clip, arrays in embed_clips(clips, source, networks, batch=batch):
                writer.write(row_of[clip], arrays)
    return problems
