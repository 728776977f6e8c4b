"""Fetch one archive (or file) of a data set, after checking data-use terms and credentials."""

from mind_animator.config.dataset import DatasetConfig
from mind_animator.datasets import open_dataset
from mind_animator.datasets.download import fetch
from mind_animator.errors import InputError, run_command
from workflow_scripts.stages import Output, Param, command


def fetch_archive(
    *,
    dataset: Param[DatasetConfig],
    archive: Param[str],
    file: Output,
) -> None:
    """
    Parameters
    ----------
    dataset
        Settings of the data set (config.dataset).
    archive
        Name of the archive in the download table.
    file
        Path of the file in the data folder.
    """
    data = open_dataset(dataset)
    data.check_before_work()
    archives = {one.name: one for one in data.archives()}
    if archive not in archives:
        raise InputError(f"--archive = '{archive}': must be one of {sorted(archives)}.")
    requested = archives[archive]
    if file != data.root / requested.file:
        raise InputError(f"--file = {file}: must be {data.root / requested.file}.")
    entry = fetch(
        requested.urls,
        data.root,
        requested.file,
        size=requested.size,
        sha256=requested.sha256,
        anonymous=requested.anonymous,
    )
    print(f"{entry.file}: {entry.size} bytes, sha256 {entry.sha256}, checked by: {entry.checked_by}")


main = command(fetch_archive)

if __name__ == "__main__":
    run_command(main)
