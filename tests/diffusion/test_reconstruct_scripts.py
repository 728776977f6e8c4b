"""The command lines: from predictions to frames and a video, killed and resumed, one line for bad input."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from mind_animator.artefacts.arrays import read_arrays, write_arrays
from mind_animator.artefacts.video import read_video
from mind_animator.config.reconstruction import ReconstructionConfig
from mind_animator.errors import InputError
from mind_animator.models.latents import encode_latents
from mind_animator.models.load import load_vae
from mind_animator.video.warp import move_image
from workflow_scripts import decode_latents, draw_first_pass, invert_latents, reconstruct_clips

CLIPS = [f"seg2-{index:05d}" for index in range(10)]
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def restore_threads():
    """The scripts fix the number of threads of their process, here the tests'."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def predictions(tmp_path, rng):
    path = tmp_path / "predictions.h5"
    arrays = {
        "latents": rng.standard_normal((10, 3, 4, 8, 8)),
        "prompt_embedding": rng.standard_normal((10, 19, 128)),
    }
    write_arrays(path, {name: array.astype(np.float32) for name, array in arrays.items()}, CLIPS)
    return path


@pytest.fixture
def models(random_models):
    return random_models / "sd"


def arguments(options):
    """Options of a command line."""
    return [text for name, value in options.items() for text in (f"--{name.replace('_', '-')}", str(value))]


def run(module, **options):
    """Call a script's main in this process."""
    module.main(arguments(options))


def invert_options(predictions, models, output, shard=0, size=100, steps=2, batch=4):
    settings = f'{{"num_inversion_steps": {steps}, "clips_per_batch": {batch}}}'
    return {
        "predictions": predictions, "model": models, "settings": settings, "tokens": 20,
        "shard": f"{shard:05d}", "shard_size": size, "seed": 3, "state": f"{output}.state", "noise": output,
    }  # fmt: skip


def sample_options(predictions, inversions, models, folder, shard=0, size=100, steps=2, batch=4):
    settings = (
        f'{{"num_inference_steps": {steps}, "num_inversion_steps": {steps}, "clips_per_batch": {batch}}}'
    )
    return {
        "predictions": predictions, "inversions": inversions, "model": models, "settings": settings,
        "tokens": 20, "shard": f"{shard:05d}", "shard_size": size, "seed": 3, "rate": 4.0,
        "state": folder / "frames.state",
        "frames": folder / "frames.h5", "video": folder / "video.mp4",
    }  # fmt: skip


def test_frames_and_video_for_any_sharding_and_threads(tmp_path, predictions, models):
    whole, parts = tmp_path / "whole", []
    run(invert_latents, **invert_options(predictions, models, whole / "noise.h5"))
    run(reconstruct_clips, **sample_options(predictions, whole / "noise.h5", models, whole))
    assert sorted(p.name for p in whole.iterdir()) == ["frames.h5", "noise.h5", "video.mp4"]
    # The number of threads is a setting, independent of the machine.
    torch.set_num_threads(2)
    for shard in (0, 6):
        folder = tmp_path / f"part-{shard}"
        run(invert_latents, **invert_options(predictions, models, folder / "noise.h5", shard, 6))
        options = sample_options(predictions, folder / "noise.h5", models, folder, shard, 6)
        run(reconstruct_clips, **options)
        parts.append(folder)
    for name, array in (("noise.h5", "noise"), ("frames.h5", "frames")):
        clips, arrays = read_arrays(whole / name, [array])
        assert clips == CLIPS
        joined = read_arrays([part / name for part in parts], [array], CLIPS)[1][array]
        np.testing.assert_array_equal(arrays[array], joined)
    frames = read_arrays(whole / "frames.h5", ["frames"])[1]["frames"]
    assert frames.shape == (10, 3, 64, 64, 3)
    assert frames.dtype == np.uint8
    shown, times = read_video(whole / "video.mp4")
    assert shown.shape == (30, 256, 256, 3)
    np.testing.assert_allclose(times, np.arange(30) / 4, atol=1e-3)


def test_a_killed_job_goes_on_to_identical_frames(tmp_path, monkeypatch, predictions, models):
    noise = tmp_path / "noise.h5"
    run(invert_latents, **invert_options(predictions, models, noise, batch=2))
    reference, killed = tmp_path / "reference", tmp_path / "killed"
    run(
        reconstruct_clips,
        **sample_options(predictions, noise, models, reference, steps=2, batch=2),
    )
    options = sample_options(predictions, noise, models, killed, steps=2, batch=2)
    state = killed / "frames.state"
    with subprocess.Popen(
        [sys.executable, "-m", "workflow_scripts.reconstruct_clips", *arguments(options)],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    ) as process:
        while process.poll() is None and len(list(state.glob("batch-*.h5"))) < 2:
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (killed / "frames.h5").exists()
    finished = sorted(path.name for path in state.glob("batch-*.h5"))
    assert 2 <= len(finished) < 5
    done = []
    original = reconstruct_clips.frames_of_predictions

    def counted(*positional, **named):
        done.append(positional[4])
        return original(*positional, **named)

    monkeypatch.setattr(reconstruct_clips, "frames_of_predictions", counted)
    run(reconstruct_clips, **options)
    assert len(done) == 5 - len(finished)
    assert (killed / "frames.h5").read_bytes() == (reference / "frames.h5").read_bytes()
    assert (killed / "video.mp4").read_bytes() == (reference / "video.mp4").read_bytes()
    assert not state.exists()


