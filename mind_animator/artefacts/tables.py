"""Tables as TSV (for reading) and Parquet (for programs), written atomically.

pandas is imported inside functions, because its import takes longer than many jobs.
"""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mind_animator.artefacts.files import atomic
from mind_animator.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


def write_table(path: Path | str, table: "pd.DataFrame") -> None:
    """Write a table in the format of its suffix: ``.tsv``, ``.csv`` or ``.parquet``."""
    with atomic(path) as temporary:
        if temporary.suffix == ".parquet":
            table.to_parquet(temporary, index=False)
        elif temporary.suffix in (".tsv", ".csv"):
            separator = "\t" if temporary.suffix == ".tsv" else ","
            table.to_csv(temporary, sep=separator, index=False, float_format="%.9g", na_rep="nan")
        else:
            raise ValueError(f"Expected a .tsv, .csv or .parquet path, got {path}.")


def write_rows(path: Path | str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows to a ``.tsv`` file in the format of `write_table`; missing values of a row are nan."""
    rows = list(rows)
    columns = list(dict.fromkeys(name for row in rows for name in row))

    def text_of(value: Any) -> str:
        return f"{value:.9g}" if isinstance(value, (float, np.floating)) else str(value)

    with atomic(path) as temporary, open(temporary, "w", newline="") as stream:
        lines = csv.writer(stream, delimiter="\t", lineterminator="\n")
        lines.writerow(columns)
        lines.writerows([text_of(row.get(name, float("nan"))) for name in columns] for row in rows)


def read_table(path: Path | str, columns: tuple[str, ...] = ()) -> "pd.DataFrame":
    """Read a ``.tsv`` or ``.parquet`` table and check that it has the named columns.

    Columns named ``clip``, ``movie``, ``segment``, ``subject`` and ``caption`` are always read as text.
    """
    import pandas as pd

    path = Path(path)
    if not path.is_file():
        raise InputError(f"Expected a table at {path}, found none.")
    if path.suffix == ".parquet":
        table = pd.read_parquet(path)
    else:
        text = {name: str for name in ("clip", "movie", "segment", "subject", "caption", "file")}
        try:
            names = pd.read_csv(path, sep="\t", nrows=0).columns
            missing = {name: ["nan", "NaN", "n/a"] for name in names if name not in text}
            table = pd.read_csv(path, sep="\t", dtype=text, keep_default_na=False, na_values=missing)
        except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
            raise InputError(f"Expected a tab-separated table in {path}, got: {error}.") from None
    missing = [name for name in columns if name not in table]
    if missing:
        raise InputError(f"Expected column '{missing[0]}' in {path}, got {list(table.columns)}.")
    return table
