"""Features computed elsewhere: every format, order and fault."""

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file

from mind_animator.config.features import ReadyConfig
from mind_animator.errors import InputError
from mind_animator.features.ready import read_ready

# training clips come first in the data set; the table lists the test clip between them
CLIPS = ["train-0", "train-1", "train-2", "test-0"]
LISTED = ["train-0", "test-0", "train-1", "train-2"]
SPLITS = {clip: clip.partition("-")[0] for clip in CLIPS}
IN_TABLE = [0, 2, 3, 1]


def read(tokens=5, frames=2, **ready):
    return read_ready(ReadyConfig(**ready), CLIPS, LISTED, SPLITS, tokens=tokens, frames=frames)


@pytest.fixture
def text(rng):
    return rng.standard_normal((4, 6)).astype(np.float32)


@pytest.mark.parametrize("kind", ["npy", "safetensors", "h5", "named", "split"])
def test_rows_come_in_the_order_of_the_clips(tmp_path, text, kind):
    source = f"{tmp_path}/text.{kind}"
    if kind == "npy":
        np.save(source, text.astype(np.float64))
    elif kind == "safetensors":
        save_file({"x": text, "y": 2 * text}, source)
        source += "::x"
    elif kind == "split":
        source = f"{tmp_path}/{{split}}.npy"
        np.save(tmp_path / "train.npy", text[[0, 2, 3]])
        np.save(tmp_path / "test.npy", text[[1]])
    else:
        source = f"{tmp_path}/text.h5"
        order = [2, 0, 1, 3] if kind == "named" else range(4)
        with h5py.File(source, "w") as file:
            file["e"] = text[list(order)]
            if kind == "named":
                file["clip"] = [LISTED[row] for row in order]
        source += "::e"
    found = read(text=source)
    assert list(found) == ["clip_embedding_text"]
    assert np.array_equal(found["clip_embedding_text"], text[IN_TABLE])


def test_prompt_embeddings_lose_bos_and_latents_are_kept(tmp_path, rng):
    prompts, latents = rng.standard_normal((4, 5, 3)), rng.standard_normal((4, 2, 4, 8, 8))
    np.save(tmp_path / "with.npy", prompts)
    np.save(tmp_path / "without.npy", prompts[:, 1:])
    np.save(tmp_path / "latents.npy", latents)
    expected = prompts[IN_TABLE, 1:].astype(np.float32)
    for name in ("with", "without"):
        found = read(prompt_embedding=f"{tmp_path}/{name}.npy", latents=f"{tmp_path}/latents.npy")
        assert np.array_equal(found["prompt_embedding"], expected)
    assert np.array_equal(found["latents"], latents[IN_TABLE].astype(np.float32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:3], r"expected 4 rows, one per clip of the table, in .*, got 3"),
        (lambda x: x.T, r"got 6 \(shape \(6, 4\): the axis of the clips must come first\)"),
        (lambda x: x[:, None], r"expected axes \(clip, dim\) in .*, got shape \(4, 1, 6\)"),
        (lambda x: np.where(np.arange(4)[:, None] == 1, np.nan, x), r"1 clips without, the first 'test-0' \(row 1 "),
        (lambda x: np.where(np.arange(4)[:, None] == 0, 0, x), r"the first 'train-0' \(row 0 of the table"),
    ],
)  # fmt: skip
def test_faults_name_the_file_and_the_clip(tmp_path, text, change, message):
    np.save(tmp_path / "text.npy", change(text))
    with pytest.raises(InputError, match=message):
        read(text=f"{tmp_path}/text.npy")


def test_embeddings_of_two_widths_are_refused(tmp_path, text):
    np.save(tmp_path / "text.npy", text)
    np.save(tmp_path / "image.npy", text[:, :5])
    with pytest.raises(InputError, match="got widths 6 and 5"):
        read(text=f"{tmp_path}/text.npy", image=f"{tmp_path}/image.npy")
    with pytest.raises(InputError, match=r"expected 7 tokens, BOS first, or 6 without BOS .*got 2"):
        np.save(tmp_path / "prompt_embedding.npy", np.ones((4, 2, 3)))
        read(prompt_embedding=f"{tmp_path}/prompt_embedding.npy", tokens=7)
    with pytest.raises(InputError, match=r"expected 8 frames .*got 2"):
        np.save(tmp_path / "latents.npy", np.ones((4, 2, 4, 8, 8)))
        read(latents=f"{tmp_path}/latents.npy", frames=8)
