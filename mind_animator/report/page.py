"""A self-contained page of text, tables, figures, drawings and videos, without external resources."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np

TEMPLATE = Path(__file__).with_name("page.html.j2")


@dataclass(frozen=True)
class Tile:
    """A key result: label, value, interval, and the value for comparison."""

    label: str
    value: str
    interval: str
    against: str


@dataclass(frozen=True)
class Cell:
    """A cell of a table: text, a smaller note below it, and whether it is highlighted."""

    text: str
    note: str = ""
    strong: bool = False


@dataclass(frozen=True)
class Group:
    """Rows of a table under a title; the first cell of a row is its head."""

    rows: Sequence[Sequence[Cell | str]]
    title: str = ""
    text: str = ""


@dataclass(frozen=True)
class Table:
    """A table. Columns from ``faint`` are de-emphasised, ``folded`` tables are opened by a click, ``prose``
    is wrapped."""

    head: Sequence[str]
    groups: Sequence[Group]
    title: str = ""
    faint: int | None = None
    folded: bool = False
    prose: bool = False


@dataclass(frozen=True)
class Figure:
    """An image as a data URI, with its caption; a ``wide`` image fills the whole row."""

    source: str
    caption: str
    wide: bool = False


@dataclass(frozen=True)
class VideoRow:
    """One clip: its name, a caption, and one video (data URI of an mp4) of all columns side by side."""

    name: str
    caption: str
    video: str


@dataclass(frozen=True)
class Section:
    """One part of the page.

    Attributes
    ----------
    id, title, nav : str
        Anchor, heading, and name in the navigation bar (the heading by default).
    text : str
        Description of the section in one to three sentences.
    columns : sequence of str
        Labels of the columns of each video.
    svg : str
        A drawing in SVG.
    folded : sequence of (title, text)
        Preformatted texts that are opened by a click.
    """

    id: str
    title: str
    text: str = ""
    nav: str = ""
    tiles: Sequence[Tile] = ()
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    rows: Sequence[VideoRow] = ()
    columns: Sequence[str] = ()
    svg: str = ""
    folded: Sequence[tuple[str, str]] = ()


def data_uri(path: Path | str) -> str:
    """A file as a data URI (png, svg, mp4)."""
    path = Path(path)
    kinds = {".png": "image/png", ".svg": "image/svg+xml", ".mp4": "video/mp4"}
    if path.suffix not in kinds:
        raise ValueError(f"Expected one of {sorted(kinds)}, got {path.name}.")
    return f"data:{kinds[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"


def enlarge(frames: np.ndarray, size: int) -> np.ndarray:
    """Enlarge small frames (frame, height, width, 3) by a whole factor to a height of at least ``size``."""
    factor = max(1, size // frames.shape[1])
    return frames.repeat(factor, axis=1).repeat(factor, axis=2)


def side_by_side(videos: Sequence[np.ndarray], gap: int = 6) -> np.ndarray:
    """Join videos of equal size, each (frame, height, width, 3), side by side into one video with white gaps."""
    white = np.full_like(videos[0][:, :, :gap], 255)
    parts = [part for video in videos for part in (white, video)][1:]
    joined = np.concatenate(parts, axis=2)
    return joined[:, : joined.shape[1] // 2 * 2, : joined.shape[2] // 2 * 2]


def build_page(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """The page's HTML.

    Parameters
    ----------
    title, subtitle : str
        Plain text.
    sections : sequence of Section
        Sections in reading order; a section with only a title is an error.
    """
    for section in sections:
        parts = (section.text, section.tiles, section.figures, section.tables, section.rows, section.svg)
        if not any(parts):
            raise ValueError(f"Expected content in section '{section.id}', got none.")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string(TEMPLATE.read_text())
    return template.render(title=title, subtitle=subtitle, sections=sections)
