"""Responses that are preprocessed already: arrays, a table of clips, what there is of films and captions.

The table (TSV) has one row a clip, in the order of the responses:

=========  ==============================================================================================
split      ``train`` or ``test``
movie      what must never be divided between training, validation and test
segment    optional: clips that are worked on together; by default whole movies in packs of some 240 clips
file       optional: the film, relative to ``stimuli``; with ``onset`` and ``duration`` in seconds
caption    optional: ready captions
=========  ==============================================================================================

What is missing is left out: without films and frames there is nothing to reconstruct from, captions alone
give the semantic decoder and retrieval. Presets describe the published mirrors.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from mind_animator.artefacts.texts import read_text_rows
from mind_animator.config.base import Strict
from mind_animator.datasets.archives import Archive, archive
from mind_animator.datasets.base import Dataset, Run, Segment
from mind_animator.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from mind_animator.config.fmri import FmriConfig

PACK = 240
_RESPONSE_AXES = {"clip", "voxel", "repeat"}
_FRAME_AXES = {"clip", "frame", "height", "width", "channel"}


class ArraysOptions(Strict):
    """Where the arrays are and how they lie. Paths are relative to the data folder.

    Attributes
    ----------
    preset : str, optional
        ``neuroclips``: CC2017 as the authors of NeuroClips published it on Hugging Face (subjects 1, 2, 3).
        ``mind_animator``: CC2017's test set as the authors of Mind-Animator published it on OSF (subjects 1,
        2, 3): films and responses of the test clips, nothing to train on.
    clips : str, optional
        The table of clips; needed without a preset.
    responses : str
        File with ``{subject}``, and ``{split}`` or ``{segment}`` where each has a file of its own;
        ``file::name`` picks one of several arrays.
    axes : str
        Order of the responses' axes, of ``clip``, ``voxel`` and, where showings are apart, ``repeat``.
    frames : str, optional
        File of ready frames, with ``{split}`` or ``{segment}`` where each has one.
    frame_axes : str
        Order of the frames' axes: ``clip``, ``frame``, ``height``, ``width``, ``channel``.
    captions : str, optional
        File of captions in the order of the responses, with ``{split}`` or ``{segment}`` where each has one.
    stimuli : str
        Folder of the films that the table names.
    areas : str, optional
        TSV with columns ``voxel`` (index) and ``area``; ``{subject}`` where they differ.
    space : str
        ``fs_LR_32k`` where voxels are the 59,412 cortical vertices, else ``none``.
    tr : float
        Repetition time, seconds; for figures only, since the responses are aligned already.
    """

    preset: Literal["neuroclips", "mind_animator"] | None = None
    clips: str | None = None
    responses: str = "sub-{subject}.npy"
    axes: str = "clip voxel"
    frames: str | None = None
    frame_axes: str = "clip frame height width channel"
    captions: str | None = None
    stimuli: str = "stimuli"
    areas: str | None = None
    space: Literal["fs_LR_32k", "none"] = "none"
    tr: float = Field(2.0, gt=0)


_OSF = "Testset_of_Preprocessed_datasets/CC2017"
PRESETS: dict[str, dict[str, Any]] = {
    # test responses keep ten showings on axis 1; 3 frames a second of 2-s clips
    "neuroclips": {
        "responses": "subj0{subject}_{split}_fmri.pt",
        "axes": {"train": "clip voxel", "test": "clip repeat voxel"},
        "frames": "GT_{split}_3fps.pt",
        "frame_axes": "clip frame channel height width",
        "captions": "GT_{split}_caption.pt",
        "subjects": ("1", "2", "3"),
        "movies": (
            *((f"seg{n}", "train") for n in range(1, 19)),
            *((f"test{n}", "test") for n in range(1, 6)),
        ),
        "source": "neuroclips",
    },
    # responses are averaged over showings and scaled by the test clips' own mean and deviation
    "mind_animator": {
        "responses": f"{_OSF}/fMRI_data/sub{{subject}}/Test/masked4500_test_data.npy",
        "axes": "clip voxel",
        "frames": None,
        "captions": None,
        "stimuli": f"{_OSF}/stimuli_clips/Test",
        "films": "{movie}_{number}.mp4",
        "subjects": ("1", "2", "3"),
        "movies": tuple((f"test{n}", "test") for n in range(1, 6)),
        "source": "mind_animator",
    },
}


class Arrays(Dataset):
    """The adapter; see the module's text for the table of clips."""

    name = "arrays"
    Options: ClassVar[type[Strict]] = ArraysOptions

    def __init__(self, config) -> None:
        super().__init__(config)
        self.tr = self.options.tr
        self.areas_of = self.options.space
        self.has_areas = self.options.areas is not None or self.areas_of != "none"
        preset = PRESETS.get(self.options.preset, {})
        self._responses = preset.get("responses", self.options.responses)
        self._axes = preset.get("axes", self.options.axes)
        self._frames = preset.get("frames", self.options.frames)
        self._frame_axes = preset.get("frame_axes", self.options.frame_axes)
        self._captions = preset.get("captions", self.options.captions)
        self._stimuli = self.root / preset.get("stimuli", self.options.stimuli)
        self._rows = _preset_rows(preset) if preset else self._read_table()
        self._check_axes()
        self.has_stimuli = self._frames is not None or "file" in self._rows[0]
        self.has_captions = self._captions is not None or "caption" in self._rows[0]
        if not (self.has_stimuli or self.has_captions):
            raise InputError("Expected any of films, frames or captions (dataset.options), got none of them.")
        self._segments, self._clips_of = _pack(self._rows)

    def _subjects(self) -> tuple[str, ...]:
        preset = PRESETS.get(self.options.preset)
        known = preset["subjects"] if preset else None
        for subject in self.config.subjects:
            if known and subject not in known:
                raise InputError(f"Expected dataset.subjects to be of {list(known)}, got '{subject}'.")
            if not subject.isalnum():
                raise InputError(f"Expected dataset.subjects of letters and digits, got '{subject}'.")
        if not self.config.subjects and not known:
            raise InputError("Expected dataset.subjects to name the subjects (arrays do not tell), got none.")
        return self.config.subjects or known

    @property
    def segments(self) -> tuple[Segment, ...]:
        return self._segments

    def stimulus_files(self, segment: str) -> list[Path]:
        rows = self._of(segment)
        if self._frames is not None:
            return [self._place(self._frames, segment)]
        if "file" not in rows[0]:
            return []
        return list(dict.fromkeys(self._stimuli / row["file"] for row in rows))

    def clip_table(self, segment: str) -> "pd.DataFrame":
        import pandas as pd

        described = next(known for known in self.segments if known.id == segment)
        rows = self._of(segment)
        films = [str(self._stimuli / row["file"]) if "file" in row else "" for row in rows]
        return pd.DataFrame(
            {
                "clip": described.clips,
                "segment": segment,
                "movie": [row["movie"] for row in rows],
                "file": films,
                "onset": [float(row.get("onset", 0.0)) for row in rows],
                "duration": [float(row.get("duration", self.tr)) for row in rows],
                "split": described.split,
            }
        )

    def frames(self, segment: str) -> "np.ndarray | None":
        if self._frames is None:
            return None
        import numpy as np

        path = self._place(self._frames, segment, named=True)
        names = self._frame_axes.split()
        array = self._array(path, names, segment, self._frames)
        order = [names.index(axis) for axis in ("clip", "frame", "height", "width", "channel")]
        frames = array.transpose(order)
        if frames.shape[4] != 3:
            raise InputError(f"Expected 3 colours on axis 'channel' in {path}, got {frames.shape[4]}.")
        if frames.dtype == np.uint8:
            return np.ascontiguousarray(frames)
        low, high = float(frames.min()), float(frames.max())
        if not (np.isfinite([low, high]).all() and low >= 0 and high <= 255):
            raise InputError(f"Expected frames in [0, 1] or [0, 255] in {path}, got {low:g} to {high:g}.")
        scale = 255 if high <= 1 else 1
        return np.rint(np.asarray(frames, np.float32) * scale).astype(np.uint8)

    def caption_files(self) -> list[Path]:
        if self._captions is None:
            return []
        return list(dict.fromkeys(self._place(self._captions, segment.id) for segment in self.segments))

    def captions(self) -> "pd.DataFrame":
        import pandas as pd

        from mind_animator.artefacts.foreign import read_foreign

        if not self.has_captions:
            return super().captions()
        texts: list[str] = []
        for segment in self.segments:
            rows = self._of(segment.id)
            if self._captions is None:
                texts += [row["caption"] for row in rows]
                continue
            path = self._place(self._captions, segment.id, named=True)
            here = read_foreign(path)
            if not isinstance(here, list):
                raise InputError(f"Expected a list of texts in {path}, got an array.")
            self._check_count(path, len(here), segment.id, self._captions)
            texts += [here[self._row(row, self._captions)] for row in rows]
        clips = [clip for segment in self.segments for clip in segment.clips]
        return pd.DataFrame({"clip": clips, "caption": texts})

    def response_files(self, subject: str, segment: str) -> list[Path]:
        return [self._place(self._responses, segment, subject=subject)]

    def responses(self, subject: str, segment: str, settings: "FmriConfig") -> "Iterator[np.ndarray]":
        return (run.values for run in self.runs(subject, segment, settings))

    def runs(self, subject: str, segment: str, settings: "FmriConfig") -> Iterator[Run]:
        """One run a showing. Used as they come: ``fmri.lag`` and detrending do not apply."""
        import numpy as np

        path = self._place(self._responses, segment, subject=subject, named=True)
        names = self._axes_of(segment)
        array = self._array(path, names, segment, self._responses)
        order = [names.index(axis) for axis in ("clip", "repeat", "voxel") if axis in names]
        array = array.transpose(order)
        array = array[:, None] if array.ndim == 2 else array
        for repeat in range(array.shape[1]):
            yield Run(
                f"{Path(path).name}_{repeat + 1}", _mended(np.array(array[:, repeat], np.float32), path)
            )

    def area_names(self, subject: str) -> "list[str] | None":
        if self.options.areas is not None:
            from mind_animator.artefacts.tables import read_table

            table = read_table(self.root / self.options.areas.format(subject=subject), ("voxel", "area"))
            return table.sort_values("voxel")["area"].astype(str).tolist()
        if self.options.space == "fs_LR_32k":
            from mind_animator.artefacts.cortex import area_names

            return area_names().tolist()
        return None

    def archives(self) -> tuple[Archive, ...]:
        preset = PRESETS.get(self.options.preset)
        if preset is None:
            return ()
        files = [str(path.relative_to(self.root)) for path in self.sources()]
        return tuple(archive(preset["source"], "file", path=file) for file in files)

    # --- the table of clips ---

    def _read_table(self) -> list[dict[str, str]]:
        """Rows of the table of clips, by the standard library: the Snakefile reads it at every start."""
        if self.options.clips is None:
            raise InputError(
                "Expected dataset.options.clips to name a table of clips, or a preset, got neither."
            )
        path = self.root / self.options.clips
        if not path.is_file():
            raise InputError(f"Expected the table of clips at {path}, found none (dataset.options.clips).")
        rows = read_text_rows(path)
        if not rows:
            raise InputError(f"Expected clips in {path}, got none.")
        for column in ("split", "movie", *(("onset", "duration") if "file" in rows[0] else ())):
            if column not in rows[0]:
                raise InputError(f"Expected column '{column}' in {path}, got {list(rows[0])}.")
        for number, row in enumerate(rows, 2):
            if row["split"] not in ("train", "test"):
                raise InputError(
                    f"Expected split 'train' or 'test' in line {number} of {path}, got '{row['split']}'."
                )
            if "file" in row:
                try:
                    wrong = not (float(row["onset"]) >= 0 and float(row["duration"]) > 0)
                except (TypeError, ValueError):
                    wrong = True
                if wrong:
                    got = f"onset '{row['onset']}', duration '{row['duration']}'"
                    raise InputError(f"Expected seconds in line {number} of {path}, got {got}.")
        sides: dict[str, str] = {}
        for row in rows:
            if sides.setdefault(row["movie"], row["split"]) != row["split"]:
                raise InputError(f"Expected movie '{row['movie']}' in one split, got it in both ({path}).")
        if len(set(sides.values())) != 2:
            raise InputError(
                f"Expected clips of both splits in {path}, got {sorted(set(sides.values()))} alone."
            )
        return rows

    def _of(self, segment: str) -> list[dict[str, Any]]:
        if segment not in self._clips_of:
            raise InputError(f"Expected a segment of {[s.id for s in self.segments]}, got '{segment}'.")
        return self._clips_of[segment]

    # --- arrays ---

    def _check_axes(self) -> None:
        for split in ("train", "test"):
            axes = self._axes if isinstance(self._axes, str) else self._axes[split]
            names = axes.split()
            if not {"clip", "voxel"} <= set(names) <= _RESPONSE_AXES or len(set(names)) != len(names):
                raise InputError(
                    f"Expected dataset.options.axes of 'clip', 'voxel' and 'repeat', got '{axes}'."
                )
        if sorted(self._frame_axes.split()) != sorted(_FRAME_AXES):
            raise InputError(
                f"Expected dataset.options.frame_axes of {sorted(_FRAME_AXES)}, got '{self._frame_axes}'."
            )

    def _axes_of(self, segment: str) -> list[str]:
        split = self._of(segment)[0]["split"]
        return (self._axes if isinstance(self._axes, str) else self._axes[split]).split()

    def _place(self, pattern: str, segment: str, *, named: bool = False, subject: str = "") -> Path:
        split = self._of(segment)[0]["split"]
        try:
            place = pattern.format(subject=subject, split=split, segment=segment)
        except (KeyError, IndexError):
            raise InputError(
                f"Expected only {{subject}}, {{split}} and {{segment}} in braces, got '{pattern}' "
                "(dataset.options)."
            ) from None
        return self.root / (place if named else place.partition("::")[0])

    def _array(self, path: Path, names: list[str], segment: str, pattern: str) -> "np.ndarray":
        """The segment's clips of an array."""
        from mind_animator.artefacts.foreign import read_foreign

        array = read_foreign(path)
        if isinstance(array, list) or array.ndim != len(names):
            told = "texts" if isinstance(array, list) else f"shape {array.shape}"
            raise InputError(f"Expected axes '{' '.join(names)}' in {path}, got {told} (dataset.options).")
        axis = names.index("clip")
        self._check_count(path, array.shape[axis], segment, pattern)
        return array.take([self._row(row, pattern) for row in self._of(segment)], axis=axis)

    def _row(self, row: dict[str, Any], pattern: str) -> int:
        """Where a clip lies in a file: by its rank in the table, in its split, or in its segment."""
        return row[
            "in_segment" if "{segment}" in pattern else "in_split" if "{split}" in pattern else "in_table"
        ]

    def _check_count(self, path: Path, count: int, segment: str, pattern: str) -> None:
        split = self._of(segment)[0]["split"]
        expected = len(self._rows)
        if "{segment}" in pattern:
            expected = len(self._of(segment))
        elif "{split}" in pattern:
            expected = sum(row["split"] == split for row in self._rows)
        if count != expected:
            raise InputError(f"Expected {expected} clips (the table's) in {path}, got {count}.")


