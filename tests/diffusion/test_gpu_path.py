"""What a GPU run depends on and a CPU can prove: no copies to the host, memory, smaller batches.

`test_inflate` shows that the network compiles into one graph.
"""

from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from mind_animator.config.decoders import OptimisationConfig
from mind_animator.decoders.fit import fit
from mind_animator.diffusion.inflate import VideoUNet
from mind_animator.diffusion.invert import invert
from mind_animator.diffusion.memory import clips_that_fit, forward_bytes, resolve_clips_per_batch
from mind_animator.diffusion.sample import sample
from mind_animator.diffusion.schedule import schedule_of
from mind_animator.diffusion.shards import FinishedBatches, process_shard
from mind_animator.errors import InputError
from mind_animator.synthetic.models import build_scheduler

TO_HOST = ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__", "__index__")


@contextmanager
def host_copies(monkeypatch: pytest.MonkeyPatch):
    """Counts calls by which a tensor's values reach the host: Python methods, and the operator below them."""
    counts = {"calls": 0, "scalars": 0}

    class Scalars(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            counts["scalars"] += function is torch.ops.aten._local_scalar_dense.default
            return function(*args, **(kwargs or {}))

    def counted(original: Callable) -> Callable:
        def call(*args, **kwargs):
            counts["calls"] += 1
            return original(*args, **kwargs)

        return call

    with monkeypatch.context() as patch, Scalars():
        for name in TO_HOST:
            patch.setattr(Tensor, name, counted(getattr(Tensor, name)))
        yield counts


@pytest.fixture
def chain(fresh_unet, normal):
    """Functions (steps) that run the whole inversion, and the whole guided sampling, of two clips of 3 frames."""
    unet = fresh_unet()
    video, schedule = VideoUNet(unet, 3), schedule_of(build_scheduler().config)
    latents, prompt = normal(2, 3, 4, 8, 8), normal(2, 5, unet.config.cross_attention_dim)
    return {
        "inversion": lambda steps: invert(video, latents, prompt, schedule, steps=steps),
        "sampling": lambda steps: sample(
            video, latents, prompt, 0 * prompt, schedule, steps=steps, guidance_scale=3.0
        ),
    }


@pytest.mark.parametrize("part", ["inversion", "sampling"])
def test_a_step_of_the_chain_copies_nothing_to_the_host(chain, part, monkeypatch):
    counts = []
    for steps in (2, 5):
        with host_copies(monkeypatch) as counted:
            chain[part](steps)
        counts.append(counted)
    assert counts[0] == counts[1], "a copy per step"
    assert counts[0]["calls"] == 1, "the check for NaN at the end, and the counter counts"


def test_a_training_step_copies_nothing_to_the_host(monkeypatch):
    counts = []
    for clips in (8, 40):  # 2 or 10 steps per epoch
        torch.manual_seed(0)
        network = torch.nn.Linear(3, 2)
        data = {"x": torch.randn(clips, 3), "y": torch.randn(clips, 2)}
        settings = OptimisationConfig(epochs=3, batch=4, clip_gradient=1.0, l1=1e-4, patience=None)
        with host_copies(monkeypatch) as counted:
            fit(
                network, lambda net, batch, rng, epoch: ((net(batch["x"]) - batch["y"]) ** 2).mean(),
                data, range(clips), range(4), settings, seed=0,
            )  # fmt: skip
        counts.append(counted)
    assert counts[0] == counts[1], "a copy per step"
    assert counts[0]["calls"] > 0


@pytest.mark.parametrize("clips", [1, 3])
def test_derived_memory_is_that_of_the_allocator(fresh_unet, normal, clips):
    unet = fresh_unet()
    config, width = unet.config, unet.config.cross_attention_dim
    weights, peak = forward_bytes(
        config, torch.float32, clips=clips, frames=4, height=8, width=16, tokens=5, guided=True
    )
    assert weights == sum(p.nbytes for p in unet.parameters())
    video = VideoUNet(unet, 4)
    latents, prompt = normal(2 * clips, 4, 4, 8, 16), normal(2 * clips, 5, width)
    with torch.inference_mode(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        video(latents, 500, prompt)
    changes = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes.sort(key=lambda event: event.start_ns())
    measured = np.cumsum([event.nbytes() for event in changes]).max()
    assert abs(peak - 2 * (latents.nbytes + prompt.nbytes) - measured) < 0.03 * measured


def test_clips_per_batch_is_the_largest_that_fits_and_one_clip_must():
    assert clips_that_fit(free=10_000, one=1_000, two=1_900) == 8  # 1,000 + 7 x 900 = 7,300 <= 8,000
    assert clips_that_fit(free=9_000, one=1_000, two=1_900) == 4
    assert clips_that_fit(free=10**9, one=1_000, two=1_900) == 64
    with pytest.raises(InputError, match=r"clips_per_batch = auto: one clip needs 9.0 GB"):
        clips_that_fit(free=10 * 10**9, one=9 * 10**9, two=18 * 10**9)


def test_auto_on_a_cpu_and_a_given_number(fresh_unet):
    video = VideoUNet(fresh_unet(), 2)
    size = {"height": 8, "width": 8, "tokens": 5, "guided": True}
    assert resolve_clips_per_batch("auto", video, **size) == 8
    assert resolve_clips_per_batch(3, video, **size) == 3


def limited(most: int, asked: list[int]) -> Callable:
    """Work on a device that holds ``most`` clips."""

    def work(rows):
        asked.append(len(rows))
        if len(rows) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore text.")
        return {"square": np.array([row**2 for row in rows])}

    return work


def test_out_of_memory_halves_the_batch_once_says_so_and_gives_the_same(tmp_path: Path, capsys):
    clips = [f"clip{index}" for index in range(10)]
    results, asked = {}, {}
    for most in (4, 2):
        asked[most] = []
        folder = FinishedBatches(tmp_path / str(most), "stamp")
        results[most] = process_shard(clips, 0, 4, limited(most, asked[most]), folder, title="Test")
    assert (results[4]["square"] == results[2]["square"]).all()
    assert asked == {4: [4, 4, 4], 2: [4, 2, 2, 2, 2, 2, 2]}
    assert capsys.readouterr().err.count("Out of GPU memory with 4 clips per batch: continuing with 2.") == 1


def test_half_a_batch_that_does_not_fit_is_one_line(tmp_path: Path):
    with pytest.raises(
        InputError, match=r"2 clips to fit .* 2.00 GiB\. Lower reconstruction.clips_per_batch"
    ):
        process_shard(
            ["a", "b"] * 4, 0, 4, limited(1, []), FinishedBatches(tmp_path / "state", "stamp"), title="Test"
        )
