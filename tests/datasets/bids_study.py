"""Small BIDS studies in which voxel j has an impulse in volume j, so that a clip's volume can be read off."""

import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from mind_animator.config.dataset import DatasetConfig
from mind_animator.config.fmri import FmriConfig
from mind_animator.datasets import open_dataset

GRID = (6, 5, 6)
AFFINE = np.diag([2.0, 2, 2, 1])
SPACE = "MNI152NLin2009cAsym"
INSIDE = np.zeros(GRID, bool)
INSIDE[:, :, :4] = True
ROWS = ((10.0, 20.0, "a.mp4"), (40.0, 20.0, "b.mp4"), (70.0, 20.0, "t.mp4"))


def impulses(n_volumes=60):
    """(volume, voxel): 100, and 150 in volume j of voxel j."""
    series = np.full((n_volumes, int(INSIDE.sum())), 100.0)
    series[np.arange(min(n_volumes, 60)), np.arange(min(n_volumes, 60))] += 50
    return series


def write_confounds(path: Path, n_volumes: int, **columns):
    rng = np.random.default_rng(1)
    table = pd.DataFrame(
        {f"{k}_{a}": rng.standard_normal(n_volumes) * 0.01 for k in ("trans", "rot") for a in "xyz"}
    )
    for name in ("csf", "white_matter"):
        table[name] = rng.standard_normal(n_volumes) * 0.01 + 500
    table = table.assign(**({"framewise_displacement": 0.05, "std_dvars": 1.0} | columns))
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")
    path.with_suffix(".json").write_text("{}")


def write_run(
    root, subject="01", series=None, tr=2.0, rows=ROWS, *, stem=None, derived=None, sidecar=None, start=0.0,
    ending=".nii.gz", desc="preproc", unit="sec", confounds="timeseries", **columns,
):  # fmt: skip
    """Events, responses in a volume space, mask, sidecar (False: none) and confounds of one run."""
    series = impulses() if series is None else series
    stem = stem or f"sub-{subject}/func/sub-{subject}_task-movie_run-1"
    path = root / f"{stem}_events.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(rows, bytes):
        path.write_bytes(rows)
    elif rows is not None:
        names = ["onset", "duration", "stim_file", "offset"][: len(rows[0])]
        pd.DataFrame(rows, columns=names).to_csv(path, sep="\t", index=False, na_rep="n/a")
    head = str(root / "derivatives/fmriprep" / (derived or stem))
    os.makedirs(os.path.dirname(head), exist_ok=True)
    volumes = np.zeros((*GRID, len(series)), np.float32)
    volumes[INSIDE] = series.T
    image = nib.Nifti1Image(volumes, AFFINE)
    image.header.set_zooms((2, 2, 2, tr))
    image.header.set_xyzt_units("mm", unit)
    image.header["toffset"] = start
    nib.save(image, f"{head}_space-{SPACE}_desc-{desc}_bold{ending}")
    nib.save(nib.Nifti1Image(INSIDE.astype(np.uint8), AFFINE), f"{head}_space-{SPACE}_desc-brain_mask.nii.gz")
    if sidecar is not False:
        text = json.dumps({"RepetitionTime": tr} if sidecar is None else sidecar)
        Path(f"{head}_space-{SPACE}_desc-{desc}_bold.json").write_text(text)
    write_confounds(Path(f"{head}_desc-confounds_{confounds}.tsv"), len(series), **columns)


def opened(root, subjects=(), **options):
    basic = {
        "task": "movie",
        "space": SPACE,
        "tr": 2.0,
        "clip_seconds": 2.0,
        "test": ["t.mp4"],
        "confounds": [],
    }
    return open_dataset(
        DatasetConfig(name="bids", data_root=str(root), subjects=subjects, options=basic | options)
    )


def volumes_of(dataset, segment="a", subject="01", lag=4.0, repeat=0):
    """Volume whose impulse each clip contains; None for a missing clip."""
    run = list(dataset.runs(subject, segment, FmriConfig(lag=lag, detrend_order=0)))[repeat]
    return [int(np.argmax(row[:60])) if np.isfinite(row).all() else None for row in run.values]


def segments_of(dataset):
    return [(segment.id, segment.split, segment.n_clips) for segment in dataset.segments]
