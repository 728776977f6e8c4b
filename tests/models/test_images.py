"""One path from bytes to a network's input, against the image processors of transformers."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from mind_animator.errors import InputError
from mind_animator.models.images import (
    OPENAI_MEAN,
    OPENAI_STD,
    ImageRecipe,
    prepare_images,
    read_recipe,
)

# Both round to bytes after each of two passes: where a sum lies near the edge of two bytes they part by one
# after the first, and the second may round what is left of it up once more
LEVELS = 2


def _processors():
    from transformers import (
        BlipImageProcessorPil,
        CLIPImageProcessorPil,
        VideoMAEImageProcessorPil,
        ViTImageProcessorPil,
    )

    square = {"height": 224, "width": 224}
    return {
        "clip": CLIPImageProcessorPil(size={"shortest_edge": 224}, crop_size=square),
        "blip2": BlipImageProcessorPil(size=square, image_mean=list(OPENAI_MEAN), image_std=list(OPENAI_STD)),
        "vit": ViTImageProcessorPil(size=square, image_mean=[0.5] * 3, image_std=[0.5] * 3),
        "videomae": VideoMAEImageProcessorPil(size={"shortest_edge": 224}, crop_size=square),
    }


@pytest.mark.parametrize("name", ["clip", "blip2", "vit", "videomae"])
@pytest.mark.parametrize("shape", [(512, 512), (180, 240), (301, 257), (224, 224)])
def test_as_the_models_own_processor_within_two_levels(name, shape, tmp_path, rng):
    processor = _processors()[name]
    processor.save_pretrained(tmp_path)
    recipe = read_recipe(tmp_path)
    coarse = rng.integers(0, 255, (2, 12, 12, 3), dtype=np.uint8)
    frames = np.stack(
        [np.asarray(Image.fromarray(image).resize(shape[::-1], Image.Resampling.BICUBIC)) for image in coarse]
    )
    frames[:, ::7] = rng.integers(0, 255, 3)
    kept = frames.copy()
    ours = prepare_images(torch.from_numpy(frames), recipe)
    theirs = processor([list(frames)] if name == "videomae" else list(frames), return_tensors="pt")[
        "pixel_values"
    ]
    theirs = theirs.reshape(ours.shape)
    std = torch.tensor(recipe.std).view(1, 3, 1, 1)
    levels = ((ours - theirs) * std * 255).abs()
    assert levels.max() <= LEVELS + 1e-3
    assert levels.mean() < 0.1
    assert np.array_equal(frames, kept)


def test_a_image_of_the_right_size_is_only_normalised(rng):
    frames = torch.from_numpy(rng.integers(0, 255, (2, 8, 8, 3), dtype=np.uint8))
    recipe = ImageRecipe(8, 8, mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0))
    slow = (frames.numpy().transpose(0, 3, 1, 2) / 255 - np.array([0.1, 0.2, 0.3])[:, None, None]) / np.array(
        [1.0, 2.0, 3.0]
    )[:, None, None]
    assert np.allclose(prepare_images(frames, recipe), slow, atol=1e-6)


def test_a_result_does_not_depend_on_the_batch(rng):
    frames = torch.from_numpy(rng.integers(0, 255, (5, 40, 50, 3), dtype=np.uint8))
    recipe = ImageRecipe(16, 16, shortest_edge=True, crop=(16, 16))
    together = prepare_images(frames, recipe)
    alone = torch.cat([prepare_images(frame[None], recipe) for frame in frames])
    assert torch.equal(together, alone)


def test_recipes_of_older_files(tmp_path):
    settings = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 2}
    written = {
        "bare number": (
            {"size": 224},
            ImageRecipe(224, 224, filter="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3),
        ),
        "crop": (
            {"size": 224, "do_center_crop": True, "crop_size": 200},
            ImageRecipe(224, 224, True, (200, 200), "bilinear", (0.5,) * 3, (0.5,) * 3),
        ),
    }
    for change, recipe in written.values():
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings | change))
        assert read_recipe(tmp_path) == recipe


def test_recipes_that_cannot_be_read(tmp_path):
    with pytest.raises(
        InputError, match=f"Expected preprocessor_config.json in the model folder {tmp_path}, found none"
    ):
        read_recipe(tmp_path)
    path = tmp_path / "preprocessor_config.json"
    path.write_text("{")
    with pytest.raises(InputError, match=f"Expected JSON in {path}"):
        read_recipe(tmp_path)
    path.write_text(json.dumps({"size": 224, "image_mean": [0.5] * 3}))
    with pytest.raises(InputError, match=f"Expected size, resample, image_mean and image_std in {path}"):
        read_recipe(tmp_path)
    with pytest.raises(ValueError, match="Expected frames"):
        prepare_images(torch.zeros(1, 8, 8, 3), ImageRecipe(8, 8))
