"""A user's mistakes through the real commands: one clear line before expensive work, and nothing half-written."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tiny_demo import ROOT, snakemake, write_tiny_demo

from mind_animator.artefacts.cifti import write_series
from mind_animator.artefacts.cortex import N_GRAYORDINATES, grayordinate_axis
from mind_animator.artefacts.video import write_mp4

CLIPS = 10


def script(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"workflow_scripts.{name}", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def message_of(done: subprocess.CompletedProcess[str], status: int) -> str:
    """The one line with which a script refused; FFmpeg may have had its say before."""
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and done.stderr.rstrip().endswith(lines[0])
    return lines[0].removeprefix("error: ")


def dataset(root: Path) -> str:
    options = {"train_movies": 2, "clips": CLIPS}
    return json.dumps({"name": "demo", "data_root": str(root), "subjects": ["1"], "options": options})


@pytest.fixture(scope="module")
def movie(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A whole movie of noise, which every byte of damage shows in."""
    path = tmp_path_factory.mktemp("movie") / "seg1.mp4"
    rng = np.random.default_rng(3)
    frames = (rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(8 * CLIPS))
    write_mp4(path, frames, 4)
    return path.read_bytes()


def segmented(root: Path, movie: bytes | None) -> subprocess.CompletedProcess[str]:
    path = root / "video_fmri_dataset/stimuli/seg1.mp4"
    path.parent.mkdir(parents=True)
    if movie is not None:
        path.write_bytes(movie)
    out = ["--frames", str(root / "out/seg1.h5"), "--table", str(root / "out/seg1.tsv")]
    return script(
        "segment_movie", "--dataset", dataset(root), "--segment", "seg1", "--settings", '{"size": 64}', *out
    )


def test_a_whole_movie_is_cut(tmp_path: Path, movie: bytes):
    assert segmented(tmp_path, movie).returncode == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["seg1.h5", "seg1.tsv"]


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda movie: None, "Expected a movie at {movie}, found none."),
        (lambda movie: b"", "Expected a whole video at {movie}, got: "),
        (lambda movie: movie[: len(movie) // 2], "Expected a whole video at {movie}, got"),
        (lambda movie: b"\x00" * 64 + movie[64:], "Expected a whole video at {movie}, got"),
        (lambda movie: movie[:60_000] + os.urandom(20_000) + movie[80_000:], "Expected a whole video at {movie}, got"),
    ],
    ids=["missing", "empty", "truncated", "no head", "corrupt"],
)  # fmt: skip
def test_a_bad_movie(tmp_path: Path, movie: bytes, damage, text: str):
    line = message_of(segmented(tmp_path, damage(movie)), 2)
    assert line.startswith(text.format(movie=tmp_path / "video_fmri_dataset/stimuli/seg1.mp4"))
    assert not list(tmp_path.glob("out/*"))


def with_nan(series: np.ndarray) -> np.ndarray:
    series[7, 3] = np.nan
    return series


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda series: series[:, :-1],
            "Expected 15 volumes of seg1 in {run}, as published, got 14: were volumes removed",
        ),
        (
            lambda series: series[:40_000],
            "Expected left and right cortex as the first 59412 rows in {run}, got 40000 ",
        ),
        (
            with_nan,
            "Expected volumes that are finite or missing in every vertex, got volume 3 with 1 of 59412 vertices "
            "not finite, the first 7 ({run}).",
        ),
    ],
    ids=["volumes", "rows", "NaN"],
)
def test_a_bad_run(tmp_path: Path, change, text: str):
    series = np.random.default_rng(1).normal(100, 1, (N_GRAYORDINATES, CLIPS + 5)).astype(np.float32)
    series = change(series)
    runs = [
        tmp_path / f"data/full/video_fmri_dataset/subject1/fmri/seg1/cifti/seg1_{run}_Atlas.dtseries.nii"
        for run in (1, 2)
    ]
    for run in runs:
        run.parent.mkdir(parents=True, exist_ok=True)
        write_series(run, series, grayordinate_axis()[: len(series)], 2.0)
    options = {"clips": CLIPS}
    write_tiny_demo(tmp_path, dataset={"data_root": str(tmp_path / "data"), "options": options})
    done = snakemake(tmp_path, "--quiet", "rules", "--", "results/fmri/sub-1/seg1.h5")
    assert done.returncode != 0
    log = next((tmp_path / "results/logs").rglob("seg1.log")).read_text()
    line = log.splitlines()[-1]
    assert line.startswith("error: " + text.format(run=runs[0])) and str(runs[0]) in line
    assert "Traceback" not in log
    assert not [path for path in (tmp_path / "results").rglob("*.h5")]


