"""Tell file by file what of a data set is here, what is missing and what is wrong, from sizes and headers."""

import argparse
from pathlib import Path

from mind_animator.artefacts.tables import write_table
from mind_animator.config.base import parse_settings
from mind_animator.config.dataset import DatasetConfig
from mind_animator.datasets import open_dataset
from mind_animator.datasets.check import check_files, summarise
from mind_animator.errors import InputError, run_command


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, help="the data set's settings, JSON")
    parser.add_argument("--table", type=Path, help="output, TSV")
    parser.add_argument("--require", action="store_true", help="fail at the first file that is not here")
    given = parser.parse_args(arguments)

    dataset = open_dataset(parse_settings(DatasetConfig, given.dataset, "--dataset"))
    if given.require:
        dataset.check_before_work()
    table = check_files(dataset)
    if given.table:
        write_table(given.table, table)
    if given.require:
        for row in table[table["state"] != "here"].itertuples():
            raise InputError(
                f"Expected {dataset.root / row.file}, got: {row.state}, {row.told}. {summarise(table)}; "
                "`snakemake check_data` lists them."
            )
    print(table.to_string(index=False, max_colwidth=100))
    print(summarise(table))
    try:
        dataset.check_before_work()
    except InputError as error:
        print(f"before any download: {error}")
    return int((table["state"] == "wrong").any())


if __name__ == "__main__":
    run_command(main)
