"""Downloads of the public data sets, read from the versioned table ``archives.yaml``.

URLs, sizes and checksums are stored only in the table. ``null`` means that the publisher does not state the value.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("archives.yaml")


@dataclass(frozen=True)
class Archive:
    """One file to download: a zip archive or a single file.

    Attributes
    ----------
    name : str
        Short name, e.g. ``subject1``.
    file : str
        Destination, relative to the data folder.
    urls : tuple of str
        Mirrors, tried in turn; empty if the file must be obtained manually.
    gives : tuple of str
        Files that the pipeline reads, relative to the data folder; ``(file,)`` if it is not a zip archive.
    size, sha256 : optional
        Values stated by the publisher.
    page : str
        Web page with the description of the data and the data-use terms.
    anonymous : bool
        For S3: no credentials are required.
    listing : str
        URL of a list of files (OSF API) that contains URL, size and checksum of the file whose path ends in ``file``;
        empty if ``urls`` are known.
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
        """Whether the file can be downloaded automatically."""
        return bool(self.urls or self.listing)

    @property
    def zipped(self) -> bool:
        """Whether files must be unpacked from it."""
        return self.gives != (self.file,)


@cache
def describe(source: str) -> dict[str, Any]:
    """The table entry of a source: ``page``, ``terms``, ``licence``, and ``archives`` by name.

    Raises
    ------
    KeyError
        If there is no such source.
    """
    import yaml

    return yaml.safe_load(TABLE.read_text())["sources"][source]


def archive(source: str, name: str, gives: tuple[str, ...] | None = None, **fields: str) -> Archive:
    """An archive of the table.

    Parameters
    ----------
    source, name : str
        Keys of the table.
    gives : tuple of str, optional
        Files in the archive that the pipeline reads; by default the archive itself is such a file.
    **fields : str
        Values of the ``{placeholders}`` in file and URLs; they are also appended to the name.
    """
    described = describe(source)
    row = described["archives"][name]
    file = row["file"].format(**fields)
    return Archive(
        name="-".join([name, *fields.values()]),
        file=file,
        urls=tuple(url.format(**fields) for url in row["urls"]),
        gives=(file,) if gives is None else gives,
        size=row["size"],
        sha256=row["sha256"],
        page=described["page"],
        anonymous=described.get("anonymous", False),
        listing="" if row["urls"] else described.get("listing", ""),
    )
