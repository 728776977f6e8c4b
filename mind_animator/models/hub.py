"""Location and verification of frozen models. The module imports no large package.

A model is given as one of three things: a local ``save_pretrained`` folder (used as it is; it is an input of the
workflow), a single local checkpoint file (the lock file must contain its sha256 under its name), or an id
on the hub (the lock file must contain its revision and the sha256 of each of its files, and the files must be in
the local cache). Only `pin_model` opens a network connection.
"""

import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mind_animator.artefacts.files import read_json
from mind_animator.errors import InputError
from mind_animator.provenance import file_sha256

PIN = "run 'snakemake pin_models' once on a machine with internet access"
# Folders of a repository that each model needs; "" is its top.
FOLDERS = {
    "blip2": ("",),
    "clip": ("",),
    "stable_diffusion": ("vae", "text_encoder", "tokenizer", "unet", "scheduler"),
    "vit": ("",),
    "videomae": ("",),
    "vificlip": ("",),
}
_WEIGHTS = re.compile(
    r"(model|pytorch_model|diffusion_pytorch_model)(-\d{5}-of-\d{5})?\.(safetensors|bin)(\.index\.json)?"
)
_SMALL = re.compile(r"[^.][^/]*\.(json|txt|model)")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Located:
    """A model found and verified on this machine.

    Attributes
    ----------
    folder : Path
        The folder that contains its files.
    files : tuple of str
        Relative names of the files that may be read.
    revision : str
        Commit on the hub, or ``"local"``.
    """

    folder: Path
    files: tuple[str, ...]
    revision: str

    def sub(self, name: str) -> "Located":
        """The part of the model in one of its folders (a diffusers pipeline has one per network)."""
        inner = tuple(f.removeprefix(f"{name}/") for f in self.files if f.startswith(f"{name}/"))
        if not inner:
            raise InputError(f"Expected a folder '{name}' with files in {self.folder}, found none.")
        return Located(self.folder / name, inner, self.revision)

    @property
    def weights(self) -> tuple[str, ...]:
        """Names of the weight files at the top of the folder; safetensors if there are any."""
        found = [f for f in self.files if "/" not in f and f.endswith((".safetensors", ".bin", ".pth"))]
        safe = tuple(f for f in found if f.endswith(".safetensors"))
        return safe or tuple(found)


def locate(
    model_id_or_path: str | Path, lock: str | Path | None = None, part: str = "", *, sums: bool = True
) -> Located:
    """Find a model and verify it against the lock file before anything is loaded.

    Parameters
    ----------
    model_id_or_path : str or Path
        Local folder, local checkpoint file, or id on the hub.
    lock : path, optional
        The lock file; needed for all but local folders.
    part : str
        Verify (and list) only the files in this folder of the model; all by default.
    sums : bool
        Verify the sha256 of the files in addition to their presence.

    Raises
    ------
    InputError
        If the folder contains no weights, if the model is missing from the lock file or from the cache, or if a
        file differs from the one that was pinned.
    """
    path = Path(model_id_or_path)
    if path.is_dir():
        return _local_folder(path)
    if path.is_file():
        _verify(path.parent, {path.name: _locked_file(path.name, lock)}, lock, sums)
        return Located(path.parent, (path.name,), "local")
    if not _HUB_ID.fullmatch(str(model_id_or_path)) or path.suffix in {".pth", ".safetensors"}:
        raise InputError(
            f"Expected a model folder, a checkpoint file or an id on the hub, found nothing at '{model_id_or_path}'."
        )
    entry = locked(str(model_id_or_path), lock)
    folder = _cached_snapshot(str(model_id_or_path), entry)
    files = {name: sha for name, sha in entry["files"].items() if not part or name.startswith(f"{part}/")}
    _verify(folder, files, lock, sums)
    return Located(folder, tuple(files), entry["revision"])


def read_lock(lock: str | Path | None) -> dict[str, Any]:
    """Entries of the lock file by model; empty if there is no file yet.

    An entry of a hub id is ``{"revision": commit, "files": {name: sha256}}``, of a single checkpoint file
    ``{"files": {name: sha256}}``.
    """
    if lock is None or not Path(lock).is_file():
        return {}
    entries = read_json(lock)
    if not isinstance(entries, dict):
        raise InputError(f"Expected a JSON object of models in {lock}, got {type(entries).__name__}.")
    for name, entry in entries.items():
        files = entry.get("files") if isinstance(entry, dict) else None
        whole = isinstance(files, dict) and files and all(_is_sha256(value) for value in files.values())
        if not whole or ("revision" in entry and not _is_commit(entry["revision"])):
            raise InputError(
                f"Expected a 40-digit revision and 64-digit sha256 sums for '{name}' in {lock}, got {entry}."
            )
    return entries


def locked(name: str, lock: str | Path | None) -> dict[str, Any]:
    """Lock entry of a hub id."""
    entry = read_lock(lock).get(name)
    if entry is None or "revision" not in entry:
        raise InputError(
            f"Expected model '{name}' in the lock file {lock}, found none: {PIN}, or give a local folder."
        )
    return entry


def identity(model_id_or_path: str | Path, lock: str | Path | None) -> str:
    """Identity of a model that rules track: its entry in the lock file, ``"folder"`` or ``"unpinned"``."""
    path = Path(model_id_or_path)
    if path.is_dir():
        return "folder"
    entry = read_lock(lock).get(path.name if path.is_file() else str(model_id_or_path))
    if entry is None:
        return "unpinned"
    return entry.get("revision") or next(iter(entry["files"].values()))


def content_digest(located: Located) -> str:
    """Identity of a model in fingerprints of checkpoints: the revision, or a digest of the files of a local model."""
    if located.revision != "local":
        return located.revision
    sums = _sums(located.folder, located.files)
    return "-".join(sums[name][:8] for name in sorted(sums))


