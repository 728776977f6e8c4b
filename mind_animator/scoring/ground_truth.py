"""What depends on the ground truth alone, computed once for all methods: frames, flows, descriptions, embeddings."""

from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from mind_animator.artefacts.streams import write_problems, write_stream
from mind_animator.config.scoring import ScoringConfig
from mind_animator.errors import InputError
from mind_animator.metrics.base import Input, NotComputed
from mind_animator.metrics.registry import networks_of, open_metrics
from mind_animator.scoring.score import NO_MODEL, Arrays, Networks, Source, embed_clips, pair_name


def encode_ground_truth(
    clips: Sequence[str],
    source: Source,
    networks: Networks,
    path: Path | str,
    settings: ScoringConfig,
    *,
    rate: float,
    strict: bool = True,
) -> dict[str, str]:
    """Write the ground-truth file, one clip in memory at a time.

    Arrays: ``frames`` (clip, frame, size, size, 3) uint8; the inputs that the metrics share (``flow``); of every metric
    that is paired, its description of the clip at ``settings.pair_size`` pixels (``pair:METRIC:ARRAY``); and the arrays
    of the networks that can be loaded. Attributes: ``rate`` (frames per second of the compared clips), ``pair_size``,
    and ``absent:NAME``, why an array is missing.

    Descriptions at full size are not in the file: SSIM's window sums take 50 MB per clip of 8 x 512 x 512 (60 GB for
    1,200) and a few of the 600 ms that such a clip takes. They are computed once for all predictions that a job
    compares with the clip (benchmarks/README.md).

    Parameters
    ----------
    clips : sequence of str
    source : Source
    networks : Networks
    path : path
        Output.
    settings : ScoringConfig
        ``metrics, n_ways, pair_size, batch``.
    rate : float
        Frames per second.
    strict : bool
        If False, an unreadable ground truth is recorded as a problem: every score of that clip has the reason.

    Returns
    -------
    dict of clip to reason
        Clips that could not be read.

    Raises
    ------
    InputError
        If a ground truth cannot be read (``strict``), or none can.
    """
    metrics = open_metrics(settings.metrics, settings.n_ways)
    shared = dict.fromkeys(source for metric in metrics for source in metric.inputs)
    needed = networks_of(metrics)
    absent = {n: networks.absent.get(n, NO_MODEL) for n in needed if n not in networks.functions}
    attrs = {"rate": rate, "pair_size": settings.pair_size}
    problems: dict[str, str] = {}
    with write_stream(path, clips, attrs) as writer:
        for row, clip in enumerate(tqdm(clips, "ground-truth clips", mininterval=5, disable=None)):
            try:
                frames = source.read(clip)
            except InputError as error:
                if strict:
                    raise
                problems[clip] = f"the ground truth is unreadable: {error}"
                continue
            arrays = Arrays(frames)
            own = {"frames": frames}
            for given in shared:
                if isinstance(given, Input):
                    try:
                        own[given.name] = arrays[given]
                    except NotComputed as error:
                        absent[given.name] = str(error)
            small = arrays.shrunk(settings.pair_size)
            for metric in metrics:
                if metric.paired and not metric.compact and not metric.networks:
                    described = small.describe(metric)
                    if isinstance(described, NotComputed):
                        absent[metric.name] = str(described)
                        continue
                    own |= {pair_name(metric, key): array for key, array in described.items()}
            writer.write(row, own)
        if len(problems) == len(clips):
            raise InputError(
                f"Expected at least one readable ground truth, got: {next(iter(problems.values()), 'none')}"
            )
        write_problems(writer, problems)
        for name, reason in absent.items():
            writer.note(f"absent:{name}", reason)
        used = [network for name, network in needed.items() if name not in absent and network.stored]
        if used:
            row_of = {clip: row for row, clip in enumerate(clips)}
            for clip, _, arrays in embed_clips(clips, source, networks, used, batch=settings.batch):
                writer.write(row_of[clip], arrays)
    return problems
