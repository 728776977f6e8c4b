"""Unpack the files of one downloaded zip that the data folder lacks."""

from mind_animator.config.dataset import DatasetConfig
from mind_animator.datasets import open_dataset
from mind_animator.datasets.download import unpack
from mind_animator.datasets.download.zips import list_members
from mind_animator.errors import InputError, run_command
from workflow_scripts.stages import Input, Param, command


def unpack_archive(
    *,
    dataset: Param[DatasetConfig],
    name: Param[str],
    archive: Input,
) -> None:
    """
    Parameters
    ----------
    dataset
        Settings of the data set (config.dataset).
    name
        Name of the archive in the download table.
    archive
        The downloaded zip file.
    """
    data = open_dataset(dataset)
    archives = {one.name: one for one in data.archives()}
    if name not in archives:
        raise InputError(f"--name = '{name}': must be one of {sorted(archives)}.")
    paths = data.member_paths(archives[name], list_members(archive))
    lacking = {member: path for member, path in paths.items() if not (data.root / path).exists()}
    absent = [p for p in archives[name].gives if p not in paths.values() and not (data.root / p).exists()]
    if absent:
        raise InputError(f"Expected {absent[0]} in {archive}, found none ({len(absent)} files missing).")
    entries = unpack(archive, data.root, lacking.get)
    print(f"{archive}: {len(entries)} files, {sum(entry.size for entry in entries)} bytes")


main = command(unpack_archive)

if __name__ == "__main__":
    run_command(main)
