"""Embeddings and features that were computed elsewhere: read, checked against the clips, and put in their order."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mind_animator.artefacts.foreign import foreign_names, read_foreign
from mind_animator.config.features import ReadyConfig
from mind_animator.errors import InputError

# Key of `features.ready` -> name of the array in the feature files, and its axes after the clip.
ARRAYS = {
    "text": ("clip_embedding_text", ("dim",)),
    "image": ("clip_embedding_image", ("dim",)),
    "prompt_embedding": ("prompt_embedding", ("token", "width")),
    "latents": ("latents", ("frame", "channel", "h", "w")),
}
# Name of the array that holds the clips' names in a file with rows in any order.
NAMES = "clip"


def read_ready(
    ready: ReadyConfig,
    clips: Sequence[str],
    listed: Sequence[str],
    splits: Mapping[str, str],
    *,
    tokens: int,
    frames: int,
) -> dict[str, np.ndarray]:
    """Features computed elsewhere, one row per clip.

    Parameters
    ----------
    ready : ReadyConfig
    clips : sequence of str
        Clips in the order of the result.
    listed : sequence of str
        The same clips in the order of the rows of the files (the table of clips).
    splits : mapping of clip to ``train`` or ``test``
    tokens : int
        Tokens of a prompt embedding, BOS included (``features.tokens``).
    frames : int
        Frames of a clip (``stimuli.frames``).

    Returns
    -------
    dict of name to ndarray, float32
        Those of ``clip_embedding_text`` and ``clip_embedding_image`` (clip, dim), ``prompt_embedding`` (clip,
        tokens - 1, width; BOS is dropped) and ``latents`` (clip, frame, channel, h, w) that are given.

    Raises
    ------
    InputError
        If a file has another number of rows or axes, other clips, values that are not finite, an embedding of
        length 0, or the embeddings of text and image differ in width.
    """
    found: dict[str, np.ndarray] = {}
    for key, source in ready.given.items():
        name, axes = ARRAYS[key]
        array = _rows(source, key, clips, listed, splits)
        if array.ndim != 1 + len(axes):
            raise InputError(
                f"features.ready.{key}: expected axes (clip, {', '.join(axes)}) in {source}, got shape {array.shape}."
            )
        bad = ~np.isfinite(array).reshape(len(array), -1).all(axis=1)
        if key in ("text", "image"):
            bad |= ~array.any(axis=1)
        if bad.any():
            clip = clips[int(np.argmax(bad))]
            raise InputError(
                f"features.ready.{key}: expected finite values other than 0 for every clip in {source}, got "
                f"{int(bad.sum())} clips without, the first '{clip}' (row {list(listed).index(clip)} of the table, "
                "from 0): compute them, or remove these clips from the table."
            )
        found[name] = array
    if {"clip_embedding_text", "clip_embedding_image"} <= set(found):
        widths = found["clip_embedding_text"].shape[1], found["clip_embedding_image"].shape[1]
        if widths[0] != widths[1]:
            raise InputError(
                f"features.ready: expected embeddings of text and image of one space, got widths {widths[0]} and "
                f"{widths[1]}: leave one of them out."
            )
    if "prompt_embedding" in found:
        given = found["prompt_embedding"].shape[1]
        if given not in (tokens - 1, tokens):
            raise InputError(
                f"features.ready.prompt_embedding: expected {tokens} tokens, BOS first, or {tokens - 1} without BOS "
                f"(features.tokens), got {given} in {ready.prompt_embedding}."
            )
        found["prompt_embedding"] = found["prompt_embedding"][:, given - (tokens - 1) :]
    if "latents" in found and found["latents"].shape[1] != frames:
        raise InputError(
            f"features.ready.latents: expected {frames} frames (stimuli.frames), got "
            f"{found['latents'].shape[1]} in {ready.latents}."
        )
    return found


def _rows(
    source: str, key: str, clips: Sequence[str], listed: Sequence[str], splits: Mapping[str, str]
) -> np.ndarray:
    """The array in the order of ``clips``, float32."""
    if "{split}" in source:
        parts = {}
        for split in ("train", "test"):
            own = [clip for clip in listed if splits[clip] == split]
            if own:
                parts |= dict(zip(own, _read(source.format(split=split), key, own), strict=True))
        return np.stack([parts[clip] for clip in clips])
    array = _read(source, key, listed)
    row_of = {clip: row for row, clip in enumerate(listed)}
    return array[[row_of[clip] for clip in clips]]


def _read(source: str, key: str, listed: Sequence[str]) -> np.ndarray:
    """One row for each of the listed clips, in their order."""
    array = read_foreign(source)
    if isinstance(array, list) or array.dtype.kind not in "biuf":
        raise InputError(f"features.ready.{key}: expected numbers in {source}, got texts or objects.")
    file = source.partition("::")[0]
    order = np.arange(len(listed))
    if Path(file).suffix in (".h5", ".hdf5") and NAMES in foreign_names(file):
        row_of = {str(name): row for row, name in enumerate(read_foreign(f"{file}::{NAMES}"))}
        missing = [clip for clip in listed if clip not in row_of]
        if missing:
            raise InputError(
                f"features.ready.{key}: expected clip '{missing[0]}' among the names '{NAMES}' of {file} "
                f"({len(missing)} of {len(listed)} missing)."
            )
        order = np.array([row_of[clip] for clip in listed])
    elif len(array) != len(listed):
        hint = ""
        if len(listed) in array.shape:
            hint = f" (shape {array.shape}: the axis of the clips must come first)"
        raise InputError(
            f"features.ready.{key}: expected {len(listed)} rows, one per clip of the table, in {source}, got "
            f"{len(array)}{hint}."
        )
    return np.asarray(array[order] if len(order) else array, np.float32)
