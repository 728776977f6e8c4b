"""What a result was made of: code digests, fingerprints and package versions. Imports nothing heavy."""

import ast
import hashlib
import json
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("mind_animator", "workflow_scripts")


def in_package(path: str) -> str:
    """The path of a shipped file, e.g. ``mind_animator/assets/models/clip``.

    It is returned as it is where it exists relative to the working folder, and inside the installed package otherwise.
    """
    shipped = ROOT / path
    return str(shipped) if not Path(path).exists() and shipped.exists() else path


def code_digest(*modules: str) -> str:
    """Digest of the listed modules and of every module of this project that they import, directly or not.

    Blind to comments, docstrings and formatting, so that only a change of logic reruns a stage.

    Parameters
    ----------
    *modules : str
        Paths relative to the repository, e.g. ``"workflow_scripts/train_decoder.py"``. List plug-ins that
        are imported by name at run time (a data set, a method) beside the script.

    Returns
    -------
    str
        Twelve hexadecimal digits.
    """
    reached: set[Path] = set()
    queue = [ROOT / module for module in modules]
    while queue:
        path = queue.pop()
        if path in reached:
            continue
        reached.add(path)
        queue.extend(_imports(path))
    sha = hashlib.sha256()
    for path in sorted(reached):
        sha.update(f"{path.relative_to(ROOT)}\n{_logic(path)}\n".encode())
    return sha.hexdigest()[:12]


def fingerprint(**parts: Any) -> str:
    """Digest of plain values (hyperparameters, seeds, digests of data) that stamps resumable state."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_sha256(path: Path | str) -> str:
    """SHA-256 of a file, read in blocks of 1 MiB."""
    sha = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            sha.update(block)
    return sha.hexdigest()


def ends_digest(paths: Iterable[Path | str]) -> str:
    """Digest of files' names, sizes and first and last MiB: tells weights apart without reading gigabytes."""
    sha = hashlib.sha256()
    for path in sorted(map(Path, paths)):
        size = path.stat().st_size
        with open(path, "rb") as stream:
            sha.update(f"{path.name} {size}\n".encode() + stream.read(1 << 20))
            stream.seek(max(size - (1 << 20), 0))
            sha.update(stream.read())
    return sha.hexdigest()[:12]


def package_versions(names: Iterable[str]) -> dict[str, str]:
    """Installed version of each named distribution, ``"absent"`` where it is not installed."""
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "absent"
    return versions


@cache
def _logic(path: Path) -> str:
    tree = ast.parse(path.read_text(), filename=str(path))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)


@cache
def _imports(path: Path) -> tuple[Path, ...]:
    """Files of this project that a module imports anywhere in its text, with their packages' __init__."""
    package = path.relative_to(ROOT).parent.parts
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(), filename=str(path))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package[: len(package) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            names.add(base)
            names.update(f"{base}.{alias.name}" for alias in node.names)
    files: list[Path] = []
    for name in names:
        if name.split(".")[0] not in PACKAGES:
            continue
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            stem = ROOT.joinpath(*parts[:end])
            for file in (stem.with_suffix(".py"), stem / "__init__.py"):
                if file.is_file():
                    files.append(file)
    return tuple(files)
