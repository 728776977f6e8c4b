"""Captions read back: from this project's tables, and from files that somebody else made."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from mind_animator.artefacts.arrays import open_arrays
from mind_animator.artefacts.tables import read_table
from mind_animator.errors import InputError


def read_captions(paths: Iterable[Path | str]) -> dict[str, str]:
    """Caption of every clip in some TSV tables with columns ``clip`` and ``caption``, in their order."""
    captions: dict[str, str] = {}
    for path in paths:
        table = read_table(path, columns=("clip", "caption"))
        captions |= _unique(table["clip"], table["caption"], path)
    return captions


def read_ready_captions(paths: Sequence[Path | str], clips: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Caption of every clip from ready files.

    A TSV has columns ``clip`` and ``caption``. An HDF5 file has either arrays ``clip`` and ``caption``, or
    one array of captions without names, as published with Mind-Animator: ``Train_captions`` and
    ``Test_captions`` hold one caption a clip of that split, any other name one a clip of the whole data set
    or of its training split.

    Parameters
    ----------
    paths : sequence of paths
    clips : mapping of split (``train``, ``test``) to its clips, in the order of the published arrays
        A clip may come several times (it was shown several times); its first caption counts.

    Raises
    ------
    InputError
        If a file has another form or another number of captions.
    """
    captions: dict[str, str] = {}
    for path in paths:
        if Path(path).suffix == ".tsv":
            captions |= read_captions([path])
        elif Path(path).suffix in {".h5", ".hdf5"}:
            captions |= _read_hdf5(Path(path), clips)
        else:
            raise InputError(f"Expected captions in a .tsv or .h5 file, got {path}.")
    return captions


def captions_of(captions: Mapping[str, str], clips: Sequence[str], where: str) -> list[str]:
    """Captions of the wanted clips, in their order; `InputError` where one is missing."""
    missing = [clip for clip in clips if clip not in captions]
    if missing:
        raise InputError(f"Expected a caption of clip '{missing[0]}' ({len(missing)} missing) in {where}.")
    return [captions[clip] for clip in clips]


def _read_hdf5(path: Path, clips: Mapping[str, Sequence[str]]) -> dict[str, str]:
    with open_arrays(path) as file:
        if {"clip", "caption"} <= set(file):
            return _unique(pd.Series(file["clip"].asstr()[:]), pd.Series(file["caption"].asstr()[:]), path)
        if len(file) != 1:
            raise InputError(
                f"Expected arrays 'clip' and 'caption', or one of captions, in {path}, got {sorted(file)}."
            )
        name = next(iter(file))
        texts = list(file[name].asstr()[:])
    train, test = list(clips["train"]), list(clips["test"])
    split = name.lower().split("_")[0]
    choices = {"train": [train], "test": [test]}.get(split, [train + test, train])
    for names in choices:
        if len(names) == len(texts):
            # the first of several captions of a clip stays
            return dict(zip(reversed(names), reversed(texts), strict=True))
    counts = " or ".join(str(len(names)) for names in choices)
    raise InputError(f"Expected {counts} captions in '{name}' of {path}, got {len(texts)}.")


def _unique(clips: pd.Series, captions: pd.Series, path: Path | str) -> dict[str, str]:
    if clips.duplicated().any():
        raise InputError(
            f"Expected each clip once in {path}, got '{clips[clips.duplicated()].iloc[0]}' twice."
        )
    return dict(zip(clips, captions, strict=True))
