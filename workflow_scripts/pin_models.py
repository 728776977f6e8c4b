"""Fetch the frozen models once, on a machine with internet access, and write their revisions and checksums to the lock file.

A model with an existing entry is fetched at its revision and verified, never pinned again: to change a
revision, delete its entry by hand. Local folders need no entry. For a single checkpoint file, the sha256
is stored under its name.
"""

import sys
from pathlib import Path

from mind_animator.artefacts.files import write_json
from mind_animator.config.models import ModelsConfig
from mind_animator.errors import InputError, run_command
from mind_animator.models.places import FOLDERS, pin_file, pin_model, read_lock
from workflow_scripts.stages import Param, command


def pin_models(*, models: Param[ModelsConfig]) -> None:
    """
    Parameters
    ----------
    models
        Ids or folders of all models, and the lock file (config.models).
    """
    entries = read_lock(models.lock)
    folders_of: dict[str, list[str]] = {}
    for role, folders in FOLDERS.items():
        folders_of.setdefault(getattr(models, role), []).extend(folders)
    for place in (models.model_extra or {}).values():  # of further metrics
        folders_of.setdefault(place, []).append("")
    absent = []
    for place, folders in folders_of.items():
        path = Path(place)
        if path.is_dir():
            print(f"{place}: a local folder", file=sys.stderr)
        elif path.suffix in {".pth", ".safetensors"}:
            if not path.is_file():
                absent.append(place)
                continue
            entries[path.name] = pin_file(path, entries.get(path.name))
            print(f"{place}: sha256 {entries[path.name]['files'][path.name]}", file=sys.stderr)
        else:
            entries[place] = pin_model(place, dict.fromkeys(folders), entries.get(place))
            print(f"{place}: revision {entries[place]['revision']}", file=sys.stderr)
        if entries:
            write_json(models.lock, dict(sorted(entries.items())))
    if absent:
        raise InputError(
            f"Expected checkpoint {absent[0]}, found none: download it by hand. The others are pinned."
        )


main = command(pin_models)

if __name__ == "__main__":
    run_command(main)
