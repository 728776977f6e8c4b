"""Draw the correlation of one subject's responses with the embeddings of the stimuli by lag, for studies
without movies."""

import sys

import numpy as np
import pandas as pd

from mind_animator.artefacts.arrays import read_arrays
from mind_animator.artefacts.reconstructions import has_array
from mind_animator.artefacts.responses import read_responses
from mind_animator.artefacts.tables import read_table, write_table
from mind_animator.config.dataset import DatasetConfig
from mind_animator.config.fmri import FmriConfig
from mind_animator.datasets import open_dataset
from mind_animator.datasets.base import Dataset
from mind_animator.errors import run_command
from mind_animator.fmri.quality import lag_curve
from workflow_scripts.draw_lag import LONGEST, SHORTEST, compare_with_configured, draw
from workflow_scripts.stages import Input, Inputs, Output, Param, Wildcard, command

COMPONENTS = 3


def draw_embedding_lag(
    *,
    subject: Wildcard[str],
    dataset: Param[DatasetConfig],
    settings: Param[FmriConfig],
    responses: Input,
    features: Inputs,
    clips: Inputs,
    table: Output,
    figure: Output,
) -> None:
    """
    Parameters
    ----------
    subject
        Subject.
    dataset
        Settings of the data set.
    settings
        Settings of preprocessing.
    responses
        Responses by clip (HDF5).
    features
        Text or image features (HDF5).
    clips
        Tables of the clips (TSV).
    table
        Correlation by lag (TSV).
    figure
        The figure (PNG).
    """
    columns = ("clip", "movie", "duration", "split")
    every = pd.concat([read_table(path, columns) for path in clips], ignore_index=True)
    name = next(n for n in ("clip_embedding_text", "clip_embedding_image") if has_array(features[0], n))
    names, arrays = read_arrays(features, [name], every["clip"].tolist())
    components = principal_components(arrays[name], (every["split"] == "train").to_numpy())
    by_clip = dict(zip(names, components, strict=True))
    opened = open_dataset(dataset)
    if opened.applies_lag and hasattr(opened, "run_table"):
        configured, seconds = settings.lag, opened.tr
        values, series = volumes_and_embeddings(opened, subject, settings, by_clip)
    else:
        configured, seconds = 0.0, float(every["duration"].median())
        values, series = [], []
        _, own, present = read_responses(responses, names)
        for _, rows in every[present].groupby("movie", sort=False):
            values.append(own[rows.index])
            series.append(components[rows.index])
    long_enough = [index for index, run in enumerate(values) if len(run) >= SHORTEST]
    note = ""
    if not long_enough:
        note = f"no run of at least {SHORTEST} rows: no lag can be seen"
    elif seconds > LONGEST:
        note = f"one row per clip of {seconds:g} s: too long for a lag to be seen"
    rows, curves = [], {}
    for component in range(0 if note else components.shape[1]):
        curve = lag_curve(
            [values[index] for index in long_enough],
            [series[index][:, component] for index in long_enough],
            lag=0.0,
            clip_seconds=seconds,
        )
        label = f"component {component + 1}"
        curves[label] = curve
        verdict = compare_with_configured(curve, configured, seconds)
        rows += [
            {
                "subject": subject, "feature": label, "lag": lag, "correlation": correlation,
                "chance": curve.chance, "configured": configured, "peak": curve.peak, "note": verdict,
            }
            for lag, correlation in zip(curve.lags, curve.correlation, strict=True)
        ]  # fmt: skip
    if note:
        rows = [{"subject": subject, "feature": "", "lag": np.nan, "correlation": np.nan, "chance": np.nan,
                 "configured": configured, "peak": np.nan, "note": note}]  # fmt: skip
    for verdict in dict.fromkeys(row["note"] for row in rows):
        print(f"subject {subject}: {verdict}", file=sys.stderr)
    write_table(table, pd.DataFrame(rows))
    draw(curves, configured, subject, figure, sorted({row["note"] for row in rows}))


def principal_components(embeddings: np.ndarray, is_train: np.ndarray) -> np.ndarray:
    """The first principal components of the training clips' embeddings, (clip, component), mean 0 over these."""
    centred = embeddings - embeddings[is_train].mean(axis=0, dtype=np.float64)
    _, _, axes = np.linalg.svd(centred[is_train], full_matrices=False)
    return centred @ axes[:COMPONENTS].T


def volumes_and_embeddings(
    dataset: Dataset, subject: str, settings: FmriConfig, by_clip: dict[str, np.ndarray]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """For every run: cleaned volumes, mean over repeats (0 if missing), and the components at the middle of
    each volume, (volume, component); 0, the mean, if no clip was shown."""
    values, series = [], []
    for run, about in dataset.run_table().items():
        repeats = [volumes for _, volumes in dataset.volumes(subject, run, settings)]
        length = min(map(len, repeats))
        with np.errstate(invalid="ignore"):
            values.append(np.nan_to_num(np.nanmean([own[:length] for own in repeats], axis=0)))
        middles = about["start"] + (np.arange(length) + 0.5) * dataset.tr
        shown = np.zeros((length, len(next(iter(by_clip.values())))))
        for clip, onset, duration in about["clips"]:
            shown[(middles >= onset) & (middles < onset + duration)] = by_clip[clip]
        series.append(shown)
    return values, series


main = command(draw_embedding_lag)

if __name__ == "__main__":
    run_command(main)
