"""The upper bound of stage 2: the clips and the links that it measures."""

import numpy as np
import pandas as pd
import pytest
import torch

from mind_animator.artefacts.arrays import write_arrays
from mind_animator.artefacts.tables import read_table, write_table
from mind_animator.config.reconstruction import ReconstructionConfig
from mind_animator.errors import InputError
from mind_animator.metrics.flow import flows, motion_fidelity
from mind_animator.models.latents import decode_latents, encode_latents
from mind_animator.models.load import load_vae
from workflow_scripts import measure_oracle

CLIPS = [f"seg1-{index:05d}" for index in range(6)]


@pytest.fixture
def segment(tmp_path, rng):
    """Six clips of a smooth texture: clips 0, 1 stand still, 2..5 shift by 1 pixel per frame; clip 5 has a cut."""
    texture = np.kron(rng.integers(0, 256, (12, 12, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    frames = np.stack([
        [texture[:64, step * (clip > 1) : step * (clip > 1) + 64] for step in range(3)]
        for clip in range(len(CLIPS))
    ])  # fmt: skip
    write_arrays(tmp_path / "seg1.h5", {"frames": frames}, CLIPS)
    table = {"clip": CLIPS, "scene_cut": [clip == CLIPS[5] for clip in CLIPS]}
    write_table(tmp_path / "seg1.tsv", pd.DataFrame(table))
    condition = rng.standard_normal((6, 19, 128)).astype(np.float32)
    write_arrays(tmp_path / "text.h5", {"prompt_embedding": condition}, CLIPS)
    return tmp_path


def test_clips_move_and_have_no_cut(segment):
    clips, frames = measure_oracle.moving_clips(segment / "seg1.h5", segment / "seg1.tsv", 9, seed=0)
    assert sorted(clips) == CLIPS[2:5]
    assert frames.shape == (3, 3, 64, 64, 3)
    table = pd.DataFrame({"clip": CLIPS, "scene_cut": True})
    write_table(segment / "cuts.tsv", table)
    with pytest.raises(InputError, match=r"Expected at least 2 clips without a scene cut in .*cuts\.tsv"):
        measure_oracle.moving_clips(segment / "seg1.h5", segment / "cuts.tsv", 9, seed=0)


def test_links_are_the_changes_that_apply():
    shallow = ReconstructionConfig(
        num_inference_steps=8, num_inversion_steps=8, strength=0.3, noise_frames="shared", guidance_scale=1
    )
    links = measure_oracle.variants(shallow)
    assert set(links) == {
        "configured settings", "noise_frames: independent", "no fresh noise", "strength: 0.6",
        "published settings", "published settings, noise_frames: shared",
    }  # fmt: skip
    published = measure_oracle.variants(ReconstructionConfig())
    assert published["configured settings"] == ReconstructionConfig()
    assert "published settings" not in published  # the configured ones are these


def test_one_row_per_link(segment, random_models):
    threads = torch.get_num_threads()
    settings = ReconstructionConfig(
        num_inference_steps=1,
        num_inversion_steps=1,
        strength=0.3,
        guidance_scale=1,
        noise_timestep=0,
        first_pass={},
    )
    measure_oracle.main([
        "--frames", str(segment / "seg1.h5"), "--table", str(segment / "seg1.tsv"),
        "--text", str(segment / "text.h5"), "--model", str(random_models / "sd"),
        "--settings", settings.model_dump_json(), "--clips", "2", "--links", str(segment / "oracle.tsv"),
    ])  # fmt: skip
    torch.set_num_threads(threads)
    table = read_table(segment / "oracle.tsv", ("link", "cosine", "slope", "epe_relative")).set_index("link")
    assert list(table.index[:2]) == ["VAE", "configured settings"]
    assert list(table.index[-2:]) == ["first pass, moved by the true flow", "first and second pass"]
    assert np.isfinite(table.drop(columns="cosine_se")).all(axis=None)
    _, frames = measure_oracle.moving_clips(segment / "seg1.h5", segment / "seg1.tsv", 2, seed=0)
    vae = load_vae(random_models / "sd")
    shown = decode_latents(vae, encode_latents(vae, frames, batch=3), batch=3).numpy()
    expected = motion_fidelity(*([flows(clip) for clip in x] for x in (frames, shown)))
    assert table.loc["VAE", "epe_relative"] == pytest.approx(expected["epe_relative"], rel=1e-3)
