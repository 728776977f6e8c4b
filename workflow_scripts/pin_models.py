"""Fetch the frozen models once, on a machine with internet access, and write their revisions and checksums to
the lock file.

A model with an existing entry is fetched at its revision and verified, never pinned again: to change a
revision, delete its entry by hand. Local folders need no entry. For a single checkpoint file, the sha256
is stored under its name.
"""

import sys
from pathlib import Path

from mind_animator.artefacts.files import write_json
from mind_animator.config.models import ModelsConfig
from mind_animator.errors import InputError, run_command
from mind_animator.models.hub import FOLDERS, pin_file, pin_model, read_lock
from workflow_scripts.stages import Param, command


def pin_models(*, models: Param[ModelsConfig]) -> None:
    """
    Parameters
    ----------
    models
        Ids or folders of all models, and the lock file (config.models).
    """
    entries = read_lock(models.lock)
    folders_of: dict[str, list[str] | None] = {}
    for role, folders in FOLDERS.items():
        folders_of.setdefault(getattr(models, role), []).extend(folders)
    for model in (models.model_extra or {}).values():  # of methods, feature providers and further metrics
        folders_of.setdefault(model, None)
    absent = []
    for model, folders in folders_of.items():
        path = Path(model)
        if path.is_dir():
            print(f"{model}: a local folder", file=sys.stderr)
        elif path.suffix in {".pth", ".safetensors"}:
            if not path.is_file():
                absent.append(model)
                continue
            entries[path.name] = pin_file(path, entries.get(path.name))
            print(f"{model}: sha256 {entries[path.name]['files'][path.name]}", file=sys.stderr)
        else:
            entries[model] = pin_model(model, folders and dict.fromkeys(folders), entries.get(model))
            print(f"{model}: revision {entries[model]['revision']}", file=sys.stderr)
        if entries:
            write_json(models.lock, dict(sorted(entries.items())))
    if absent:
        raise InputError(
            f"Expected checkpoint {absent[0]}, found none: download it by hand. The others are pinned."
        )


main = command(pin_models)

if __name__ == "__main__":
    run_command(main)
