"""Small files in the layout of every data set, with its traps, known movies and a lag that was planted.

What a subject sees is a handful of numbers (``features``) a clip: the movie shows them as grey tiles, and the
responses are mixtures of them, ``lag`` seconds later, over a drift and noise. So an adapter can be tested
without a byte of the real data: it must give the features back, at the planted lag and at no other.
"""

import io
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mind_animator.artefacts.cifti import write_series
from mind_animator.artefacts.cortex import grayordinate_axis, roi_names
from mind_animator.artefacts.files import write_json
from mind_animator.artefacts.tables import write_table
from mind_animator.artefacts.video import write_mp4

if TYPE_CHECKING:
    from nibabel.cifti2 import BrainModelAxis

N_FEATURES = 8
_TILES = (2, 4)


def draw_features(n_clips: int, rng: np.random.Generator) -> np.ndarray:
    """What clips show, (clip, feature) float32, standard normal and independent from clip to clip."""
    return rng.standard_normal((n_clips, N_FEATURES)).astype(np.float32)


def write_movie(
    path: Path, features: np.ndarray, onsets: Sequence[float], seconds: float, fps: float, size: int = 32
) -> None:
    """A movie whose grey tiles show the features of the current clip, and mid grey between clips.

    Parameters
    ----------
    features : ndarray (clip, feature)
    onsets : sequence of float
        Rising; a clip is shown until the next one begins, but no longer than the shortest step.
    seconds : float
        Length of the movie.
    fps : float
        Frames per second.
    """
    starts = np.asarray(onsets, float)
    step = np.diff(starts).min() if len(starts) > 1 else seconds
    height, width = size // _TILES[0], size // _TILES[1]

    def frames():
        for number in range(round(seconds * fps)):
            time = number / fps + 1e-6
            clip = int(np.searchsorted(starts, time, side="right")) - 1
            shown = clip >= 0 and time < starts[clip] + step
            grey = np.clip(128 + 40 * (features[clip] if shown else np.zeros(N_FEATURES)), 0, 255)
            tiles = grey.reshape(_TILES).round().astype(np.uint8)
            yield np.repeat(np.kron(tiles, np.ones((height, width), np.uint8))[..., None], 3, axis=2)

    write_mp4(path, frames(), fps)


def respond(
    features: np.ndarray,
    onsets: Sequence[float],
    duration: float,
    *,
    n_volumes: int,
    repetition_time: float,
    lag: float,
    weights: np.ndarray,
    noise: float,
    rng: np.random.Generator,
    recording_start: float = 0.0,
) -> np.ndarray:
    """Raw volumes (volume, voxel) float32: what was on show ``lag`` seconds before, with drift and noise.

    Parameters
    ----------
    features : ndarray (clip, feature)
    onsets : sequence of float
        Onsets of the clips, seconds since the stimulus began.
    duration : float
        Seconds that a clip lasts.
    weights : ndarray (feature, voxel)
    recording_start : float
        Start of the first volume, seconds since the stimulus began.
    """
    starts = np.asarray(onsets, float)
    times = recording_start + repetition_time * np.arange(n_volumes) - lag + 1e-6
    clips = np.searchsorted(starts, times, side="right") - 1
    on = (clips >= 0) & (times < starts[clips] + duration)
    shown = np.where(on[:, None], features[clips], 0)
    drift = np.linspace(-1, 1, n_volumes)[:, None] ** 3 * rng.uniform(2, 6, weights.shape[1])
    signal = shown @ weights + drift + noise * rng.standard_normal((n_volumes, weights.shape[1]))
    return (1000 + 10 * signal).astype(np.float32)


def voxels_of(rois: Sequence[str], count: int) -> np.ndarray:
    """The first ``count`` cortical vertices of each of some areas, e.g. ``L_V1``, ascending."""
    names = roi_names()
    return np.sort(np.concatenate([np.flatnonzero(names == roi)[:count] for roi in rois]))


