"""Draw the correlation of one subject's responses with the stimulus by lag; warn if the peak is not at the
configured lag.

The stimulus is described by luminance, contrast and motion energy of the clips or, without movies, by the first
principal components of their embeddings. The responses are whole runs where the data set gives volumes, otherwise
one row per clip.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd

from mind_animator.artefacts.arrays import read_arrays, read_whole
from mind_animator.artefacts.files import atomic
from mind_animator.artefacts.reconstructions import has_array
from mind_animator.artefacts.responses import read_responses
from mind_animator.artefacts.tables import read_table, write_table
from mind_animator.config.dataset import DatasetConfig
from mind_animator.config.fmri import FmriConfig
from mind_animator.datasets import open_dataset
from mind_animator.errors import run_command
from mind_animator.fmri.quality import LagCurve, lag_curve
from workflow_scripts.stages import Input, Inputs, Output, Param, Wildcard, command

FEATURES = ("luminance", "contrast", "motion_energy")
COMPONENTS = 3
SHORTEST = 20  # consecutive rows; fewer are not sufficient to estimate the lag
LONGEST = 6.0  # seconds between rows; with longer clips and one row each, any lag looks like no lag
MOST = 5_000  # voxels of whole runs, evenly spaced among the selected ones, so that all runs fit into memory


def draw_lag(
    *,
    subject: Wildcard[str],
    dataset: Param[DatasetConfig],
    settings: Param[FmriConfig],
    responses: Input,
    features: Input | None = None,
    embeddings: Inputs = (),
    clips: Inputs,
    table: Output,
    figure: Output,
) -> None:
    """
    Parameters
    ----------
    subject
        Name of the subject.
    dataset
        Settings of the data set (config.dataset).
    settings
        Settings of the preprocessing (config.fmri).
    responses
        Responses of the subject (HDF5).
    features
        Luminance, contrast and motion energy of every clip (TSV).
    embeddings
        Text or image features of every clip, used without movies (HDF5).
    clips
        Tables of the clips of every segment (TSV).
    table
        Correlation by lag (TSV).
    figure
        The figure (PNG).
    """
    columns = ("clip", "segment", "movie", "onset", "duration", "split")
    shown = pd.concat([read_table(path, columns) for path in clips], ignore_index=True)
    if features is not None:
        measured = (
            read_table(features, ("clip", *FEATURES)).set_index("clip").loc[shown["clip"], list(FEATURES)]
        )
    else:
        measured = principal_components(embeddings, shown)
    data, lag = open_dataset(dataset), settings.lag
    if data.has_volumes:
        voxels = read_whole(responses, ["voxel_index"])["voxel_index"]
        voxels = voxels[:: -(-len(voxels) // MOST)]
        runs = list(data.volume_runs(subject, settings, voxels))
        pieces, seconds, aligned_at = [run.values for run in runs], data.tr, 0.0
        by_clip = measured - measured.mean()
        series = [_at_volumes(run.times, run.shown, by_clip) for run in runs]
    else:
        _, values, present = read_responses(responses, shown["clip"].tolist())
        shown, values, measured = shown[present].reset_index(drop=True), values[present], measured[present]
        rows = _unbroken(shown)
        pieces, series = [values[piece] for piece in rows], [measured.to_numpy()[piece] for piece in rows]
        seconds, aligned_at = _spacing(shown, rows), lag
    long_enough = [index for index, piece in enumerate(pieces) if len(piece) >= SHORTEST]
    note = ""
    if not long_enough:
        note = f"clips do not follow each other for {SHORTEST} in a row: no lag can be seen"
    elif seconds > LONGEST:
        note = f"clips of {seconds:g} s are too long for a lag to be seen"
    rows, curves = [], {}
    for column, name in enumerate(() if note else measured.columns):
        curve = curves[name] = lag_curve(
            [pieces[index] for index in long_enough],
            [series[index][:, column] for index in long_enough],
            lag=aligned_at,
            clip_seconds=seconds,
        )
        verdict = compare_with_configured(curve, lag, seconds)
        if verdict.startswith("warning"):
            print(f"subject {subject}, {name}: {verdict}", file=sys.stderr)
        rows += [
            {
                "subject": subject, "feature": name, "lag": delay, "correlation": correlation,
                "chance": curve.chance, "configured": lag, "peak": curve.peak, "note": verdict,
            }
            for delay, correlation in zip(curve.lags, curve.correlation, strict=True)
        ]  # fmt: skip
    if note:
        print(f"subject {subject}: {note}", file=sys.stderr)
        rows = [{"subject": subject, "configured": lag, "note": note}]
    names = ["subject", "feature", "lag", "correlation", "chance", "configured", "peak", "note"]
    write_table(table, pd.DataFrame(rows, columns=names))
    draw(curves, lag, subject, figure, sorted({row["note"] for row in rows}))


def principal_components(embeddings: Sequence[Path], clips: pd.DataFrame) -> pd.DataFrame:
    """The first principal components of the training clips' embeddings, for every clip."""
    name = next(n for n in ("clip_embedding_text", "clip_embedding_image") if has_array(embeddings[0], n))
    values = read_arrays(embeddings, [name], clips["clip"].tolist())[1][name]
    train = values[(clips["split"] == "train").to_numpy()]
    mean = train.mean(axis=0, dtype=np.float64)
    _, _, axes = np.linalg.svd(train - mean, full_matrices=False)
    columns = [f"component {number + 1}" for number in range(min(COMPONENTS, len(axes)))]
    return pd.DataFrame((values - mean) @ axes[:COMPONENTS].T, index=clips["clip"], columns=columns)


