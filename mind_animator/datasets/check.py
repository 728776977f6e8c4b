"""Checks before any work: existing, missing and invalid files, and overlap of training and test movies."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mind_animator.artefacts.files import absent_content
from mind_animator.datasets.archives import Archive
from mind_animator.datasets.base import Dataset
from mind_animator.datasets.download.manifest import UNVERIFIED, read_manifest
from mind_animator.datasets.leaks import check_leak, check_same_clips, clips_of_ends, same_clips, thumbnails
from mind_animator.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from mind_animator.config import Config

SLACK = 0.1  # seconds by which published tables and movies may differ


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


def check_files(dataset: Dataset, *, contents: bool = True) -> "pd.DataFrame":
    """State of every file that the pipeline reads, determined from sizes, headers, tables and the packets of movies.

    Parameters
    ----------
    contents : bool
        Also compare files with each other: runs that are copies, movies that have images of the other split at their
        ends. Only a few blocks of each file, and one minute of each movie, are read.

    Returns
    -------
    DataFrame
        ``file``, ``state`` (``here``, ``missing`` or ``wrong``), ``bytes``, ``checked_by`` (as in the manifest; empty
        for files of the user) and ``note`` (properties from the header, or the fault).
    """
    import pandas as pd

    manifest = read_manifest(dataset.root)
    pages = {file: archive for archive in dataset.archives() for file in archive.gives}
    rows: dict[Path | None, dict[str, Any]] = {}
    seconds: dict[str, float] = {}
    clips = _clips(dataset)
    for path in dataset.sources():
        file = _relative(path, dataset.root)
        row = rows[path] = {"file": file, "state": "here", "bytes": 0, "checked_by": "", "note": ""}
        if hint := absent_content(path):
            row |= {"state": "missing", "note": hint}
            continue
        if not path.exists():
            archive = pages.get(file)
            note = f"comes with {archive.name}" if archive and archive.fetched else "fetch it by hand"
            note += f" ({archive.page})" if archive else ""
            row |= {"state": "missing", "note": note}
            continue
        size = row["bytes"] = path.stat().st_size
        known = manifest.get(file)
        facts, fault = look_at(path)
        if known is not None:
            row["checked_by"] = known.checked_by
            if known.size != size:
                fault = f"expected {known.size} bytes (manifest), got {size}"
        if not fault and "seconds" in facts:
            seconds[str(path)] = facts["seconds"]
            fault = _too_short(clips[clips["file"] == str(path)], facts["seconds"])
        fault = fault or dataset.fault(path, facts)
        row["note"] = fault or ", ".join(f"{name} {value:g}" for name, value in facts.items())
        row["state"] = "wrong" if fault else "here"
    if contents:
        here = [path for path, row in rows.items() if row["state"] == "here"]
        for path, fault in _compared(dataset, here, clips, seconds):
            both = {"file": "(training and test movies)", "bytes": 0, "checked_by": ""}
            rows[path] = rows.get(path, both) | {"state": "wrong", "note": fault}
    return pd.DataFrame(list(rows.values()), columns=["file", "state", "bytes", "checked_by", "note"])


def _clips(dataset: Dataset) -> "pd.DataFrame":
    """The clips of all segments whose tables are known; none for a data set that is simulated."""
    import pandas as pd

    tables = []
    for segment in () if dataset.simulated else dataset.segments:
        try:
            tables.append(dataset.clip_table(segment.id))
        except InputError:  # the table needs files that are missing
            continue
    names = ["clip", "segment", "movie", "file", "onset", "duration", "split"]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=names)


def _too_short(clips: "pd.DataFrame", seconds: float) -> str | None:
    """The fault of a movie that ends before one of its clips: rows overlap, or positions in the movie are wrong."""
    ends = clips["onset"] + clips["duration"]
    if ends.empty or ends.max() <= seconds + SLACK:
        return None
    last = clips.loc[ends.idxmax()]
    return (
        f"expected a movie of at least {ends.max():g} s (clip '{last['clip']}'), got {seconds:g} s: do rows of the "
        "tables "
        "overlap?"
    )


def _compared(
    dataset: Dataset, here: list[Path], clips: "pd.DataFrame", seconds: dict[str, float]
) -> Iterator[tuple[Path | None, str]]:
    """Faults that are visible only from several files: copies of runs, and (without a file) movies that share
    images."""
    import numpy as np

    segments = [segment.id for segment in dataset.segments]
    runs = {path for s in dataset.subjects for segment in segments for path in dataset.run_files(s, segment)}
    for path, other in copies(path for path in here if path in runs).items():
        original = _relative(other, dataset.root)
        note = f"same content as {original}: a run that is counted twice appears perfectly reliable"
        yield path, note
    movies = {str(path): path for path in here if str(path) in seconds}
    same = copies(movies.values())
    try:
        check_leak(clips, {str(path): str(other) for path, other in same.items()})
        ends = clips_of_ends(clips, {file: seconds[file] for file in movies if movies[file] not in same})
        train, test = (ends[ends["split"] == split].reset_index(drop=True) for split in ("train", "test"))
        if len(train) and len(test):
            images = [np.stack([thumbnails(c) for c in _frames(table, movies)]) for table in (train, test)]
            check_same_clips(same_clips(*images), train, test)
    except InputError as error:
        yield None, str(error)


def copies(paths: Iterable[Path]) -> dict[Path, Path]:
    """Files with the same content as an earlier one of them, and that one.

    Files of equal size are compared by 16 blocks of 64 KiB, and the blocks at the end, which hold the checksum of a
    ``.gz`` file; if they agree, other files are compared as a whole.
    """
    import filecmp

    first: dict[tuple[int, bytes], list[Path]] = {}
    by_size: dict[int, list[Path]] = {}
    for path in paths:
        if path.is_file():
            by_size.setdefault(path.stat().st_size, []).append(path)
    found = {}
    for size, own in by_size.items():
        for path in own if len(own) > 1 else ():
            known = first.setdefault((size, _blocks(path, size)), [])
            same = [
                other for other in known if path.suffix == ".gz" or filecmp.cmp(path, other, shallow=False)
            ]
            if same:
                found[path] = same[0]
            else:
                known.append(path)
    return found


def _blocks(path: Path, size: int) -> bytes:
    """Digest of blocks of a file at irregular places, so that they do not all fall on the same part of a volume."""
    import hashlib

    length, sha = 1 << 16, hashlib.sha256()
    with open(path, "rb") as stream:
        for number in range(17):
            stream.seek(int(max(size - length, 0) * (1 - number * 0.6180339887 % 1)))
            sha.update(stream.read(length))
    return sha.digest()


def _frames(table: "pd.DataFrame", movies: dict[str, Path]) -> "Iterator[np.ndarray]":
    """Small frames (frame, height, width, 3) of every clip of `clips_of_ends`."""
    from mind_animator.config.stimuli import StimuliConfig
    from mind_animator.video.segment import plan_segment, segment_clips

    settings = StimuliConfig(size=64)
    for file, own in table.groupby("file", sort=False):
        found = dict(segment_clips(plan_segment(own, {movies[file].name: movies[file]}, settings), settings))
        yield from (found[row] for row in range(len(own)))


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
    from mind_animator.artefacts.clipfolder import VIDEOS

    if path.is_dir():
        return {}, None
    if path.stat().st_size == 0:
        return {}, "the file is empty"
    if path.name.endswith((".nii", ".nii.gz")):
        return _look_at_image(path)
    if path.suffix.lower() in VIDEOS:
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


def _relative(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