def simulate_cc2017(
    folder: Path,
    subject: str,
    repeats: Mapping[str, int],
    *,
    lag: float,
    rng: np.random.Generator,
    noise: float = 1.0,
    fps: float = 4,
    traps: bool = True,
) -> dict[str, np.ndarray]:
    """Movies and runs of CC2017 in one folder: 245 and 246 volumes, a delayed run, an odd spelling.

    Parameters
    ----------
    repeats : mapping of segment to its number of runs
    traps : bool
        Let run 9 of subject 3's ``test2`` lag 10 s behind, and spell one volume file of subject 1 as
        published.

    Returns
    -------
    dict of segment to features (clip, feature)
    """
    from mind_animator.datasets.cc2017 import CLIP_SECONDS, N_CLIPS, n_volumes, recording_start

    axis, rows = grayordinate_axis(), voxels_of(("L_V1", "R_V1", "L_MT", "R_MT"), 50)
    weights = rng.standard_normal((N_FEATURES, len(rows)))
    onsets = CLIP_SECONDS * np.arange(N_CLIPS)
    features = {}
    for segment, count in repeats.items():
        features[segment] = draw_features(N_CLIPS, rng)
        movie = folder / f"video_fmri_dataset/stimuli/{segment}.mp4"
        if not movie.exists():
            write_movie(movie, features[segment], onsets, 480, fps)
        for repeat in range(1, count + 1):
            delayed = traps and (subject, segment, repeat) == ("3", "test2", 9)
            volumes = n_volumes(segment)
            run = respond(
                features[segment],
                onsets,
                CLIP_SECONDS,
                n_volumes=volumes,
                repetition_time=2.0,
                lag=lag + 10 * delayed,
                weights=weights,
                noise=noise,
                rng=rng,
                recording_start=recording_start(segment),
            )
            path = folder / f"video_fmri_dataset/subject{subject}/fmri/{segment}"
            write_series(path / f"cifti/{segment}_{repeat}_Atlas.dtseries.nii", run.T, axis, 2.0, rows)
            odd = traps and (subject, segment, repeat) == ("1", "test1", 9)
            volume = path / f"mni/{segment}_{repeat}{'.' if odd else '_'}mni.nii.gz"
            volume.parent.mkdir(parents=True, exist_ok=True)
            volume.write_bytes(b"")
    return features


