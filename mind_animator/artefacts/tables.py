"""Tables as TSV (for people) and Parquet (for programs), written atomically."""

from pathlib import Path

import pandas as pd

from mind_animator.artefacts.files import atomic
from mind_animator.errors import InputError


def write_table(path: Path | str, table: pd.DataFrame) -> None:
    """Write a table as its suffix says: ``.tsv`` or ``.parquet``."""
    with atomic(path) as temporary:
        if temporary.suffix == ".parquet":
            table.to_parquet(temporary, index=False)
        elif temporary.suffix == ".tsv":
            table.to_csv(temporary, sep="\t", index=False, float_format="%.9g", na_rep="nan")
        else:
            raise ValueError(f"Expected a .tsv or .parquet path, got {path}.")


def read_table(path: Path | str, columns: tuple[str, ...] = ()) -> pd.DataFrame:
    """Read a ``.tsv`` or ``.parquet`` table and check that it has the named columns.

    Columns named ``clip``, ``movie``, ``segment``, ``subject`` and ``caption`` are text, whatever they hold.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"Expected a table at {path}, found none.")
    if path.suffix == ".parquet":
        table = pd.read_parquet(path)
    else:
        text = {name: str for name in ("clip", "movie", "segment", "subject", "caption", "file")}
        try:
            table = pd.read_csv(
                path, sep="\t", dtype=text, keep_default_na=False, na_values=["nan", "NaN", "n/a"]
            )
        except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
            raise InputError(f"Expected a tab-separated table in {path}, got: {error}.") from None
    missing = [name for name in columns if name not in table]
    if missing:
        raise InputError(f"Expected column '{missing[0]}' in {path}, got {list(table.columns)}.")
    return table
