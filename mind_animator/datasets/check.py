"""Checks before any work: existing, missing and invalid files, and overlap of training and test movies."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mind_animator.artefacts.files import absent_content
from mind_animator.datasets.archives import Archive
from mind_animator.datasets.base import Dataset
from mind_animator.datasets.download.manifest import UNVERIFIED, read_manifest
from mind_animator.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from mind_animator.config import Config

NEIGHBOURS = 10.0  # seconds by which a response outlasts its movie, approximately
SAME, TEXTURE, IN_A_ROW, TILES = 3.0, 8.0, 3, 64


@dataclass(frozen=True)
class Plan:
    """Downloads that a run requires. Files that already exist are not included.

    Attributes
    ----------
    files : tuple of Archive
        Files that are downloaded and not unpacked.
    zips : dict of Archive to tuple of str
        Zip archives to download, and the files to unpack from each (relative to the data folder).
    by_hand : tuple of Path
        Missing files that no archive contains, or that must be obtained manually.
    """

    files: tuple[Archive, ...]
    zips: dict[Archive, tuple[str, ...]]
    by_hand: tuple[Path, ...]


def plan_downloads(dataset: Dataset) -> Plan:
    """Missing files of a data set and their sources. The files are not opened."""
    if dataset.simulated:
        return Plan((), {}, ())
    missing = {str(path.relative_to(dataset.root)): path for path in dataset.sources() if not path.exists()}
    # links of a clone: their content is fetched with the tool of the clone, and nothing is written through them
    links = {file: path for file, path in missing.items() if path.is_symlink()}
    missing = {file: path for file, path in missing.items() if file not in links}
    files, zips = [], {}
    for archive in dataset.archives():
        needed = tuple(file for file in archive.gives if file in missing)
        if not needed or not archive.fetched:
            continue
        for file in needed:
            del missing[file]
        if archive.zipped:
            zips[archive] = needed
        else:
            files.append(archive)
    return Plan(tuple(files), zips, (*links.values(), *missing.values()))


def check_config(dataset: Dataset, config: "Config") -> None:
    """Raise `InputError` if the config requires something that the data set does not provide. No data are required."""
    if "lag" in config.fmri.model_fields_set and config.fmri.lag and not dataset.applies_lag:
        raise InputError(
            f"config.fmri.lag = {config.fmri.lag:g}: must be 0 or left out, since the responses of data set "
            f"{dataset.name} are aligned to the clips already (arrays: responses per volume, axes 'volume voxel', "
            "can be shifted)."
        )
    if (mask := config.fmri.voxels.mask) is not None and Path(mask).is_file():
        from mind_animator.datasets.preprocess import read_mask
        from mind_animator.fmri.reliability import in_mask

        values = read_mask(mask)
        try:  # without the number of voxels, which is known only from the responses
            flags = values.dtype.kind == "b" or (len(values) > 2 and set(values.ravel().tolist()) <= {0, 1})
            in_mask(values, len(values) if flags else int(values.max(initial=0)) + 1)
        except ValueError as error:
            raise InputError(f"{error} ({mask}; config.fmri.voxels.mask)") from None
    if not (dataset.has_stimuli or dataset.has_captions or config.features.ready.embeddings):
        raise InputError(
            "Expected movies, frames, captions (dataset.options) or embeddings (features.ready), got none of them: "
            "there is nothing to decode."
        )


def check_clones(missing: tuple[Path, ...]) -> None:
    """Raise `InputError` for the first file whose content is missing in a DataLad, git-annex or Git LFS clone."""
    absent = [(path, hint) for path in missing if (hint := absent_content(path))]
    if absent:
        raise InputError(f"Expected {absent[0][0]}, but {absent[0][1]} ({len(absent)} such files).")


def resolved(config: "Config", dataset: Dataset) -> "Config":
    """The config with the values that follow from the data set: no lag if the responses are already aligned, and
    ``scoring.block`` from ``scoring.block_seconds`` and the durations of the test clips."""
    if not dataset.applies_lag:
        config = config.model_copy(update={"fmri": config.fmri.model_copy(update={"lag": 0.0})})
    if config.scoring.block_seconds is None:
        return config
    from mind_animator.statistics.blocks import clips_per_block

    test = [segment.id for segment in dataset.segments if segment.split == "test"]
    durations = [seconds for segment in test for seconds in dataset.clip_table(segment)["duration"]]
    block = clips_per_block(config.scoring.block_seconds, durations)
    return config.model_copy(update={"scoring": config.scoring.model_copy(update={"block": block})})


def check_before_downloads(dataset: Dataset, by_hand: tuple[Path, ...]) -> None:
    """Raise `InputError` if accepted terms, credentials or files that must be obtained manually are missing.

    Parameters
    ----------
    by_hand : tuple of path
        Missing files of the plan that no rule can download.
    """
    check_clones(by_hand)
    dataset.check_before_work()
    if by_hand:
        file = _relative(by_hand[0], dataset.root)
        page = next((archive.page for archive in dataset.archives() if file in archive.gives), "")
        raise InputError(
            f"Expected {by_hand[0]}, found none: nothing can fetch it ({len(by_hand)} such files"
            f"{f'; see {page}' if page else ''}). `snakemake check_data` lists them."
        )


def check_files(dataset: Dataset) -> "pd.DataFrame":
    """State of every file that the pipeline reads, determined from sizes, headers and the packets of movies.

    Returns
    -------
    DataFrame
        ``file``, ``state`` (``here``, ``missing`` or ``wrong``), ``bytes``, ``checked_by`` (as in the manifest; empty
        for files of the user) and ``note`` (properties from the header, or the fault).
    """
    import pandas as pd

    manifest = read_manifest(dataset.root)
    pages = {file: archive for archive in dataset.archives() for file in archive.gives}
    rows = []
    for path in dataset.sources():
        file = _relative(path, dataset.root)
        row = {"file": file, "state": "here", "bytes": 0, "checked_by": "", "note": ""}
        if hint := absent_content(path):
            rows.append(row | {"state": "missing", "note": hint})
            continue
        if not path.exists():
            archive = pages.get(file)
            note = f"comes with {archive.name}" if archive and archive.fetched else "fetch it by hand"
            note += f" ({archive.page})" if archive else ""
            rows.append(row | {"state": "missing", "note": note})
            continue
        row["bytes"] = path.stat().st_size
        known = manifest.get(file)
        facts, fault = look_at(path)
        if known is not None:
            row["checked_by"] = known.checked_by
            if known.size != row["bytes"]:
                fault = f"expected {known.size} bytes (manifest), got {row['bytes']}"
        fault = fault or dataset.fault(path, facts)
        note = fault or ", ".join(f"{name} {value:g}" for name, value in facts.items())
        rows.append(row | {"state": "wrong" if fault else "here", "note": note})
    return pd.DataFrame(rows, columns=["file", "state", "bytes", "checked_by", "note"])


def summarise(table: "pd.DataFrame") -> str:
    """One-line summary of a table from `check_files`."""
    counts = table["state"].value_counts()
    parts = [f"{counts.get(state, 0)} {state}" for state in ("here", "missing", "wrong")]
    unverified = int((table["checked_by"] == UNVERIFIED).sum())
    return f"{len(table)} files: " + ", ".join(parts) + (f"; {unverified} {UNVERIFIED}" if unverified else "")


def look_at(path: Path) -> tuple[dict[str, float], str | None]:
    """Properties from the header of a file, and its fault; files of unknown types are only checked for being empty.

    Returns
    -------
    facts : dict
        ``volumes`` and ``rows`` of a time series; ``seconds``, ``frames`` and ``fps`` of a movie.
    fault : str or None
    """
    if path.is_dir():
        return {}, None
    if path.stat().st_size == 0:
        return {}, "the file is empty"
    if path.name.endswith((".nii", ".nii.gz")):
        return _look_at_image(path)
    if path.suffix in (
        ".mp4",
        ".avi",
        ".mov",
        ".mkv",
        ".m4v",
        ".webm",
        ".wmv",
        ".flv",
        ".ts",
        ".mpg",
        ".mpeg",
    ):
        return _look_at_movie(path)
    return {}, None


def _look_at_image(path: Path) -> tuple[dict[str, float], str | None]:
    import nibabel as nib

    from mind_animator.artefacts.series import read_header

    try:
        image = nib.load(path)
        if not isinstance(image, nib.Cifti2Image) and image.ndim != 4:
            return {}, None  # a mask
        header = read_header(path)
    except InputError as error:
        return {}, str(error)
    except Exception as error:  # nibabel raises many types of exceptions for corrupt headers
        return {}, f"no readable image: {' '.join(str(error).split())[:120]}"
    facts: dict[str, float] = {"volumes": header.volumes}
    if header.rows:
        needed = int(image.nifti_header["vox_offset"])
        needed += header.volumes * header.rows * image.nifti_header.get_data_dtype().itemsize
        if path.stat().st_size < needed:
            return {}, f"expected {needed} bytes (its header), got {path.stat().st_size}"
        facts["rows"] = header.rows
    return facts | {
        key: value for key in ("step", "start") if (value := getattr(header, key)) is not None
    }, None


def _look_at_movie(path: Path) -> tuple[dict[str, float], str | None]:
    from mind_animator.video.check import check_movie

    facts, findings = check_movie(path)
    return facts, "; ".join(findings) or None


def check_enough(dataset: Dataset, block: int, trains: bool) -> None:
    """Raise `InputError` if there are too few clips for block permutation tests, or too few movies for early stopping.

    Parameters
    ----------
    block : int
        Block length of permutations, in test clips.
    trains : bool
        Whether a method trains decoders, which hold out whole movies for validation. Movies are counted if the tables
        of the data set exist; otherwise each segment counts as one movie.
    """
    test = [segment.n_clips for segment in dataset.segments if segment.split == "test"]
    if sum(count // block for count in test) < 2:
        raise InputError(
            f"Expected test clips for at least 2 blocks of {block} (scoring.block), got {sum(test)} in "
            f"{len(test)} segments (dataset {dataset.name})."
        )
    movies: set[str] = set()
    for segment in dataset.segments:
        if trains and segment.split == "train" and len(movies) < 2:
            try:
                movies.update(dataset.clip_table(segment.id)["movie"])
            except InputError:
                movies.add(segment.id)
    if trains and len(movies) < 2:
        raise InputError(
            f"Expected at least 2 training movies, one of them to stop by, got {len(movies)} "
            f"(dataset {dataset.name})."
        )


def check_leak(table: "pd.DataFrame", sums: Mapping[str, str] | None = None) -> None:
    """Check that neither test movies nor adjacent parts of the same movies are used for training.

    Parameters
    ----------
    table : DataFrame
        Clips of all segments: ``clip, movie, file, onset, duration, split``.
    sums : mapping of file (as in the table) to SHA-256, optional
        Two files with the same content count as one.

    Raises
    ------
    InputError
        If a movie has clips of both splits, or clips of both splits are less than 10 s apart in one file.
    """
    import numpy as np

    sides = table.groupby("movie")["split"].nunique()
    for movie in sides[sides > 1].index:
        raise InputError(f"Expected movie '{movie}' in one split, got it in training and test.")
    content = table["file"].map(lambda file: (sums or {}).get(file, file))
    for _, rows in table.assign(content=content).groupby("content"):
        rows = rows[rows["file"] != ""]
        train, test = rows[rows["split"] == "train"], rows[rows["split"] == "test"]
        if train.empty or test.empty:
            continue
        gaps = np.maximum(
            test["onset"].to_numpy()[:, None] - (train["onset"] + train["duration"]).to_numpy(),
            train["onset"].to_numpy() - (test["onset"] + test["duration"]).to_numpy()[:, None],
        )
        if gaps.min() < NEIGHBOURS:
            here, there = np.unravel_index(np.argmin(gaps), gaps.shape)
            raise InputError(
                f"Expected test clips at least {NEIGHBOURS:g} s from training clips of the same movie, got "
                f"'{test['clip'].iloc[here]}' and '{train['clip'].iloc[there]}' "
                f"{max(gaps.min(), 0):g} s apart "
                f"({test['file'].iloc[here]} and {train['file'].iloc[there]})."
            )


@dataclass(frozen=True)
class Twin:
    """A test clip whose frames occur among the training frames.

    Attributes
    ----------
    test, train : int
        The clip, and the training clip that contains its first frame.
    in_a_row : int
        Number of consecutive test clips up to this one that occur in the same order and at the same distance.
    """

    test: int
    train: int
    in_a_row: int


def same_clips(train: "np.ndarray", test: "np.ndarray") -> list[Twin]:
    """Test clips whose frames occur among the training frames, at any position within a training clip.

    A frame matches two neighbouring training frames if it differs by less than 3 grey levels (root mean square over
    tiles) from a mixture of them, so that movies cut at different times can also be compared::

        min over a in [0, 1] of |x - (1 - a) p_i - a p_(i+1)| < 3 sqrt(tiles)

    A clip matches if at least half of its frames match consecutive training frames in the same order.

    Parameters
    ----------
    train, test : ndarray (clip, frame * 64) float32
        `thumbnails`, grey levels, in the order of the movies. Clips with less texture than 8 grey levels (black
        frames, titles) are not compared.
    """
    import numpy as np

    n_frames, tiles = test.shape[1] // TILES, TILES
    mean = train.mean(dtype=np.float64)
    known = (train - mean).reshape(-1, tiles).astype(np.float64)
    step = np.diff(known, axis=0, append=known[-1:])
    square, along = (known**2).sum(axis=1), (known * step).sum(axis=1)
    length = (step**2).sum(axis=1)
    safe = np.where(length > 0, length, 1)
    twins, last, run = [], None, np.zeros(0, np.int32)
    n_starts = len(known) - n_frames + 1
    for clip in np.flatnonzero(test.std(axis=1) > TEXTURE):
        frames = (test[clip] - mean).reshape(n_frames, tiles).astype(np.float64)
        products, moved = frames @ known.T, frames @ step.T - along
        fraction = np.clip(moved / safe, 0, 1)
        distance = (frames**2).sum(axis=1)[:, None] + square - 2 * products
        distance += fraction * (fraction * length - 2 * moved)
        near = distance < tiles * SAME**2
        found = sum(near[f, f : f + n_starts].astype(np.int32) for f in range(n_frames)) * 2 >= n_frames
        apart = sum(distance[f, f : f + n_starts] for f in range(n_frames))
        before = np.zeros(n_starts, np.int32)
        if last == clip - 1 and n_starts > n_frames:
            before[n_frames:] = run[:-n_frames]
        run, last = np.where(found, before + 1, 0), clip
        if found.any():
            best = np.flatnonzero(run == run.max())
            # a frame is the end of one pair and the start of the next one; the later pair is used
            start = int(best[apart[best] <= apart[best].min() + n_frames * tiles][-1])
            twins.append(Twin(int(clip), start // n_frames, int(run[start])))
    return twins


def thumbnails(frames: "np.ndarray") -> "np.ndarray":
    """Frames (frame, height, width, 3) uint8 of one clip as 8 x 8 grey tiles per frame, (frame * 64,) float32."""
    import cv2
    import numpy as np

    small = [cv2.resize(frame, (8, 8), interpolation=cv2.INTER_AREA) for frame in frames]
    return np.stack(small).astype(np.float32).mean(axis=3).ravel()


def check_same_clips(twins: list[Twin], train: "pd.DataFrame", test: "pd.DataFrame") -> None:
    """Raise `InputError` if the same content occurs in training and test clips.

    An error is raised for three consecutive matching test clips, for a matching movie of one clip, and for a movie that
    begins with the end of a training movie or ends with the beginning of one (overlapping runs).
    """
    singles = {movie for movie, count in test["movie"].value_counts().items() if count == 1}
    movies = [list(table["movie"]) for table in (test, train)]
    for twin in twins:
        edges = [_edges(movies[side], row) for side, row in enumerate((twin.test, twin.train))]
        overlap = (edges[0][0] and edges[1][1]) or (edges[0][1] and edges[1][0])
        if twin.in_a_row >= IN_A_ROW or overlap or movies[0][twin.test] in singles:
            row, other = (max(0, index - twin.in_a_row + 1) for index in (twin.test, twin.train))
            raise InputError(
                "Expected movies to be in training or test, got the same images in "
                f"'{test['clip'].iloc[row]}' (test, {movies[0][row]}) and '{train['clip'].iloc[other]}' "
                f"(training, {movies[1][other]}): put both movies into one split, or leave one out."
            )


def _edges(movies: list[str], row: int) -> tuple[bool, bool]:
    """Whether a clip is among the first two and among the last two clips of its movie; both False for short movies."""
    start = stop = row
    while start > 0 and row - start < 2 and movies[start - 1] == movies[row]:
        start -= 1
    while stop < len(movies) - 1 and stop - row < 2 and movies[stop + 1] == movies[row]:
        stop += 1
    return row - start < 2 <= stop - row, stop - row < 2 <= row - start


def _relative(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
