#!/usr/bin/env python3
"""Set up a private environment beside this file and run in it: needs only Python 3.11 and pip.

python3 bootstrap.py demo              the synthetic data set, end to end: results/demo/report/index.html
python3 bootstrap.py test              every test
python3 bootstrap.py snakemake ARGS    any target, e.g. ``snakemake --cores 8 all``
python3 bootstrap.py COMMAND ARGS      any command of the environment, e.g. ``mind-animator score --help``

The environment is ``.venv``, made once and remade when ``requirements.lock`` changes. Nothing outside this folder
is touched, so it works where the system's Python is externally managed (PEP 668).
"""

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
LOCK = ROOT / "requirements.lock"
PYTHON = VENV / "bin" / "python"


def main() -> int:
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if arguments else 2
    set_up()
    cores = str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    if arguments[0] == "demo":
        commands = [["snakemake", "--cores", cores, *arguments[1:], "--", "all"]]
    elif arguments[0] == "test":
        commands = [["pytest", "-n", "2", "--dist", "loadfile", *(arguments[1:] or ["--ignore=tests/slurm"])]]
        if not arguments[1:]:
            # tests on a SLURM mostly wait, so more of them run in parallel, and no other tests at the same time
            commands.append(["pytest", "-n", "4", "--dist", "loadfile", "tests/slurm"])
    else:
        commands = [arguments]
    environment = dict(os.environ, PATH=f"{VENV / 'bin'}{os.pathsep}{os.environ['PATH']}")
    environment.pop("PYTHONPATH", None)
    codes = [subprocess.run(command, cwd=ROOT, env=environment).returncode for command in commands]
    return next(filter(None, codes), 0)


def set_up() -> None:
    """Make the environment if it is absent or was made from another lock."""
    digest = hashlib.sha256(LOCK.read_bytes() + (ROOT / "pyproject.toml").read_bytes()).hexdigest()
    stamp = VENV / "lock.sha256"
    if stamp.is_file() and stamp.read_text() == digest:
        return
    if sys.version_info[:2] < (3, 11):  # noqa: UP036 (this file may meet an older Python)
        sys.exit(f"error: Expected Python 3.11 or newer, got {sys.version.split()[0]}.")
    print(f"Making the environment in {VENV} (once; about 2.5 GB).", file=sys.stderr)
    venv.create(VENV, with_pip=False, clear=True)
    # The caller's pip installs into the new environment, so that ensurepip (absent on Debian) is not needed.
    pip = [sys.executable, "-m", "pip", "--python", str(PYTHON), "install", "--quiet"]
    run([*pip, "-r", str(LOCK)])
    run([*pip, "--no-deps", "--editable", str(ROOT)])
    stamp.write_text(digest)


def run(command: list[str]) -> None:
    if subprocess.run(command).returncode:
        sys.exit(f"error: Expected '{' '.join(command[:6])} ...' to succeed; see pip's message above.")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # the command was interrupted, too, and has printed a message
        sys.exit(130)
