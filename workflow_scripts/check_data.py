"""Report for each file of a data set whether it is present, missing or invalid, according to its size and header."""

from pathlib import Path

from mind_animator.artefacts.tables import write_table
from mind_animator.config.dataset import DatasetConfig
from mind_animator.datasets import open_dataset
from mind_animator.datasets.check import check_clones, check_files, plan_downloads, summarise
from mind_animator.errors import InputError, run_command
from workflow_scripts.stages import Param, command


def check_data(
    *,
    dataset: Param[DatasetConfig],
    table: Param[Path] | None = None,
    require: Param[bool] = False,
) -> int:
    """
    Parameters
    ----------
    dataset
        Settings of the data set (config.dataset).
    table
        Table to write, one row per file (TSV).
    require
        Fail at the first missing file instead of listing all files.
    """
    data = open_dataset(dataset)
    if require:
        check_clones(plan_downloads(data).by_hand)
        data.check_before_work()
    found = check_files(data, contents=not require)
    if table:
        write_table(table, found)
    if require:
        for row in found[found["state"] != "here"].itertuples():
            raise InputError(
                f"Expected {data.root / row.file}, got: {row.state}, {row.note}. {summarise(found)}; "
                "`snakemake check_data` lists them."
            )
    print(found.to_string(index=False, max_colwidth=100))
    print(summarise(found))
    try:
        data.check_before_work()
    except InputError as error:
        print(f"before any download: {error}")
    return int((found["state"] == "wrong").any())


main = command(check_data)

if __name__ == "__main__":
    run_command(main)