def test_without_inversion_and_without_text(tmp_path, models, rng):
    path = tmp_path / "predictions.h5"
    write_arrays(path, {"latents": rng.standard_normal((3, 3, 4, 8, 8)).astype(np.float32)}, CLIPS[:3])
    options = sample_options(path, None, models, tmp_path)
    options["settings"] = (
        '{"num_inference_steps": 2, "num_inversion_steps": 0, "strength": 0.5, "clips_per_batch": 4}'
    )
    del options["inversions"]
    run(reconstruct_clips, **options)
    assert read_arrays(tmp_path / "frames.h5", ["frames"])[1]["frames"].shape == (3, 3, 64, 64, 3)


def test_latents_decoded_by_the_vae_alone(tmp_path, predictions, models):
    run(
        decode_latents, predictions=predictions, model=models, shard="00004", shard_size=4, rate=4.0,
        frames=tmp_path / "frames.h5", video=tmp_path / "video.mp4",
    )  # fmt: skip
    clips, arrays = read_arrays(tmp_path / "frames.h5", ["frames"])
    assert clips == CLIPS[4:8]
    vae = load_vae(models)
    latents = read_arrays(predictions, ["latents"], clips)[1]["latents"]
    with torch.no_grad():
        pixels = vae.decode(torch.from_numpy(latents[2]) / vae.config.scaling_factor).sample
    expected = ((pixels / 2 + 0.5).clamp(0, 1) * 255).permute(0, 2, 3, 1).numpy()
    assert np.abs(arrays["frames"][2] - expected).max() <= 0.5 + 1e-3


def test_bad_input_is_one_line_before_work(tmp_path, predictions, models):
    good = invert_options(predictions, models, tmp_path / "noise.h5")

    def message(module, options):
        with pytest.raises(InputError) as caught:
            run(module, **options)
        assert not any(path.name.startswith(("noise", "frames", "video")) for path in tmp_path.iterdir())
        assert "\n" not in str(caught.value)
        return str(caught.value)

    bad = tmp_path / "bad.h5"
    clips, arrays = read_arrays(predictions, ["latents", "prompt_embedding"])
    arrays["latents"][7, 1, 0, 0, 0] = np.nan
    write_arrays(bad, arrays, clips)
    assert message(invert_latents, good | {"predictions": bad}) == (
        f"Expected finite 'latents' in {bad}, got NaN or infinity for clip 'seg2-00007' (1 clips)."
    )
    short = tmp_path / "short.h5"
    write_arrays(
        short, {"latents": arrays["latents"][:, 0], "prompt_embedding": arrays["prompt_embedding"]}, clips
    )
    assert "Expected latents (clip, frame, channel, h, w)" in message(
        invert_latents, good | {"predictions": short}
    )
    text = message(invert_latents, good | {"shard": "00010"})
    assert text == f"Expected more than 10 clips in {predictions}, got 10."
    text = message(invert_latents, good | {"settings": '{"num_inference_steps": 2}'})
    assert "num_inference_steps: is not a known key" in text
    text = message(invert_latents, good | {"model": tmp_path / "nowhere"})
    assert "nowhere" in text
    text = message(invert_latents, good | {"predictions": tmp_path / "none.h5"})
    assert text == f"Expected an HDF5 file at {tmp_path / 'none.h5'}, found none."
    options = sample_options(predictions, None, models, tmp_path)
    del options["inversions"]
    assert "Expected --inversions just where num_inversion_steps > 0" in message(reconstruct_clips, options)
    write_arrays(short, {"noise": np.zeros((10, 2, 4, 8, 8), np.float32)}, clips)
    options = sample_options(predictions, short, models, tmp_path)
    assert "Expected noise (10, 3, 4, 8, 8)" in message(reconstruct_clips, options)
    narrow = tmp_path / "narrow.h5"
    write_arrays(narrow, {"latents": np.zeros((10, 3, 4, 8, 7), np.float32)}, clips)
    text = message(invert_latents, good | {"predictions": narrow})
    assert text == (
        "Expected latents of 4 channels, height and width multiples of 2 (as the generator takes them), "
        "got (4, 8, 7)."
    )
    options = sample_options(predictions, tmp_path / "noise.h5", models, tmp_path) | {"tokens": 12}
    options["settings"] = '{"num_inversion_steps": 0}'
    del options["inversions"]
    assert "Expected a prompt_embedding (clip, 11, width)" in message(reconstruct_clips, options)