def _at_volumes(
    times: np.ndarray, shown: Sequence[tuple[str, float, float]], by_clip: pd.DataFrame
) -> np.ndarray:
    """Features (volume, feature) of the clip that is shown at each time; 0, the mean, where there is none."""
    found = np.zeros((len(times), by_clip.shape[1]))
    for clip, onset, duration in shown:
        found[(times >= onset) & (times < onset + duration)] = by_clip.loc[clip]
    return found


def compare_with_configured(curve: LagCurve, configured: float, spacing: float) -> str:
    """One line: the peak is at the configured lag, at another lag (a warning), or not above chance.

    A flat top is no reason for a warning: the configured lag must fall 10 % short of the peak.
    """
    if not curve.clear:
        return f"no peak above chance ({curve.correlation.max():.3f} <= {curve.chance:.3f})"
    if abs(curve.peak - configured) > spacing / 2 and curve.fraction_at(configured) < 0.9:
        return f"warning: the peak is at {curve.peak:g} s, but fmri.lag is {configured:g} s"
    return f"peak at {curve.peak:g} s, configured {configured:g} s"


def draw(
    curves: dict[str, LagCurve], configured: float, subject: str, path: Path, notes: Sequence[str] = ()
) -> None:
    """One curve per feature, with chance dotted and the configured lag marked; warnings are also printed on
    the figure."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5.2, 3.2), layout="constrained")
    if not curves:
        axes.text(0.5, 0.5, "; ".join(notes), ha="center", transform=axes.transAxes, wrap=True)
        axes.set_axis_off()
    for colour, (name, curve) in zip(("#1b6ca8", "#c8553d", "#588157"), curves.items(), strict=False):
        axes.plot(
            curve.lags, curve.correlation, "o-", color=colour, markersize=3.5, label=name.replace("_", " ")
        )
        axes.axhline(curve.chance, color=colour, linestyle=":", linewidth=1)
    if curves:
        axes.axvline(configured, color="0.5", linewidth=1, zorder=0)
    axes.set_xlabel("lag between clip and volume (s)")
    axes.set_ylabel("root mean squared correlation")
    title = [f"Subject {subject}: lag configured {configured:g} s (grey); chance dotted"]
    warnings = [note for note in notes if note.startswith("warning")]
    axes.set_title("\n".join(title + warnings), fontsize=9, color="#c8553d" if warnings else "black")
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    if curves:
        axes.legend(frameon=False, fontsize=8)
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=150)
    plt.close(figure)


def _unbroken(clips: pd.DataFrame) -> list[np.ndarray]:
    """Rows of clips that follow each other in one segment and movie; pieces of half the longest at least."""
    step = clips["onset"].diff().round(6)
    usual = step[(clips["movie"] == clips["movie"].shift()) & (step > 0)].mode()
    new = (clips["movie"] != clips["movie"].shift()) | (clips["segment"] != clips["segment"].shift())
    if len(usual):
        new |= step != usual.iloc[0]
    pieces = [group.to_numpy() for _, group in pd.Series(np.arange(len(clips))).groupby(new.cumsum())]
    longest = max(map(len, pieces))
    return [piece for piece in pieces if len(piece) >= max(longest // 2, 4)] or pieces[:1]


def _spacing(clips: pd.DataFrame, pieces: list[np.ndarray]) -> float:
    """Seconds between clips; for clips in separate movies, the duration of a clip."""
    onsets = clips["onset"].to_numpy()
    seconds = float(np.median(np.concatenate([np.diff(onsets[piece]) for piece in pieces])))
    return seconds if seconds > 0 else float(clips["duration"].median())


main = command(draw_lag)

if __name__ == "__main__":
    run_command(main)