def no_weights(folder: Path) -> dict:
    (folder / "clip").mkdir()
    (folder / "clip/config.json").write_text("{}")
    return {"models": {"clip": str(folder / "clip")}}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda _: {"sead": 1}, "config.sead: is not a known key ({config})."),
        (lambda _: {"seed": "x"}, "config.seed = 'x': must be an integer ({config})."),
        (lambda _: {"dataset": {"name": "nowhere"}}, "Expected dataset.name to be one of "),
        (lambda _: {"methods": {"other": {"kind": "magic"}}}, "config.methods.other.kind = 'magic': must be one of "),
        (lambda _: {"dataset": {"subjects": ["9"]}}, "config.dataset.subjects = '9': must be one of "),
        (lambda _: {"dataset": {"options": {"clips": 9}}}, "config.dataset.options.clips = 9: must be at least"),
        (lambda _: {"methods": {"mind_animator": {"options": {"preset": "bets"}}}}, "preset"),
        (lambda _: {"methods": {"mind_animator": {"options": {"semantic": {"width": 0}}}}},
         "config.methods.mind_animator.options.semantic.width = 0: must be at least 1 ({config})."),
        (no_weights, "Expected weights (.safetensors, .bin or .pth) in the model folder "),
        (lambda _: {"models": {"clip": "no/such/model"}}, "Expected a model folder, a checkpoint file or an id"),
        (lambda _: {"models": {"clip": "some/model"}}, "Expected model 'some/model' in the lock file "),
        (lambda _: {"dataset": {"options": {"clips": 19}}}, "Expected test clips for at least 2 blocks of 10"),
    ],
    ids=["typo", "type", "data set", "method", "subject", "option", "preset", "decoder", "no weights", "no model",
    "unpinned",
         "too few clips"],
)  # fmt: skip
def test_the_workflow_refuses_before_its_first_job(tmp_path: Path, change, text: str):
    run = tmp_path / "run"
    write_tiny_demo(run, **change(tmp_path))
    refused(run, text)


def test_cuda_is_asked_for_where_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # no GPU is visible, even if this machine has one
    write_tiny_demo(tmp_path, device="cuda")
    refused(
        tmp_path,
        "Expected a CUDA device (device: cuda), found none. On a machine without a GPU, set device: cpu.",
    )


def refused(run: Path, text: str) -> None:
    done = snakemake(run, "--quiet", "rules")
    assert done.returncode != 0
    assert text.replace("{config}", str(run / "config.yaml")) in done.stdout + done.stderr, done.stderr[
        -2000:
    ]
    assert "Traceback" not in done.stdout + done.stderr
    assert [path.name for path in run.iterdir() if path.name != ".snakemake"] == ["config.yaml"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk takes root")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_stops_the_workflow_with_nothing_half_written(tmp_path: Path, small_disk: Path):
    write_tiny_demo(tmp_path / "run", dataset={"data_root": str(small_disk)})
    done = snakemake(
        tmp_path / "run", "--quiet", "rules", "--", str(small_disk / "video_fmri_dataset/stimuli/seg1.mp4")
    )
    assert done.returncode != 0
    log = (tmp_path / "run/results/logs/make_movie/seg1.log").read_text()
    path = small_disk / "video_fmri_dataset/stimuli/seg1.mp4"
    assert (
        log.splitlines()[-1] == f"error: Expected room on the disk for {path}, got 'No space left on device'."
    )
    assert "Traceback" not in log
    assert not [path for path in small_disk.rglob("*") if path.is_file()]


# Every format that a stage writes, each by the library that writes it.
WRITERS = {
    "arrays": "write_arrays(out / 'a.h5', {'x': noise}, [str(i) for i in range(len(noise))])",
    "stream": "list(map(stream, [out / 'a.h5']))",
    "table": "write_table(out / 'a.tsv', pd.DataFrame(noise))",
    "json": "write_json(out / 'a.json', noise.tolist())",
    "state": "with_atomic(out / 'a.safetensors', lambda path: save_file({'x': noise}, path))",
    "parquet": "with_atomic(out / 'a.parquet', pd.DataFrame(noise).rename(columns=str).to_parquet)",
    "cifti": "write_series(out / 'a.dtseries.nii', np.ones((91282, 1), np.float32), grayordinate_axis(), 2.0)",
}
PROGRAM = """
import numpy as np, pandas as pd, sys
from pathlib import Path
from safetensors.numpy import save_file
from mind_animator.artefacts.arrays import write_arrays
from mind_animator.artefacts.cifti import write_series
from mind_animator.artefacts.cortex import grayordinate_axis
from mind_animator.artefacts.files import atomic, write_json
from mind_animator.artefacts.streams import write_stream
from mind_animator.artefacts.tables import write_table
from mind_animator.errors import run_command
out, noise = Path(sys.argv[1]), np.random.default_rng(1).random((200, 100))
def stream(path):
    with write_stream(path, [str(i) for i in range(200)]) as writer:
        for row in range(200):
            writer.write(row, {"frames": (255 * noise[row]).astype(np.uint8), "x": noise[row]})
def with_atomic(path, write):
    with atomic(path) as temporary:
        write(temporary)
run_command(lambda: {command} and None)
"""


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_one_line_for_every_format(small_disk: Path, name: str):
    program = PROGRAM.replace("{command}", f"({WRITERS[name]},)")
    done = subprocess.run(
        [sys.executable, "-c", program, str(small_disk)], cwd=ROOT, capture_output=True, text=True
    )
    line = message_of(done, 2)
    assert line.startswith(f"Expected room on the disk for {small_disk}/a.")
    assert line.endswith(", got 'No space left on device'.")
    assert not list(small_disk.iterdir())