def _preset_rows(preset: dict[str, Any]) -> list[dict[str, str]]:
    rows = []
    for movie, split in preset["movies"]:
        for number in range(1, PACK + 1):
            row = {"split": split, "movie": movie, "segment": movie}
            if "films" in preset:
                film = preset["films"].format(movie=movie, number=number)
                row |= {"file": film, "onset": "0", "duration": "2"}
            rows.append(row)
    return rows


def _pack(rows: list[dict[str, Any]]) -> tuple[tuple[Segment, ...], dict[str, list[dict[str, Any]]]]:
    """Segments, training first, and their rows; whole movies together, in the order of the table."""
    counts = {"train": 0, "test": 0}
    for number, row in enumerate(rows):
        row["in_table"], row["in_split"] = number, counts[row["split"]]
        counts[row["split"]] += 1
    clips_of: dict[str, list[dict[str, Any]]] = {}
    for split in ("train", "test"):
        mine = [row for row in rows if row["split"] == split]
        if "segment" in rows[0]:
            for row in mine:
                if not re.fullmatch(r"[A-Za-z0-9_]+", row["segment"]):
                    raise InputError(f"Expected segments of letters, digits and '_', got '{row['segment']}'.")
                clips_of.setdefault(row["segment"], []).append(row)
            continue
        pack: list[dict[str, Any]] = []
        packs = [pack]
        by_movie: dict[str, list[dict[str, Any]]] = {}
        for row in mine:
            by_movie.setdefault(row["movie"], []).append(row)
        for movie in by_movie.values():
            if pack and len(pack) + len(movie) > PACK:
                pack = []
                packs.append(pack)
            pack += movie
        clips_of |= {f"{split}{number:03d}": pack for number, pack in enumerate(packs)}
    for name, mine in clips_of.items():
        if len({row["split"] for row in mine}) > 1:
            raise InputError(f"Expected segment '{name}' in one split, got it in both.")
        for number, row in enumerate(mine):
            row["in_segment"] = number
    return tuple(Segment(name, mine[0]["split"], len(mine)) for name, mine in clips_of.items()), clips_of


def _mended(values: "np.ndarray", path: Path) -> "np.ndarray":
    """Clips without any value stay NaN; voxels that lack some become constant, and are told of."""
    import sys

    import numpy as np

    finite = np.isfinite(values)
    missing = ~finite.any(axis=1)
    broken = ~finite[~missing].all(axis=0)
    if broken.any():
        print(
            f"{path}: {int(broken.sum())} of {len(broken)} voxels lack values; they are left out",
            file=sys.stderr,
        )
        values[:, broken] = 0
    values[missing] = np.nan
    return values


ADAPTER = Arrays
