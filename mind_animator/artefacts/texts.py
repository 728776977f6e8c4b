"""Text files of users: tab-separated tables and texts in HDF5, read literally and strictly.

The module imports no large package, because the Snakefile reads tables of clips at every start.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mind_animator.errors import InputError

if TYPE_CHECKING:
    import h5py

_OTHER_ENCODINGS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


def read_text_rows(path: Path | str, columns: Sequence[str] = ()) -> list[dict[str, str]]:
    """Rows of a tab-separated table as text, one row per line.

    Every field is read literally: "nan", "NA" and "None" are words, and a quotation mark is an ordinary character.
    There is one exception, for tables written by pandas or R: a field enclosed in quotation marks whose inner quotation
    marks are all doubled is unquoted if it contains one, or if the header line is also quoted in this way. The file is
    UTF-8, with or without a byte order mark; lines end in LF or CRLF (or in CR throughout the file); empty lines are
    skipped.

    Parameters
    ----------
    path : path
    columns : sequence of str
        Required columns of the table; others are allowed.

    Returns
    -------
    list of dict of column to str

    Raises
    ------
    InputError
        If the file is absent, empty or not UTF-8, if a column is missing or occurs twice, or if the number of fields
        of a line differs from that of the header.
    """
    text = _decode(Path(path))
    if "\n" not in text:
        text = text.replace("\r", "\n")
    lines = [(number, line.removesuffix("\r")) for number, line in enumerate(text.split("\n"), 1)]
    lines = [(number, line) for number, line in lines if line]
    if not lines:
        raise InputError(f"Expected a table with a header line in {path}, got an empty file.")
    quoted = all(_is_quoted(field) for field in lines[0][1].split("\t"))
    header = [_unquoted(field, quoted) for field in lines[0][1].split("\t")]
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise InputError(f"Expected different names of columns in {path}, got '{twice}' twice.")
    if missing := [name for name in columns if name not in header]:
        raise InputError(f"Expected column '{missing[0]}' in {path}, got {header}.")
    rows = []
    for number, line in lines[1:]:
        fields = line.split("\t")
        if len(fields) != len(header):
            raise InputError(
                f"{path}, line {number}: expected {len(header)} fields ({', '.join(header)}) separated by tabs, "
                f"got {len(fields)}. Replace tabs and line breaks inside a text by blanks."
            )
        rows.append(dict(zip(header, (_unquoted(field, quoted) for field in fields), strict=True)))
    return rows


def hdf5_texts(dataset: "h5py.Dataset") -> list[str]:
    """Texts of a one-dimensional HDF5 data set: strings of any kind, or bytes in UTF-8.

    Raises
    ------
    InputError
        If it contains numbers, has several dimensions, or a text is not UTF-8.
    """
    import h5py
    import numpy as np

    where = f"'{dataset.name.removeprefix('/')}' of {dataset.file.filename}"
    if h5py.check_string_dtype(dataset.dtype) is None or dataset.ndim != 1:
        raise InputError(
            f"Expected a list of texts in {where}, got {dataset.dtype} of shape {dataset.shape}."
        )
    texts = []
    for index, value in enumerate(dataset[:]):
        try:
            texts.append(
                bytes(value).rstrip(b"\0").decode() if isinstance(value, (bytes, np.bytes_)) else value
            )
        except UnicodeDecodeError as error:
            raise InputError(
                f"Expected UTF-8 texts in {where}, got {error.object!r} at index {index}."
            ) from None
    return texts


def _decode(path: Path) -> str:
    if not path.is_file():
        raise InputError(f"Expected a table at {path}, found none.")
    content = path.read_bytes()
    advice = "save the table as UTF-8"
    if encoding := _OTHER_ENCODINGS.get(content[:2]):
        raise InputError(f"Expected UTF-8 text in {path}, got {encoding}: {advice}.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        byte = content[error.start]
        raise InputError(
            f"Expected UTF-8 text in {path}, got byte 0x{byte:02x} in line {line}: {advice}."
        ) from None
    if "\0" in text:
        raise InputError(f"Expected UTF-8 text in {path}, got zero bytes: {advice}.")
    return text


def _is_quoted(field: str) -> bool:
    inner = field[1:-1].replace('""', "")
    return len(field) >= 2 and field[0] == field[-1] == '"' and '"' not in inner


def _unquoted(field: str, quoted: bool) -> str:
    if _is_quoted(field) and (quoted or '""' in field[1:-1]):
        return field[1:-1].replace('""', '"')
    return field
