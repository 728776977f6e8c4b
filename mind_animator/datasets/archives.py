"""What there is to download of the public data sets, read from the versioned table ``archives.yaml``.

URLs, sizes and checksums live in the table alone. ``null`` there means that nobody has stated the value.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("archives.yaml")


@dataclass(frozen=True)
class Archive:
    """One file to download: a zip of many files, or a file by itself.

    Attributes
    ----------
    name : str
        Short name, e.g. ``subject1``.
    file : str
        Where it lands, relative to the data folder.
    urls : tuple of str
        Mirrors, tried in turn; empty where a person has to fetch it.
    gives : tuple of str
        Files that the pipeline reads, relative to the data folder; ``(file,)`` where it is not a zip.
    size, sha256 : optional
        What its publisher states.
    page : str
        Where terms are accepted and the data described.
    anonymous : bool
        For S3: no credentials are needed.
    listing : str
        Address of a list of files (OSF's API) that tells URL, size and checksum of the file whose path ends
        in ``file``; empty where ``urls`` are known.
    """

    name: str
    file: str
    urls: tuple[str, ...]
    gives: tuple[str, ...]
    size: int | None = None
    sha256: str | None = None
    page: str = ""
    anonymous: bool = False
    listing: str = ""

    @property
    def fetched(self) -> bool:
        """Whether it can be fetched without a person."""
        return bool(self.urls or self.listing)

    @property
    def zipped(self) -> bool:
        """Whether files have to be unpacked from it."""
        return self.gives != (self.file,)


@cache
def describe(source: str) -> dict[str, Any]:
    """The table's entry of a source: ``page``, ``terms``, ``licence``, ``archives`` by name.

    Raises
    ------
    KeyError
        If there is no such source.
    """
    import yaml

    return yaml.safe_load(TABLE.read_text())["sources"][source]


def archive(source: str, name: str, gives: tuple[str, ...] | None = None, **places: str) -> Archive:
    """An archive of the table.

    Parameters
    ----------
    source, name : str
        Keys of the table.
    gives : tuple of str, optional
        Files in it that the pipeline reads; by default it is such a file itself.
    **places : str
        Values for the ``{placeholders}`` of file and URLs; with any, they become part of the name.
    """
    described = describe(source)
    row = described["archives"][name]
    file = row["file"].format(**places)
    return Archive(
        name="-".join([name, *places.values()]),
        file=file,
        urls=tuple(url.format(**places) for url in row["urls"]),
        gives=(file,) if gives is None else gives,
        size=row["size"],
        sha256=row["sha256"],
        page=described["page"],
        anonymous=described.get("anonymous", False),
        listing="" if row["urls"] else described.get("listing", ""),
    )
