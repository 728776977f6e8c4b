"""One self-contained page from tables, figures and videos: no outside link, works from a file."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd

TEMPLATE = Path(__file__).with_name("page.html.j2")


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes
    ----------
    id, title, text : str
        Anchor, heading, one paragraph of plain text.
    figures : list of Figure
    tables : list of HTML tables (from `table_html`)
    rows : list of VideoRow
        Videos side by side, one row a clip.
    columns : list of str
        Headings of the videos in a row.
    svg : str
        A drawing of its own.
    """

    id: str
    title: str
    text: str = ""
    figures: Sequence["Figure"] = ()
    tables: Sequence[str] = ()
    rows: Sequence["VideoRow"] = ()
    columns: Sequence[str] = ()
    svg: str = ""


@dataclass(frozen=True)
class Figure:
    """A picture as a data URI, with its caption."""

    source: str
    caption: str


@dataclass(frozen=True)
class VideoRow:
    """One clip: its name, caption and videos (data URIs of mp4 files)."""

    name: str
    caption: str
    videos: Sequence[str] = field(default_factory=list)


def data_uri(path: Path | str) -> str:
    """A file as a data URI (png, svg, mp4)."""
    path = Path(path)
    kinds = {".png": "image/png", ".svg": "image/svg+xml", ".mp4": "video/mp4"}
    if path.suffix not in kinds:
        raise ValueError(f"Expected one of {sorted(kinds)}, got {path.name}.")
    return f"data:{kinds[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"


def enlarge(frames: np.ndarray, size: int) -> np.ndarray:
    """Repeat pixels so that small frames (frame, height, width, 3) are at least ``size`` high; whole factors."""
    factor = max(1, size // frames.shape[1])
    return frames.repeat(factor, axis=1).repeat(factor, axis=2)


def table_html(table: pd.DataFrame, formats: Mapping[str, str] | None = None) -> str:
    """A table as HTML, numbers right-aligned; ``formats`` maps a column to a format string such as ``'{:.3f}'``."""
    formatters = {name: text.format for name, text in (formats or {}).items() if name in table}
    return table.to_html(index=False, border=0, escape=True, na_rep="", formatters=formatters, classes="data")


def build_page(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """The page's HTML.

    Parameters
    ----------
    title, subtitle : str
        Plain text.
    sections : sequence of Section
        In reading order; empty ones (no text, figure, table, video, drawing) are errors.
    """
    for section in sections:
        if not (section.text or section.figures or section.tables or section.rows or section.svg):
            raise ValueError(f"Expected content in section '{section.id}', got none.")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string(TEMPLATE.read_text())
    return template.render(title=title, subtitle=subtitle, sections=sections)