def test_a_model_without_weights_is_named(tmp_path, predictions, models):
    folder = tmp_path / "sd"
    shutil.copytree(models, folder)
    for weights in (folder / "unet").glob("*.safetensors"):
        weights.unlink()
    with pytest.raises(InputError, match=r"Expected .*sd"):
        run(invert_latents, **invert_options(predictions, folder, tmp_path / "noise.h5"))
    assert not (tmp_path / "noise.h5").exists()


def test_warped_motion_moves_one_image_along_the_decoded_flow(tmp_path, predictions, models, rng):
    """Without a flow the image stands still; with one its frames are that image, moved."""
    _, arrays = read_arrays(predictions, ["latents", "prompt_embedding"])
    flow = rng.normal(size=(10, 2, 8, 8)).astype(np.float32)
    write_arrays(tmp_path / "moving.h5", {**arrays, "flow": flow}, CLIPS)
    frames = {}
    for name, path in (("still", predictions), ("moving", tmp_path / "moving.h5")):
        settings = '"clips_per_batch": 4, "motion": "warped"'
        options = invert_options(path, models, tmp_path / f"{name}_noise.h5")
        run(invert_latents, **{**options, "settings": f'{{"num_inversion_steps": 2, {settings}}}'})
        options = sample_options(path, tmp_path / f"{name}_noise.h5", models, tmp_path / name)
        options["settings"] = (
            f'{{"num_inference_steps": 2, "num_inversion_steps": 2, {settings}, "motion_gain": 1.5}}'
        )
        run(reconstruct_clips, **options)
        frames[name] = read_arrays(tmp_path / name / "frames.h5", ["frames"])[1]["frames"]
    assert frames["still"].shape == (10, 3, 64, 64, 3)
    np.testing.assert_array_equal(frames["still"], np.repeat(frames["still"][:, :1], 3, axis=1))
    np.testing.assert_array_equal(frames["moving"][:, 1], frames["still"][:, 1])  # the middle frame
    expected = move_image(torch.from_numpy(frames["still"][:, 0]), torch.from_numpy(1.5 * flow), 3)
    np.testing.assert_array_equal(frames["moving"], expected.numpy())
    assert not np.array_equal(frames["moving"][:, 0], frames["still"][:, 0])


def test_first_pass_encodes_the_moving_image_and_the_second_samples_it(tmp_path, predictions, models, rng):
    """Latents of the first pass = VAE latents of the frames that `motion: warped` shows; both passes change frames."""
    _, arrays = read_arrays(predictions, ["latents", "prompt_embedding"])
    flow = rng.normal(size=(10, 2, 8, 8)).astype(np.float32)
    moving = tmp_path / "moving.h5"
    write_arrays(moving, {**arrays, "flow": flow}, CLIPS)
    both = ReconstructionConfig(
        num_inference_steps=2,
        num_inversion_steps=2,
        strength=0.3,
        clips_per_batch=4,
        motion_gain=1.5,
        first_pass={"strength": 0.6},
    )
    warped = both.model_copy(update={"motion": "warped"}).final_pass()
    assert warped == both.image_pass()

    def show(settings, folder, **drawn):
        noise = {**invert_options(moving, models, folder / "noise.h5"), **drawn}
        run(invert_latents, **noise | {"settings": settings.inversion().model_dump_json()})
        options = {**sample_options(moving, folder / "noise.h5", models, folder), **drawn}
        run(reconstruct_clips, **options | {"settings": settings.model_dump_json()})
        return read_arrays(folder / "frames.h5", ["frames"])[1]["frames"]

    expected = show(warped, tmp_path / "warped")
    first = {**invert_options(moving, models, tmp_path / "latents.h5"), "settings": warped.model_dump_json()}
    first["latents"] = first.pop("noise")
    run(draw_first_pass, **first)
    clips, drawn = read_arrays(tmp_path / "latents.h5", ["latents"])
    assert clips == CLIPS
    encoded = encode_latents(load_vae(models), expected, batch=3).numpy()
    np.testing.assert_allclose(drawn["latents"], encoded, atol=1e-4)
    sampled = show(both.final_pass(), tmp_path / "both", first_pass=tmp_path / "latents.h5")
    assert sampled.shape == expected.shape
    assert not np.array_equal(sampled, expected)
    plain = show(both.final_pass(), tmp_path / "plain")
    assert not np.array_equal(sampled, plain)  # the decoded latents give another video
    # A method that decodes no flow keeps its decoded latents.
    run(draw_first_pass, **first | {"predictions": predictions, "latents": tmp_path / "kept.h5"})
    kept = read_arrays(tmp_path / "kept.h5", ["latents"])[1]["latents"]
    np.testing.assert_array_equal(kept, arrays["latents"])
