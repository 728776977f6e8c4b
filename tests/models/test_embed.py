"""Embeddings, text conditions and latents: by the libraries' own path, and regardless of the batch."""

import numpy as np
import pytest
import torch
from PIL import Image

from mind_animator.models.embed import embed_images, embed_texts, encode_prompts, in_batches
from mind_animator.models.latents import decode_latents, encode_latents
from mind_animator.models.load import load_clip, load_text_encoder, load_vae

TEXTS = ["a horse in the desert", "a car", "an umbrella on a beach, and then a pig in space", ""]


@pytest.fixture(scope="module")
def clip(random_models):
    return load_clip(random_models / "clip")


@pytest.fixture(scope="module")
def vae(random_models):
    return load_vae(random_models / "sd")


@pytest.fixture
def frames(rng):
    return rng.integers(0, 255, (3, 4, 64, 64, 3), dtype=np.uint8)


def test_every_batch_has_one_shape():
    shapes = []

    def network(part):
        shapes.append(part.shape)
        return part * 2

    items = torch.arange(14.0).view(7, 2)
    assert torch.equal(in_batches(network, items, 3), items * 2)
    assert shapes == [(3, 2)] * 3
    with pytest.raises(ValueError, match="Expected one item or more, got none"):
        in_batches(network, items[:0], 3)


def test_image_embeddings_as_the_processor_makes_them(clip, frames, random_models):
    from transformers import AutoTokenizer, CLIPImageProcessorPil, CLIPProcessor

    processor = CLIPProcessor(
        CLIPImageProcessorPil.from_pretrained(random_models / "clip"),
        AutoTokenizer.from_pretrained(random_models / "clip"),
    )
    images = [Image.fromarray(frame) for frame in frames[:, 0]]
    inputs = processor(images=images, text=TEXTS, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        expected = clip.model(**inputs)
    ours = embed_images(clip, frames[:, 0], batch=2)
    texts = embed_texts(clip, TEXTS, batch=3)
    assert torch.allclose(torch.nn.functional.normalize(ours, dim=1), expected.image_embeds, atol=1e-5)
    assert torch.allclose(torch.nn.functional.normalize(texts, dim=1), expected.text_embeds, atol=1e-5)


def test_conditions_as_stable_diffusion_makes_them(random_models):
    encoder = load_text_encoder(random_models / "sd")
    long = "and then ".join(["a horse ", "a pig ", "a frog ", "a ball ", "a fish ", "a car ", "a turtle"])
    condition = encode_prompts(encoder, [*TEXTS, long], tokens=20, batch=2)
    ids = encoder.tokenizer([*TEXTS, long], padding="max_length", max_length=20, truncation=True).input_ids
    with torch.no_grad():
        expected = encoder.model(torch.tensor(ids)).last_hidden_state
    assert condition.shape == (5, 20, 128)
    assert torch.allclose(condition, expected, atol=1e-5)
    # BOS sees nothing but itself
    assert torch.allclose(condition[:, 0], condition[:1, 0].expand(5, -1), atol=1e-5)
    # a longer window changes none of the first tokens of a text that fits
    wide = encode_prompts(encoder, TEXTS[:2], tokens=77, batch=2)
    assert torch.allclose(wide[:, :20], condition[:2], atol=1e-5)


@pytest.mark.parametrize("batch", [1, 5, 64])
def test_batches_matter_in_the_last_digits_only(clip, vae, frames, batch):
    # float32 sums in another order: a few parts in a million of values about one
    assert torch.allclose(
        embed_images(clip, frames[:, 0], batch), embed_images(clip, frames[:, 0], 4), atol=1e-5
    )
    assert torch.allclose(encode_latents(vae, frames, batch), encode_latents(vae, frames, 4), atol=1e-5)


def test_one_batch_shape_gives_identical_results_wherever_a_clip_lies(clip, vae, frames):
    whole = encode_latents(vae, frames, 4)
    assert torch.equal(encode_latents(vae, frames[1:], 4), whole[1:])
    assert torch.equal(encode_latents(vae, frames[2:, :3], 4), whole[2:, :3])
    images = frames.reshape(-1, 64, 64, 3)
    assert torch.equal(embed_images(clip, images[5:], 4), embed_images(clip, images, 4)[5:])
    assert torch.equal(embed_texts(clip, TEXTS[1:], 4), embed_texts(clip, TEXTS, 4)[1:])


def test_latents_by_the_librarys_own_posterior(vae, frames):
    images = torch.from_numpy(frames[0]).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        posterior = vae.encode(images).latent_dist
    mean = encode_latents(vae, frames[:1], 4)
    assert torch.allclose(mean[0], posterior.mean * vae.config.scaling_factor, atol=1e-6)
    seeded = [torch.Generator().manual_seed(7)]
    sample = encode_latents(vae, frames[:1], 4, seeded)
    theirs = posterior.sample(torch.Generator().manual_seed(7)) * vae.config.scaling_factor
    assert torch.allclose(sample[0], theirs, atol=1e-6)
    with pytest.raises(ValueError, match="Expected 3 generators, one per clip, got 1"):
        encode_latents(vae, frames, 4, seeded)


def test_a_clips_noise_is_its_own(vae, frames):
    def random_frames(clips, seeds):
        return encode_latents(vae, clips, 4, [torch.Generator().manual_seed(seed) for seed in seeds])

    assert torch.equal(random_frames(frames, [1, 2, 3])[1:], random_frames(frames[1:], [2, 3]))


def test_decoding_inverts_the_scaling(vae):
    latents = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    decoded = decode_latents(vae, latents, 4)
    with torch.no_grad():
        images = vae.decode(latents[1] / vae.config.scaling_factor).sample
    expected = ((images + 1) * 127.5).round().clamp(0, 255).permute(0, 2, 3, 1)
    assert decoded.dtype == torch.uint8 and decoded.shape == (2, 3, 64, 64, 3)
    # a value at the edge of two levels may round either way
    assert (decoded[1].float() - expected).abs().max() <= 1