def zip_twice(folder: Path, path: Path, *, stored: bool = True) -> None:
    """Pack a folder as PURR does: a zip that holds ``<name>/bundle.zip``, which holds the files."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            archive.write(file, file.relative_to(folder))
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(path, "w", kind, compresslevel=1) as archive:
        archive.writestr(f"{path.stem}/bundle.zip", inner.getvalue())


def axis_59k() -> "BrainModelAxis":
    """Rows of a 1.6-mm HCP file: 54,216 and 54,225 cortical vertices of meshes of 59,292, then 62,053 voxels.

    The counts are the published files'; which vertices the medial wall takes, and where the voxels lie, is not.
    """
    from nibabel.cifti2 import BrainModelAxis

    left = BrainModelAxis.from_surface(59_292 - 54_216 + np.arange(54_216), 59_292, "CortexLeft")
    right = BrainModelAxis.from_surface(np.arange(54_225), 59_292, "CortexRight")
    inside = np.zeros((113, 136, 113), bool)
    inside.reshape(-1)[:62_053] = True
    return left + right + BrainModelAxis.from_mask(inside, "thalamus_left", np.diag([1.6, 1.6, 1.6, 1]))


def simulate_hcp(
    folder: Path,
    subjects: Sequence[str],
    *,
    lag: float,
    rng: np.random.Generator,
    variant: str = "msmsulc",
    noise: float = 1.0,
    fps: float = 4,
    movies: bool = True,
    mesh: tuple["BrainModelAxis", np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """Movies and runs of HCP at their true size (sparse files); every run ends in the same movie.

    Parameters
    ----------
    mesh : (BrainModelAxis, ndarray of int), optional
        What the rows are, and which of them respond; by default those of 32k files, in V1 and TPOJ1.

    Returns
    -------
    dict of segment (``run1`` .. ``run4``, ``retest``) to features (clip, feature)
    """
    from mind_animator.datasets.hcp import EXCERPTS, MOVIES, RETEST, RETEST_SECONDS, RUNS, VARIANTS

    axis, rows = mesh or (grayordinate_axis(), voxels_of(("L_V1", "R_V1", "L_TPOJ1", "R_TPOJ1"), 50))
    features = {RETEST: draw_features(RETEST_SECONDS, rng)}
    lengths = {1: 921, 2: 918, 3: 915, 4: 901}
    weights = {subject: rng.standard_normal((N_FEATURES, len(rows))) for subject in subjects}
    for run, spans in EXCERPTS.items():
        seconds = [second for span in spans[:-1] for second in range(*span)]
        features[f"run{run}"] = draw_features(len(seconds), rng)
        shown = np.concatenate([features[f"run{run}"], features[RETEST]])
        onsets = [*seconds, *range(*spans[-1])]
        if movies:
            write_movie(folder / "stimuli" / MOVIES[run], shown, onsets, lengths[run], fps)
        for subject in subjects:
            series = respond(
                shown,
                onsets,
                1.0,
                n_volumes=lengths[run],
                repetition_time=1.0,
                lag=lag,
                weights=weights[subject],
                noise=noise,
                rng=rng,
            )
            path = folder / f"HCP_1200/{subject}/MNINonLinear/Results/{RUNS[run]}"
            write_series(
                path / f"{RUNS[run]}_Atlas{VARIANTS[variant]}.dtseries.nii", series.T, axis, 1.0, rows
            )
    return features


def simulate_algonauts(
    folder: Path,
    subjects: Sequence[str],
    *,
    rng: np.random.Generator,
    voxels: int = 20,
    noise: float = 1.0,
    level: bool = True,
    movies: int = 0,
) -> np.ndarray:
    """Pickles of both tracks as Python 2 wrote them, and movies under names that only sort into order.

    Parameters
    ----------
    voxels : int
        Voxels of each area.
    level : bool
        With the folders ``mini_track`` and ``full_track``, or without (then of the mini track alone).
    movies : int
        How many of the 1,102 videos hold frames; the others are empty files.

    Returns
    -------
    ndarray (video, feature) float32
    """
    from mind_animator.datasets.algonauts2021 import N_SHOWN, N_VIDEOS, ROIS, SECONDS, VIDEOS

    features = draw_features(N_VIDEOS, rng)
    (folder / VIDEOS).mkdir(parents=True, exist_ok=True)
    for number in range(N_VIDEOS):
        path = folder / VIDEOS / f"{number + 1:04d}_0-0-{(number * 7919) % 104_729:06d}.mp4"
        if number < movies:
            write_movie(path, features[number : number + 1], [0.0], SECONDS, 15)
        else:
            path.write_bytes(b"")
    for subject in subjects:
        tracks = {"mini_track": ROIS, "full_track": ("WB",)} if level else {".": ROIS}
        for track, names in tracks.items():
            for name in names:
                mixed = features[:N_SHOWN] @ rng.standard_normal((N_FEATURES, voxels))
                betas = mixed[:, None] + noise * rng.standard_normal((N_SHOWN, 3, voxels))
                content = {"train": betas}
                if name == "WB":
                    content["voxel_mask"] = np.zeros((78, 93, 71))
                path = folder / f"participants_data_v2021/{track}/sub{subject}/{name}.pkl"
                path.parent.mkdir(parents=True, exist_ok=True)
                with open(path, "wb") as stream:
                    pickle.dump(content, stream, protocol=2)
    return features


def simulate_fmriprep(
    folder: Path,
    subjects: Sequence[str],
    *,
    space: str,
    lag: float,
    repetition_time: float,
    clip_seconds: float,
    movies: Mapping[str, float],
    repeats: Sequence[Sequence[tuple[str, float]]],
    rng: np.random.Generator,
    noise: float = 1.0,
    fps: float = 4,
    task: str = "movie",
    session: str | None = None,
    motion: float = 0.0,
) -> dict[str, np.ndarray]:
    """A BIDS study with fMRIPrep's derivatives: events, confounds, sidecars, responses in one space.

    Parameters
    ----------
    space : str
        ``fsLR``, ``fsaverage5`` or ``MNI152NLin2009cAsym``.
    movies : mapping of movie name (``movie1.mp4``) to its length in seconds
    repeats : sequence of runs, each a sequence of (movie, onset in seconds)
    motion : float
        How strongly the responses follow the six motion parameters, which the confounds file holds.

    Returns
    -------
    dict of movie name to features (clip, feature)
    """
    import nibabel as nib

    features = {name: draw_features(int(length // clip_seconds), rng) for name, length in movies.items()}
    for name, length in movies.items():
        clips = clip_seconds * np.arange(len(features[name]))
        write_movie(folder / "stimuli" / name, features[name], clips, length, fps)
    write_json(folder / "dataset_description.json", {"Name": "simulated", "BIDSVersion": "1.8.0"})
    n_voxels = 120
    for subject in subjects:
        weights = rng.standard_normal((N_FEATURES, n_voxels))
        for number, shown in enumerate(repeats, 1):
            entities = [
                f"sub-{subject}",
                *([f"ses-{session}"] if session else []),
                f"task-{task}",
                f"run-{number}",
            ]
            inside = "/".join([p for p in entities if p.startswith(("sub-", "ses-"))] + ["func"])
            stem = f"{inside}/{'_'.join(entities)}"
            events = pd.DataFrame(shown, columns=["stim_file", "onset"])
            events["duration"] = events["stim_file"].map(movies)
            events["trial_type"] = "movie"
            rest = {"stim_file": "n/a", "onset": 0.0, "duration": 2.0, "trial_type": "rest"}
            events = pd.concat([pd.DataFrame([rest]), events])[
                ["onset", "duration", "trial_type", "stim_file"]
            ]
            write_table(folder / f"{stem}_events.tsv", events)
            onsets = [onset + clip_seconds * k for movie, onset in shown for k in range(len(features[movie]))]
            end = max(onset + movies[movie] for movie, onset in shown)
            n_volumes = int(np.ceil((end + 16) / repetition_time))
            series = respond(
                np.concatenate([features[movie] for movie, _ in shown]),
                onsets,
                clip_seconds,
                n_volumes=n_volumes,
                repetition_time=repetition_time,
                lag=lag,
                weights=weights,
                noise=noise,
                rng=rng,
            )
            confounds = np.cumsum(rng.standard_normal((n_volumes, 6)), axis=0)
            series += 10 * motion * (confounds @ rng.standard_normal((6, n_voxels))).astype(np.float32)
            derived = folder / "derivatives/fmriprep" / stem
            _write_confounds(derived, confounds)
            _write_space(nib, derived, space, series, repetition_time)
    return features


def _write_confounds(stem: Path, motion: np.ndarray) -> None:
    names = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]
    table = pd.DataFrame(motion, columns=names)
    for column in ("csf", "white_matter", "global_signal"):
        table[column] = 0.0
    for name in names:
        table[f"{name}_derivative1"] = table[name].diff()
    path = stem.with_name(f"{stem.name}_desc-confounds_timeseries.tsv")
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")
    write_json(path.with_suffix(".json"), {})


def _write_space(nib, stem: Path, space: str, series: np.ndarray, repetition_time: float) -> None:
    """Write (volume, voxel) responses as fMRIPrep names and stores them in a space, with the sidecar."""
    n_volumes, n_voxels = series.shape
    if space == "fsLR":
        name = f"{stem.name}_space-fsLR_den-91k_bold"
        rows = voxels_of(("L_V1", "R_V1", "L_MT", "R_MT"), n_voxels // 4)
        write_series(
            stem.with_name(f"{name}.dtseries.nii"), series.T, grayordinate_axis(), repetition_time, rows
        )
        write_json(stem.with_name(f"{name}.json"), {"RepetitionTime": repetition_time})
    elif space.startswith("fsaverage"):
        n_vertices = {"fsaverage5": 10_242, "fsaverage6": 40_962, "fsaverage": 163_842}[space]
        for side, part in zip("LR", np.array_split(series, 2, axis=1), strict=True):
            mesh = np.zeros((n_volumes, n_vertices), np.float32)
            mesh[:, : part.shape[1]] = part
            arrays = [nib.gifti.GiftiDataArray(row, "NIFTI_INTENT_TIME_SERIES") for row in mesh]
            name = f"{stem.name}_hemi-{side}_space-{space}_bold"
            nib.save(nib.gifti.GiftiImage(darrays=arrays), stem.with_name(f"{name}.func.gii"))
            write_json(stem.with_name(f"{name}.json"), {"RepetitionTime": repetition_time})
    else:
        grid = (6, 5, 6)
        inside = np.zeros(grid, bool)
        inside[:, :, :4] = True
        volume = np.zeros((*grid, n_volumes), np.float32)
        volume[inside] = series.T
        name = f"{stem.name}_space-{space}_res-2"
        affine = np.diag([2.0, 2, 2, 1])
        image = nib.Nifti1Image(volume, affine)
        image.header.set_zooms((2, 2, 2, repetition_time))
        nib.save(image, stem.with_name(f"{name}_desc-preproc_bold.nii.gz"))
        nib.save(
            nib.Nifti1Image(inside.astype(np.uint8), affine), stem.with_name(f"{name}_desc-brain_mask.nii.gz")
        )
        write_json(stem.with_name(f"{name}_desc-preproc_bold.json"), {"RepetitionTime": repetition_time})
