"""Captions in tables of this project and in external files."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import h5py

from mind_animator.artefacts.arrays import open_arrays
from mind_animator.artefacts.texts import hdf5_texts, read_text_rows
from mind_animator.errors import InputError


def read_captions(paths: Iterable[Path | str]) -> dict[str, str]:
    """Caption of every clip in TSV tables with columns ``clip`` and ``caption``, in the order of the tables.

    Text is read literally (see `read_text_rows`).
    """
    captions: dict[str, str] = {}
    for path in paths:
        rows = read_text_rows(path, columns=("clip", "caption"))
        captions |= _unique([row["clip"] for row in rows], [row["caption"] for row in rows], path)
    return captions


def read_ready_captions(paths: Sequence[Path | str], clips: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Caption of every clip from files of existing captions.

    A TSV has columns ``clip`` and ``caption``. An HDF5 file has either arrays ``clip`` and ``caption``, or
    one array of captions without names, as published with Mind-Animator: ``Train_captions`` and
    ``Test_captions`` contain one caption per clip of that split, and an array of any other name one per clip of
    the whole data set or of its training split. Texts are UTF-8. Runs of white space become one space.

    Parameters
    ----------
    paths : sequence of paths
    clips : mapping of split (``train``, ``test``) to its clips, in the order of the published arrays
        A clip may occur several times (it was presented several times); its first caption is used.

    Raises
    ------
    InputError
        If a file has another format or another number of captions, if two files contain the same clip, or if a
        caption is empty.
    """
    captions: dict[str, str] = {}
    for path in paths:
        if Path(path).suffix == ".tsv":
            found = read_captions([path])
        elif Path(path).suffix in {".h5", ".hdf5"}:
            found = _read_hdf5(Path(path), clips)
        else:
            raise InputError(f"Expected captions in a .tsv or .h5 file, got {path}.")
        if twice := captions.keys() & found.keys():
            raise InputError(f"Expected each clip in one caption file, got '{min(twice)}' in {path}, too.")
        for clip, text in found.items():
            captions[clip] = " ".join(text.split())
            if not captions[clip]:
                raise InputError(f"Expected a caption of clip '{clip}' in {path}, got an empty text.")
    return captions


def captions_of(captions: Mapping[str, str], clips: Sequence[str], where: str) -> list[str]:
    """Captions of the given clips, in the given order; raises `InputError` if one is missing."""
    missing = [clip for clip in clips if clip not in captions]
    if missing:
        named = ", ".join(f"'{clip}'" for clip in missing[:3])
        raise InputError(
            f"Expected a caption of every clip in {where}, found none of {len(missing)} clip(s): {named}"
            f"{', ...' if len(missing) > 3 else ''}."
        )
    return [captions[clip] for clip in clips]


def _read_hdf5(path: Path, clips: Mapping[str, Sequence[str]]) -> dict[str, str]:
    with open_arrays(path) as file:
        if {"clip", "caption"} <= set(file):
            return _unique(hdf5_texts(file["clip"]), hdf5_texts(file["caption"]), path)
        if len(file) != 1 or not isinstance(next(iter(file.values())), h5py.Dataset):
            raise InputError(
                f"Expected arrays 'clip' and 'caption', or one of captions, in {path}, got {sorted(file)}."
            )
        name = next(iter(file))
        texts = hdf5_texts(file[name])
    train, test = list(clips["train"]), list(clips["test"])
    split = name.lower().split("_")[0]
    choices = {"train": [train], "test": [test]}.get(split, [train + test, train])
    for names in choices:
        if len(names) == len(texts):
            # if a clip has several captions, the first one is used
            return dict(zip(reversed(names), reversed(texts), strict=True))
    counts = " or ".join(str(len(names)) for names in choices)
    raise InputError(f"Expected {counts} captions in '{name}' of {path}, got {len(texts)}.")


def _unique(clips: Sequence[str], captions: Sequence[str], path: Path | str) -> dict[str, str]:
    if len(clips) != len(captions):
        raise InputError(f"Expected one caption per clip in {path}, got {len(captions)} of {len(clips)}.")
    found: dict[str, str] = {}
    for clip, caption in zip(clips, captions, strict=True):
        if not clip.strip():
            raise InputError(
                f"Expected a clip's name for every caption in {path}, got '{clip}' ({caption!r})."
            )
        if clip in found:
            raise InputError(f"Expected each clip once in {path}, got '{clip}' twice.")
        found[clip] = caption
    return found
