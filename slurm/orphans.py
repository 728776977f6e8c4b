"""Cancel the jobs that a killed run left in the queue and wait until they have ended, before new jobs are submitted.

A run that is killed (SIGKILL, a login node's reboot) cannot cancel its jobs. If they were submitted again
while they still run, two jobs would write the same files. The executor names every job ``mind_animator_<id of
the run>`` and starts it in the folder of the run; so jobs with this prefix and this folder that exist before
this run has submitted any job are orphans. Snakemake's own lock prevents two active runs in one folder.
"""

import subprocess
import sys
import time
from pathlib import Path

PREFIX = "mind_animator_"


def queued_jobs(folder: Path) -> list[str]:
    """Ids of this user's queued or running jobs of the workflow that were submitted from ``folder``."""
    query = ["squeue", "--me", "--noheader", "--format", "%i|%j|%Z"]
    done = subprocess.run(query, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise RuntimeError(f"Expected squeue to answer, got: {done.stderr.strip()}")
    rows = [line.split("|", 2) for line in done.stdout.splitlines()]
    return [
        job
        for job, name, directory in rows
        if name.startswith(PREFIX) and Path(directory).resolve() == folder
    ]


def cancel_orphans(folder: Path, patience: float = 300) -> int:
    """Cancel the orphans of a folder and wait until the last has ended; return how many there were.

    Raises
    ------
    RuntimeError
        If squeue gives no reply, or a job still exists after ``patience`` seconds.
    """
    orphans = queued_jobs(folder)
    if orphans:
        print(
            f"Cancelling {len(orphans)} jobs of a run that was killed: {', '.join(orphans)}", file=sys.stderr
        )
        subprocess.run(["scancel", *orphans], check=True, timeout=60)
    until = time.monotonic() + patience
    while left := set(orphans) & set(queued_jobs(folder)):
        if time.monotonic() > until:
            raise RuntimeError(f"Expected jobs {sorted(left)} to end within {patience:.0f} s after scancel.")
        time.sleep(2)
    return len(orphans)


if __name__ == "__main__":
    try:
        cancel_orphans(Path.cwd().resolve())
    except (RuntimeError, subprocess.SubprocessError) as error:
        sys.exit(f"error: {error}")
