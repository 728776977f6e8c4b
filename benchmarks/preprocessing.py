"""A subject of true size through preprocessing, against numpy.polyfit per vertex on the same runs.

    python -m benchmarks.preprocessing --folder FOLDER [--movies 23] [--vertices 1500] [--keep]

Writes CC2017's runs of one subject (86 where there is room: 18 movies of two runs of 245 volumes, 5 of ten
runs of 245 or 246; 89 MB each) to FOLDER, then lets the workflow's own scripts align, clean, average, choose
and scale them, in this process and on one thread. The other way is the published one, run on every 20th run
and a stated number of its vertices and scaled to all: a polynomial fit (numpy.polyfit, order 4) and a
z-score, one vertex after the other; it pays neither for reading nor for averaging, choosing and scaling.
Processor time is told beside wall time, since the machine may be busy with other things. Files that were just
written are read from the page cache.
"""

import argparse
import resource
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mind_animator.artefacts.cifti import read_cortex, write_series
from mind_animator.artefacts.cortex import N_CORTEX, N_GRAYORDINATES, grayordinate_axis
from mind_animator.config.dataset import DatasetConfig
from mind_animator.datasets import open_dataset
from mind_animator.datasets.cc2017 import CC2017, n_volumes
from mind_animator.errors import InputError, run_command
from mind_animator.fmri.clean import clean_run
from workflow_scripts import preprocess_segment, select_voxels

BYTES = 90e6


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True, help="an empty place with room for the runs")
    parser.add_argument("--movies", type=int, default=23, help="movies of CC2017, training ones first")
    parser.add_argument("--vertices", type=int, default=1500, help="vertices that the other way is timed on")
    parser.add_argument("--keep", action="store_true", help="leave the runs in the folder")
    options = parser.parse_args()
    if not 2 <= options.movies <= 23 or not 1 <= options.vertices <= N_CORTEX:
        raise InputError(f"Expected 2 to 23 movies and 1 to {N_CORTEX} vertices, got {vars(options)}.")
    options.folder.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(dir=options.folder, prefix="subject-"))
    try:
        measure(place, options.movies, options.vertices)
    finally:
        if not options.keep:
            shutil.rmtree(place)


def measure(place: Path, n_movies: int, n_vertices: int) -> None:
    """Write the runs, time both ways and print a table."""
    config = DatasetConfig(name="cc2017", data_root=str(place), subjects=("1",))
    dataset = open_dataset(config)
    movies = [segment.id for segment in dataset.segments][:n_movies]
    runs = [path for movie in movies for path in dataset.response_files("1", movie)]
    free = shutil.disk_usage(place).free
    if len(runs) * BYTES + 3e9 > free:
        raise InputError(f"Expected {len(runs) * BYTES + 3e9:.3g} bytes free at {place}, got {free:.3g}.")
    write_runs(dataset, movies)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    wall, cpu = time.perf_counter(), time.process_time()
    given = ["--dataset", config.model_dump_json(), "--subject", "1", "--settings", "{}"]
    averages = [str(place / f"{movie}.h5") for movie in movies]
    for movie, average in zip(movies, averages, strict=True):
        preprocess_segment.main([*given, "--segment", movie, "--output", average])
    cleaned_wall, cleaned_cpu = time.perf_counter() - wall, time.process_time() - cpu
    outputs = [f"--{name}={place / name}" for name in ("responses", "maps", "voxels.tsv", "quality.tsv")]
    outputs = [output.replace(".tsv=", "=") for output in outputs]
    select_voxels.main([*given, "--segments", *averages, *outputs])
    all_wall, all_cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    kernel_cpu, slow_cpu, worst, fitted = 0.0, 0.0, 0.0, runs[::20]
    for path in fitted:
        series = read_cortex(path)
        kept = series[dataset._kept_volumes(path, len(series), 4.0)]
        start = time.process_time()
        fast, _ = clean_run(kept)
        kernel_cpu += time.process_time() - start
        start = time.process_time()
        slow = per_vertex(kept[:, :n_vertices])
        slow_cpu += (time.process_time() - start) * N_CORTEX / n_vertices
        worst = max(worst, float(np.abs(slow - fast[:, :n_vertices]).max()))
    slow_run, kernel_run = slow_cpu / len(fitted), kernel_cpu / len(fitted)

    print(f"{len(runs)} runs of {N_CORTEX} vertices, {len(movies)} movies; one thread")
    print(f"peak memory {peak:.0f} MB ({before / 1024:.0f} MB before, with the runs written)")
    print("| what | wall s | processor s | ratio of processor time |")
    print("|---|---|---|---|")
    print(f"| numpy.polyfit and z-score per vertex, one run | | {slow_run:.2f} | 1 |")
    print(f"| clean_run, one run | | {kernel_run:.3f} | {slow_run / kernel_run:.0f} |")
    print(f"| numpy.polyfit and z-score per vertex, {len(runs)} runs | | {slow_run * len(runs):.0f} | 1 |")
    for name, seconds, processor in (
        ("read, align, clean, average, write", cleaned_wall, cleaned_cpu),
        ("the same, then choose and scale", all_wall, all_cpu),
    ):
        ratio = slow_run * len(runs) / processor
        print(f"| {name}, {len(runs)} runs | {seconds:.1f} | {processor:.1f} | {ratio:.0f} |")
    print(
        f"the other way was timed on {n_vertices} vertices of {len(fitted)} runs and scaled; "
        f"largest difference of a value {worst:.1e}"
    )


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
    """The published way: fit, subtract, z-score, one vertex after the other."""
    places = np.arange(len(run))
    out = np.empty(run.shape)
    for vertex in range(run.shape[1]):
        x = run[:, vertex].astype(np.float64)
        rest = x - np.polyval(np.polyfit(places, x, 4), places)
        out[:, vertex] = (rest - rest.mean()) / rest.std()
    return out


if __name__ == "__main__":
    run_command(main)