def required_files(names: Iterable[str], folders: Iterable[str] | None) -> list[str]:
    """Files of a repository that its model needs: settings, vocabularies, one form of each folder's weights.

    Variants (``.fp16.``, ``.non_ema.``), other frameworks and single-file checkpoints are left out;
    safetensors are preferred. If ``folders`` is None, the needed folders are unknown: the top folder is used if it
    contains weights, and otherwise every folder (a pipeline of several networks).
    """
    names, selected = sorted(names), []
    if folders is None:
        of_pipeline = not any(_WEIGHTS.fullmatch(name) for name in names)
        folders = dict.fromkeys(["", *(name.rpartition("/")[0] for name in names)]) if of_pipeline else [""]
    for folder in folders:
        prefix = f"{folder}/" if folder else ""
        inner = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
        inner = [name for name in inner if "/" not in name]
        weights = [name for name in inner if _WEIGHTS.fullmatch(name)]
        safe = [name for name in weights if ".safetensors" in name]
        small = [name for name in inner if _SMALL.fullmatch(name) and ".index." not in name]
        selected += [prefix + name for name in sorted({*small, *(safe or weights)})]
    return selected


def pin_model(
    name: str, folders: Iterable[str] | None, entry: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Fetch a model from the hub and return its lock entry; nothing else here opens a network connection.

    Parameters
    ----------
    name : str
        Id on the hub.
    folders : iterable of str, optional
        Folders of the repository that are needed; "" is its top. None: see `required_files`.
    entry : dict, optional
        Its entry in the lock file, if it has one: the same revision is fetched and every file verified.

    Returns
    -------
    dict
        ``{"revision": commit, "files": {name: sha256}}``; the sums are those of the files that arrived.
    """
    import httpx2
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

    try:
        info = HfApi().model_info(name, revision=entry["revision"] if entry else None, files_metadata=True)
        published = {s.rfilename: s.lfs.sha256 if s.lfs else None for s in info.siblings}
        selected = sorted(entry["files"]) if entry else required_files(published, folders)
        if not any(_WEIGHTS.fullmatch(Path(file).name) for file in selected):
            raise InputError(
                f"Expected weights in '{name}' on the hub"
                f"{'' if folders is None else f' (folders {list(folders)})'}, got {sorted(published)}."
            )
        folder = Path(snapshot_download(name, revision=info.sha, allow_patterns=selected))
    except RepositoryNotFoundError:
        raise InputError(f"Expected model '{name}' on the hub, found none (or it needs a login).") from None
    except OfflineModeIsEnabled:
        raise InputError("Expected a network to pin models, got HF_HUB_OFFLINE.") from None
    except (HfHubHTTPError, httpx2.HTTPError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError):
            raise  # the disk's fault, not the network's
        raise InputError(f"Expected model '{name}' from the hub, got: {_first_line(error)}.") from None
    if entry:
        _verify(folder, entry["files"], "the lock file")
        return entry
    sums = _sums(folder, selected)
    for file, announced in published.items():
        if file in sums and announced and sums[file] != announced:
            raise InputError(
                f"Expected sha256 {announced} of '{file}' of '{name}' as the hub says, got {sums[file]}."
            )
    return {"revision": info.sha, "files": sums}


def pin_file(path: Path | str, entry: dict[str, Any] | None = None) -> dict[str, Any]:
    """Lock entry of a single checkpoint file; one that has an entry already is verified."""
    path = Path(path)
    if entry is not None:
        _verify(path.parent, entry["files"], "the lock file")
        return entry
    return {"files": {path.name: file_sha256(path)}}


def _local_folder(path: Path) -> Located:
    files = tuple(sorted(str(f.relative_to(path)) for f in path.rglob("*") if f.is_file()))
    if not any(file.endswith((".safetensors", ".bin", ".pth")) for file in files):
        raise InputError(
            f"Expected weights (.safetensors, .bin or .pth) in the model folder {path}, found none."
        )
    return Located(path, files, "local")


def _locked_file(name: str, lock: str | Path | None) -> str:
    entry = read_lock(lock).get(name)
    if entry is None or name not in entry["files"]:
        raise InputError(
            f"Expected checkpoint '{name}' in the lock file {lock}, found none: run 'snakemake pin_models'."
        )
    return entry["files"][name]


def _cached_snapshot(name: str, entry: dict[str, Any]) -> Path:
    """Folder of a pinned revision in the hub client's cache."""
    from huggingface_hub import try_to_load_from_cache

    for file in entry["files"]:
        path = try_to_load_from_cache(name, file, revision=entry["revision"])
        if isinstance(path, str):
            return Path(path.removesuffix(file))
    raise InputError(
        f"Expected '{name}' at revision {entry['revision']} in the local cache, found none: {PIN}."
    )


def _verify(folder: Path, files: dict[str, str], lock: str | Path | None, sums: bool = True) -> None:
    absent = [name for name in files if not (folder / name).is_file()]
    if absent:
        raise InputError(f"Expected file '{absent[0]}' of a pinned model in {folder}, found none: {PIN}.")
    got = _sums(folder, files) if sums else files
    for name, expected in files.items():
        if got[name] != expected:
            raise InputError(f"Expected sha256 {expected} ({lock}) of {folder / name}, got {got[name]}.")


def _sums(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """SHA-256 by file, several files at a time (hashing releases the interpreter's lock)."""
    names = sorted(names)
    with ThreadPoolExecutor(8) as pool:
        return dict(zip(names, pool.map(lambda name: file_sha256(folder / name), names), strict=True))


def _is_sha256(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None


def _is_commit(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{40}", value) is not None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
