"""Preprocessing of one full-size subject compared with numpy.polyfit per vertex on the same runs.

    python -m benchmarks.preprocessing --folder FOLDER [--train 18] [--test 5] [--vertices 1500] [--keep]

The script writes simulated runs of one CC2017 subject (86 if there is enough space: 18 movies with two runs
of 245 volumes, 5 with ten runs of 245 or 246; 89 MB each) to FOLDER and runs the command of the workflow rule
in a separate process on one thread: read, align, clean, average, select, scale, write. The published
procedure is timed on a given number of vertices of every 20th run and extrapolated to all: a loop over
vertices of numpy.polyfit (order 4) and z-score; the same including reading by nibabel; and the same including
its other steps, i.e. averaging of repeats and, vertex by vertex, the correlation of repeats (numpy.corrcoef)
and the t-test (scipy) that select voxels. Its time does not include the start of Python, scaling and writing.
It is timed before and after the workflow command, which runs three times; the minimum of each is reported.
Processor time is reported in addition to wall time, because the machine may be busy. Files that were just
written are read from the page cache if they fit into it.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import stats
from tqdm import tqdm

from mind_animator.artefacts.cifti import read_cortex, write_series
from mind_animator.artefacts.cortex import N_CORTEX, N_GRAYORDINATES, grayordinate_axis
from mind_animator.config.dataset import DatasetConfig
from mind_animator.datasets import open_dataset
from mind_animator.datasets.cc2017 import CC2017, n_volumes
from mind_animator.errors import InputError, run_command
from mind_animator.fmri.clean import CleanedRun, blocks, scratch_for

BYTES = 90e6


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True, help="an empty folder with space for the runs")
    parser.add_argument("--train", type=int, default=18, help="training movies, two runs each")
    parser.add_argument("--test", type=int, default=5, help="test movies, ten runs each")
    parser.add_argument("--vertices", type=int, default=1500, help="vertices of the published procedure")
    parser.add_argument("--keep", action="store_true", help="keep the runs in the folder")
    options = parser.parse_args()
    if not 1 <= options.vertices <= N_CORTEX:
        raise InputError(f"Expected 1 to {N_CORTEX} vertices, got {options.vertices}.")
    options.folder.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=options.folder, prefix="subject-"))
    try:
        measure(scratch, options.train, options.test, options.vertices)
    finally:
        if not options.keep:
            shutil.rmtree(scratch)


def measure(scratch: Path, n_train: int, n_test: int, n_vertices: int) -> None:
    """Write the runs, time both procedures and print a table."""
    # CC2017's adapter, and any number of its movies
    options = {"train_movies": n_train, "test_movies": n_test, "repeats_test": 10}
    config = DatasetConfig(name="demo", data_root=str(scratch), subjects=("1",), options=options)
    dataset = open_dataset(config)
    movies = [segment.id for segment in dataset.segments]
    runs = [path for movie in movies for path in dataset.response_files("1", movie)]
    free = shutil.disk_usage(scratch).free
    if len(runs) * BYTES + 3e9 > free:
        raise InputError(f"Expected {len(runs) * BYTES + 3e9:.3g} bytes free at {scratch}, got {free:.3g}.")
    write_runs(dataset, movies)
    os.sync()  # so that writing does not continue during the timing
    segments = {movie: dataset.response_files("1", movie) for movie in movies}
    before = time_loop(dataset, runs[::20], segments[movies[0]], n_train, n_vertices)
    given = ["--dataset", config.model_dump_json(), "--subject", "1", "--settings", "{}"]
    suffixes = {"responses": "h5", "maps": "h5", "voxels": "tsv", "quality": "tsv"}
    outputs = [f"--{name}={scratch / name}.{kind}" for name, kind in suffixes.items()]
    jobs = [start("preprocess_subject", [*given, *outputs]) for _ in range(3)]
    job = min(jobs, key=lambda job: job.processor)
    after = time_loop(dataset, runs[::20], segments[movies[0]], n_train, n_vertices)

    best = {name: min(getattr(before, name), getattr(after, name)) for name in vars(before)}
    apart = max(before.apart, after.apart)
    n_runs = len(runs)
    loop = best["fit"] * n_runs
    read = best["read"] * n_runs
    rest = best["average"] * n_runs + best["correlate"] * n_train + best["test"]
    print(f"{n_runs} runs of {N_CORTEX} vertices, {len(movies)} movies; one thread per process")
    print("| what | processor s | published way / this |")
    print("|---|---|---|")
    print(f"| numpy.polyfit and z-score per vertex, one run | {best['fit']:.2f} | 1 |")
    print(f"| read and clean, one run | {best['fast']:.4f} | {best['fit'] / best['fast']:.0f} |")
    print(
        f"| loop: numpy.polyfit and z-score per vertex, {n_runs} runs | {loop:.0f} | {loop / job.processor:.0f} |"
    )
    print(f"| the loop and its reading | {loop + read:.0f} | {(loop + read) / job.processor:.0f} |")
    print(
        f"| the published way: the loop, its reading, averages, correlations and t per vertex | "
        f"{loop + read + rest:.0f} | {(loop + read + rest) / job.processor:.0f} |"
    )
    print(
        f"| preprocess_subject: {n_runs} runs from files to chosen, scaled responses | {job.processor:.2f} | |"
    )
    print(
        f"peak memory of preprocess_subject {job.peak:.0f} MB; its three calls took "
        + ", ".join(f"{j.processor:.2f}" for j in jobs)
        + " s of processor time, "
        + ", ".join(f"{j.wall:.2f}" for j in jobs)
        + " s of wall time"
    )
    print(
        f"the published way was timed on {n_vertices} vertices of {len(runs[::20])} runs, twice, and scaled (fits: "
        f"{before.fit:.2f} and {after.fit:.2f} s per run); largest difference of a value {apart:.1e}"
    )


@dataclass(frozen=True)
class Job:
    """Seconds and peak memory (MB) of one process."""

    wall: float
    processor: float
    peak: float


def start(script: str, arguments: list[str]) -> Job:
    """Run a script of the workflow as its rule does."""
    begun, peak, ended = time.perf_counter(), 0, 0
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", f"workflow_scripts.{script}", *arguments],
            env=os.environ | {"OMP_NUM_THREADS": "1", "NUMPY_MADVISE_HUGEPAGE": "0"}, stderr=log, text=True,
        )  # fmt: skip
        while not ended:
            # what the system keeps for `wait` counts this process before the other began
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak = max(
                peak, *(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0
            )
            time.sleep(0.01)
            ended, code, used = os.wait4(process.pid, os.WNOHANG)
        process.returncode = os.waitstatus_to_exitcode(code)
        log.seek(0)
        if process.returncode:
            raise InputError(f"Expected {script} to end well, got: {log.read()[-500:]}")
    return Job(time.perf_counter() - begun, used.ru_utime + used.ru_stime, peak / 1024)


@dataclass(frozen=True)
class Loop:
    """Processor seconds of the published procedure: ``fit``, ``read`` and ``average`` per run, ``correlate`` per
    training movie, ``test`` per subject; ``fast`` of `CleanedRun` per run; and the largest difference ``apart``."""

    fit: float
    read: float
    average: float
    correlate: float
    test: float
    fast: float
    apart: float


def time_loop(dataset: CC2017, runs: list[Path], repeats: list[Path], n_train: int, n_vertices: int) -> Loop:
    """Both implementations of cleaning on some runs; the slow one on some vertices, extrapolated to all."""
    spent = {"fit": 0.0, "read": 0.0, "fast": 0.0}
    apart, fraction = 0.0, N_CORTEX / n_vertices
    read_cortex(
        runs[0], finite=False
    )  # the CIFTI XML, which is the same for all runs, is parsed once per process
    for path in tqdm(runs, desc="loop", unit="run", mininterval=5):
        begun = time.process_time()
        whole = nib.load(path).get_fdata()[:, :N_CORTEX]
        spent["read"] += time.process_time() - begun
        kept = dataset._kept_volumes(path, len(whole), 4.0)
        begun = time.process_time()
        slow = per_vertex(whole[kept, :n_vertices])
        spent["fit"] += (time.process_time() - begun) * fraction
        begun = time.process_time()
        run = CleanedRun(read_cortex(path, finite=False)[kept])
        scratch = scratch_for([run])
        for where in blocks(N_CORTEX):
            run.block(where, scratch)
        spent["fast"] += time.process_time() - begun
        apart = max(apart, float(np.abs(slow - run.whole()[:, :n_vertices]).max()))
    each = {name: seconds / len(runs) for name, seconds in spent.items()}

    cleaned = [CleanedRun(read_cortex(path, finite=False)[1:241]).whole().astype(float) for path in repeats]
    begun = time.process_time()
    np.mean(cleaned, axis=0)
    each["average"] = (time.process_time() - begun) / len(cleaned)
    first, second = (run[:, :n_vertices] for run in cleaned)
    begun = time.process_time()
    for vertex in range(n_vertices):
        np.corrcoef(first[:, vertex], second[:, vertex])
    each["correlate"] = (time.process_time() - begun) * fraction
    z = np.random.default_rng(0).standard_normal((n_train, n_vertices))
    begun = time.process_time()
    for vertex in range(n_vertices):
        stats.ttest_1samp(z[:, vertex], 0)
    each["test"] = (time.process_time() - begun) * fraction
    return Loop(**each, apart=apart)


def write_runs(dataset: CC2017, movies: list[str]) -> None:
    """Noise, drift and a baseline in every run, with a signal that repeats in every tenth vertex."""
    rng = np.random.default_rng(0)
    axis = grayordinate_axis()
    noise = rng.standard_normal((N_GRAYORDINATES, 246), np.float32)
    for movie in tqdm(movies, unit="movie", mininterval=5):
        volumes = n_volumes(movie)
        signal = rng.standard_normal(volumes, np.float32)
        for path in dataset.response_files("1", movie):
            course = np.linspace(-1, 1, volumes, dtype=np.float32) ** rng.integers(1, 4)
            series = 100 * np.roll(noise, rng.integers(N_GRAYORDINATES), axis=0)[:, :volumes]
            series += 10_000 + 150 * course
            series[:N_CORTEX:10] += 60 * signal
            write_series(path, series, axis, dataset.tr)


def per_vertex(run: np.ndarray) -> np.ndarray:
    """The published procedure: fit, subtract and z-score, one vertex at a time."""
    positions = np.arange(len(run))
    out = np.empty(run.shape)
    for vertex in range(run.shape[1]):
        x = run[:, vertex]
        rest = x - np.polyval(np.polyfit(positions, x, 4), positions)
        out[:, vertex] = (rest - rest.mean()) / rest.std()
    return out


if __name__ == "__main__":
    run_command(main)
