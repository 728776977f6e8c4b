"""`mind-animator benchmark-gpu`, whole, with small shapes on a CPU."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mind_animator.benchmark import run
from mind_animator.benchmark.lines import Machine, Work, lines, unet_step
from mind_animator.benchmark.shapes import FULL, SMALL, build_unet
from mind_animator.cli import _main
from mind_animator.config.decoders import CONFIGS
from mind_animator.cost import CONSTANTS, measured_speeds
from mind_animator.errors import InputError


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("benchmark")
    _main(f"benchmark-gpu --out {folder} --device cpu --shapes small --seconds 0.02".split())
    return folder


def test_every_stage_is_measured(measured: Path):
    rows = json.loads((measured / "gpu.json").read_text())["lines"]
    assert list(rows) == list(lines("cpu"))
    for name, row in rows.items():
        assert "note" not in row, row
        assert row["units_per_second"] > 0 if "units_per_second" in row else math.isfinite(row["error"]), name
    assert {f"train_{decoder}" for decoder in CONFIGS} | {
        "caption",
        "vae_decode",
        "sampling_compiled",
    } <= set(rows)
    assert rows["sampling"]["tflops"] > rows["scoring_networks"]["tflops"] > 0
    assert rows["sampling"]["clips_per_batch"] == 8
    # chains of 4 steps; guidance doubles the work of a step
    step = rows["inversion"]["seconds"] * rows["inversion"]["tflops"]
    assert rows["sampling"]["seconds"] * rows["sampling"]["tflops"] == pytest.approx(2 * step)


def test_half_precision_differs_from_float32_and_a_captured_graph_does_not(measured: Path):
    rows = json.loads((measured / "gpu.json").read_text())["lines"]
    assert 1e-4 < rows["unet_bfloat16_agreement"]["error"] < 0.05
    assert 1e-4 < rows["vae_bfloat16_agreement"]["error"] < 0.05
    assert rows["vae_bfloat16_agreement"]["grey_levels_mean"] < 2
    assert rows["unet_compiled_agreement"]["error"] < 1e-5


def test_a_second_call_measures_nothing_again(measured: Path, capsys):
    before = {path: path.stat().st_mtime_ns for path in (measured / "lines").iterdir()}
    (measured / "lines" / "copy.json").unlink()
    _main(f"benchmark-gpu --out {measured} --device cpu --shapes small --seconds 0.02".split())
    after = {path: path.stat().st_mtime_ns for path in (measured / "lines").iterdir()}
    assert {path.name for path in after if before[path] != after[path]} == {"copy.json"}
    assert "copy" in capsys.readouterr().out


def test_what_the_time_or_the_memory_does_not_allow_says_so(tmp_path: Path, monkeypatch):
    def too_large(machine: Machine) -> Work:
        raise torch.OutOfMemoryError("Tried to allocate 24.00 GiB.\nmore")

    monkeypatch.setattr(run, "lines", lambda device: {"caption": too_large})
    machine = Machine("cpu", SMALL)
    late = run.benchmark(machine, tmp_path / "late", seconds=0.01, minutes=-1)
    assert late["lines"]["caption"] == {"note": "not measured: -1 minutes were over; run the command again"}
    full = run.benchmark(machine, tmp_path / "full", seconds=0.01, minutes=1)
    assert full["lines"]["caption"] == {"note": "not measured: Tried to allocate 24.00 GiB."}
    assert (tmp_path / "full" / "gpu.png").stat().st_size > 1000


def test_the_compiled_network_is_the_one_that_is_timed():
    work = unet_step(Machine("cpu", replace(SMALL, frames=2)), guided=False, compiled=True)
    torch._dynamo.reset()
    run.time_work(work, {}, 0.01, cuda=False)
    assert torch._dynamo.utils.counters["frames"]["ok"] >= 1


def test_full_shapes_are_those_of_the_published_networks():
    unet = build_unet(FULL, "meta", torch.float16)
    assert sum(parameter.numel() for parameter in unet.parameters()) == 859_520_964


def test_the_plan_takes_measured_speeds():
    rows = {
        "sampling": {"tflops": 300.0},
        "copy": {"tflops": 0},
        "train_motion": {"seconds": 0.5, "clips": 640},
    }
    assert measured_speeds(rows) == {
        "sampling": 300.0,
        "train_motion": pytest.approx(CONSTANTS["motion_step"].value * 10 / 0.5),
    }


def test_a_missing_gpu_is_one_line(tmp_path: Path):
    if torch.cuda.is_available():
        pytest.skip("needs a machine without CUDA")
    with pytest.raises(InputError, match="CUDA device"):
        _main(f"benchmark-gpu --out {tmp_path}".split())
