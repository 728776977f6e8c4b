"""Provenance of results: code digests, fingerprints and package versions. The module imports no large package."""

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

    The path is returned unchanged if it exists relative to the working folder; otherwise the path inside the installed
    package is returned.
    """
    shipped = ROOT / path
    return str(shipped) if not Path(path).exists() and shipped.exists() else path


@cache
def code_digest(*modules: str) -> str:
    """Digest of the listed modules and of all modules of this project that they import, directly or indirectly.

    Comments, docstrings and formatting do not affect the digest, so that only changes of the logic rerun a stage.

    Parameters
    ----------
    *modules : str
        Paths relative to the repository, e.g. ``"workflow_scripts/train_part.py"``. Modules that are imported by
        name at run time (a data set, a method) must be listed in addition to the script.

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
        queue.extend(_parsed(path)[1])
    return hashlib.sha256("".join(sorted(_parsed(path)[0] for path in reached)).encode()).hexdigest()[:12]


def fingerprint(**parts: Any) -> str:
    """Digest of plain values (hyperparameters, seeds, digests of data) that identifies a checkpoint."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_sha256(path: Path | str) -> str:
    """SHA-256 of a file. The file is read in blocks of 1 MiB."""
    sha = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            sha.update(block)
    return sha.hexdigest()


def ends_digest(paths: Iterable[Path | str]) -> str:
    """Digest of the names, sizes and first and last MiB of files. It distinguishes weights without reading
    them fully."""
    sha = hashlib.sha256()
    for path in sorted(map(Path, paths)):
        size = path.stat().st_size
        with open(path, "rb") as stream:
            sha.update(f"{path.name} {size}\n".encode() + stream.read(1 << 20))
            stream.seek(max(size - (1 << 20), 0))
            sha.update(stream.read())
    return sha.hexdigest()[:12]


def package_versions(names: Iterable[str]) -> dict[str, str]:
    """Installed version of each named distribution; ``"absent"`` if it is not installed."""
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "absent"
    return versions


@cache
def _parsed(path: Path) -> tuple[str, tuple[Path, ...]]:
    """Name of a module with the digest of its syntax tree without docstrings; and the files of this project that it
    imports anywhere in its code, including the ``__init__`` of their packages."""
    own = path.relative_to(ROOT)
    package = own.parent.parts
    names: set[str] = set()
    tree = ast.parse(path.read_text(), filename=str(path))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package[: len(package) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            names.add(base)
            names.update(f"{base}.{alias.name}" for alias in node.names)
    digest = hashlib.sha256(ast.dump(tree).encode()).hexdigest()
    return f"{own} {digest}\n", tuple(file for name in sorted(names) for file in _files_of(name))


@cache
def _files_of(name: str) -> tuple[Path, ...]:
    """Files of a module of this project and of the packages above it; none for other modules."""
    parts = name.split(".")
    if parts[0] not in PACKAGES:
        return ()
    stems = [ROOT.joinpath(*parts[:end]) for end in range(1, len(parts) + 1)]
    found = (file for stem in stems for file in (stem.with_suffix(".py"), stem / "__init__.py"))
    return tuple(file for file in found if file.is_file())
