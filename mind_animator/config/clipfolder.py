"""Names, numbers and layout of a folder of existing videos."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from mind_animator.config.base import Fault, Strict


class GridConfig(Strict):
    """A row of images in every frame of a file, with constant padding around and between them.

    Attributes
    ----------
    columns : int
        Number of images in the row.
    column : int
        The image to read, counted from 0 on the left.
    padding : int
        Pixels of padding above, below, left, right and between.
    """

    columns: int = Field(2, ge=1)
    column: int = Field(0, ge=0)
    padding: int = Field(2, ge=0)

    @model_validator(mode="after")
    def _column_inside(self) -> "GridConfig":
        if self.column >= self.columns:
            raise Fault("column", f"must be less than columns ({self.columns})", self.column)
        return self


class LayoutConfig(Strict):
    """Layout of one folder of clips (ground truth or prediction).

    Attributes
    ----------
    name : str
        File name without its suffix, or name of a folder of frames. ``{number}`` stands for digits
        (``gt_{number}``), ``{clip}`` for any text; exactly one of them is required. ``*`` stands for any text, which is
        ignored.
    first : int
        Number of the first clip, 0 or 1; keys are always counted from 0.
    suffix : str, optional
        Only files with this suffix (``.mp4``), or only folders (``/``), are clips; required if a clip has
        several files.
    grid : GridConfig, optional
        Grid, if every frame is a row of several images.
    channels : str
        ``bgr`` if red and blue are swapped in the files (as in some published AVI files).
    rate : float, optional
        Frames per second; replaces the times of the file. Only used with ``timing: clock``.
    """

    name: str = "{clip}"
    first: Literal[0, 1] = 0
    suffix: str | None = Field(None, pattern=r"^(/|\.[a-z0-9]+)$")
    grid: GridConfig | None = None
    channels: Literal["rgb", "bgr"] = "rgb"
    rate: float | None = Field(None, gt=0)

    @field_validator("name")
    @classmethod
    def _one_placeholder(cls, name: str) -> str:
        if name.count("{number}") + name.count("{clip}") != 1 or "/" in name:
            raise ValueError("must contain exactly one of {number} and {clip}, and no '/'")
        return name


PRESETS: dict[str, tuple[LayoutConfig, LayoutConfig]] = {
    # ground truth, prediction
    "neuroclips": (LayoutConfig(name="gt_{number}"), LayoutConfig(name="{number}")),
    "mind_video": (
        LayoutConfig(name="test{number}", first=1, grid=GridConfig(column=0)),
        LayoutConfig(name="test{number}", first=1, grid=GridConfig(column=1)),
    ),
    "mind_animator": (
        LayoutConfig(name="{clip}", grid=GridConfig(column=0)),
        LayoutConfig(name="{clip}", grid=GridConfig(column=1)),
    ),
    # number-caption.gif, as scripts/neuroclips_video_enhance.py of github.com/xmed-lab/NEURONS writes them
    "neurons": (
        LayoutConfig(name="{number}-*", grid=GridConfig(column=0)),
        LayoutConfig(name="{number}-*", grid=GridConfig(column=1)),
    ),
}


class ClipFolderConfig(Strict):
    """A folder of predictions as a method: options of the method type ``folder``.

    Attributes
    ----------
    path : str
        The folder; ``{subject}`` is replaced by the subject.
    preset : str, optional
        Name of a published layout, as an alternative to ``layout``.
    layout : LayoutConfig
        Names, numbers and grid of the files. ``{number}`` is the index in the list of test clips.
    timing : str
        ``stretch`` (default): a file is assumed to span the whole clip, regardless of its nominal frame rate (many
        files are saved at an arbitrary rate); ``clock``: the time stamps of the file are used, and its last
        frame is shown until the clip ends.
    """

    path: str
    preset: Literal["neuroclips", "mind_video", "mind_animator", "neurons"] | None = None
    layout: LayoutConfig = LayoutConfig(name="{number}")
    timing: Literal["stretch", "clock"] = "stretch"

    def prediction_layout(self) -> LayoutConfig:
        """The layout of the predictions."""
        return PRESETS[self.preset][1] if self.preset else self.layout
