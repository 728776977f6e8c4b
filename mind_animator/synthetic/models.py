"""Architectures of the small models of the synthetic data set, which use the same classes as the full-size models.

Images are 64 x 64 pixels, latents 4 x 8 x 8, prompts at most 20 tokens, clips 8 frames. The vision
transformers of all classes have the same shape, so that one trained trunk can initialise the others.
"""

import itertools
import json
import re

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from tokenizers import Tokenizer, normalizers, pre_tokenizers, trainers
from tokenizers.models import BPE
from torch import nn
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
    BlipImageProcessorPil,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPProcessor,
    CLIPTokenizer,
    T5Tokenizer,
    VideoMAEConfig,
    VideoMAEForVideoClassification,
    VideoMAEImageProcessorPil,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessorPil,
)

from mind_animator.synthetic import scenes

IMAGE_SIZE = 64
PATCH_SIZE = 8
LATENT_CHANNELS = 4
LATENT_SIZE = 8
CLIP_FRAMES = 8
TUBELET = 2
CONDITION_TOKENS = 20
EMBEDDING = 64
WIDTH = 128
LAYERS = 4
HEADS = 4
QUERIES = 8
QUESTION = "Question: What does this image describe? Answer:"
DIRECTIONS = ("right", "down right", "down", "down left", "left", "up left", "up", "up right")
IMAGE_LABELS = tuple(f"{noun}, {scene}" for noun in scenes.NOUNS for scene in scenes.SCENES)
VIDEO_LABELS = tuple(f"{noun} moving {direction}" for noun in scenes.NOUNS for direction in DIRECTIONS)
BOS, EOS = "<|startoftext|>", "<|endoftext|>"
TRUNK = {
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": 3 * WIDTH,
    "image_size": IMAGE_SIZE,
    "patch_size": PATCH_SIZE,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
}
_SIZE = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
_HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def build_vae() -> AutoencoderKL:
    """Autoencoder from 64 x 64 pixels to 4 x 8 x 8 latents (1.7 M parameters)."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 64, 96),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        sample_size=IMAGE_SIZE,
    )


def build_unet() -> UNet2DConditionModel:
    """Denoiser of 4 x 8 x 8 latents with cross-attention to 20 x 128 conditions (4.3 M parameters)."""
    return UNet2DConditionModel(
        sample_size=LATENT_SIZE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(64, 128),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def build_scheduler() -> DDIMScheduler:
    """The noise schedule of Stable Diffusion 1.5."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="epsilon",
    )


def build_vit() -> ViTForImageClassification:
    """Vision transformer over the 72 pairs of noun and scene (.7 M parameters)."""
    config = ViTConfig(
        **TRUNK,
        id2label=dict(enumerate(IMAGE_LABELS)),
        label2id={label: i for i, label in enumerate(IMAGE_LABELS)},
    )
    return ViTForImageClassification(config)


def build_vit_processor() -> ViTImageProcessorPil:
    """Resize to 64 x 64, scale to [-1, 1]."""
    return ViTImageProcessorPil(size=_SIZE, **_HALF)


def build_videomae() -> VideoMAEForVideoClassification:
    """Video transformer over the 96 pairs of noun and direction of motion (.7 M parameters)."""
    config = VideoMAEConfig(
        **TRUNK,
        num_frames=CLIP_FRAMES,
        tubelet_size=TUBELET,
        use_mean_pooling=True,
        id2label=dict(enumerate(VIDEO_LABELS)),
        label2id={label: i for i, label in enumerate(VIDEO_LABELS)},
    )
    return VideoMAEForVideoClassification(config)


def build_videomae_processor() -> VideoMAEImageProcessorPil:
    """Resize to 64 x 64, scale to [-1, 1]."""
    edge = {"shortest_edge": IMAGE_SIZE}
    return VideoMAEImageProcessorPil(size=edge, crop_size=_SIZE, **_HALF)


def build_clip() -> CLIPModel:
    """CLIP with 64-dimensional embeddings (1.1 M parameters)."""
    vocabulary = len(build_clip_tokenizer())
    text = {
        "vocab_size": vocabulary,
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": HEADS,
        "hidden_act": "quick_gelu",
        "max_position_embeddings": 77,
        "projection_dim": EMBEDDING,
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": vocabulary - 1,
    }
    vision = TRUNK | {"projection_dim": EMBEDDING, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
    vision |= {
        "num_attention_heads": WIDTH // 64,
        "intermediate_size": 4 * WIDTH,
    }  # as in every published CLIP
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=EMBEDDING))


def build_clip_processor() -> CLIPProcessor:
    """Resize to 64 x 64, scale to [-1, 1]; the tokenizer of ``build_clip_tokenizer``."""
    images = CLIPImageProcessorPil(size={"shortest_edge": IMAGE_SIZE}, crop_size=_SIZE, **_HALF)
    return CLIPProcessor(images, build_clip_tokenizer())


def build_clip_tokenizer() -> CLIPTokenizer:
    """Byte-pair tokenizer in which each word of the synthetic captions is one token; other words are split."""
    words = sorted(set(" ".join(vocabulary_sentences()).lower().replace(",", " ").replace(":", " ").split()))
    trained = Tokenizer(BPE(end_of_word_suffix="</w>"))
    trained.normalizer = normalizers.Lowercase()
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=4000,
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
        min_frequency=1,
    )
    trained.train_from_iterator(words, trainer)
    merges = [tuple(merge) for merge in _merges(trained)]
    pieces = alphabet + [f"{letter}</w>" for letter in alphabet] + ["".join(merge) for merge in merges]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    vocabulary |= {BOS: len(vocabulary), EOS: len(vocabulary) + 1}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)


def _merges(trained: Tokenizer) -> list[list[str]]:
    """Merges of a trained byte-pair model, in order."""
    merges = json.loads(trained.to_str())["model"]["merges"]
    return [merge.split(" ") if isinstance(merge, str) else merge for merge in merges]


def vocabulary_sentences() -> list[str]:
    """Sentences that together contain every word of captions, labels and the prompt."""
    nouns = [f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}" for noun in scenes.NOUNS]
    linking = ["an image of", "there is", "and then", "Question What does this image describe Answer"]
    return [*nouns, *scenes.PHRASES.values(), *scenes.SCENES, *linking]


def build_blip2() -> Blip2ForConditionalGeneration:
    """BLIP-2 with a small vision transformer, Q-Former and T5 (1.9 M parameters)."""
    tokenizer = build_blip2_processor().tokenizer
    qformer = {
        "vocab_size": 8,
        "hidden_size": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": HEADS,
        "intermediate_size": 2 * WIDTH,
        "encoder_hidden_size": WIDTH,
        "cross_attention_frequency": 1,
        "max_position_embeddings": 32,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    text = {
        "model_type": "t5",
        "vocab_size": len(tokenizer),
        "d_model": WIDTH,
        "d_kv": WIDTH // HEADS,
        "d_ff": 2 * WIDTH,
        "num_layers": 2,
        "num_decoder_layers": 2,
        "num_heads": HEADS,
        "dropout_rate": 0.0,
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "decoder_start_token_id": tokenizer.pad_token_id,
    }
    vision = TRUNK | {"qkv_bias": True, "initializer_range": 0.02}
    config = Blip2Config(
        vision_config=vision,
        qformer_config=qformer,
        text_config=text,
        num_query_tokens=QUERIES,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    model = Blip2ForConditionalGeneration(config)
    with torch.no_grad():
        model.language_model.lm_head.weight.mul_(
            WIDTH**-0.5
        )  # T5's initialisation assumes tied weights and is far too large here
    return model


def build_blip2_processor() -> Blip2Processor:
    """Resize to 64 x 64, scale to [-1, 1]; a T5 tokenizer with the words of the synthetic captions that
    splits others."""
    words = sorted(set(" ".join(vocabulary_sentences()).split()))
    pieces = [f"\u2581{word}" for word in words] + ["\u2581", "?", ":", ",", "."]
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)] + [chr(code) for code in range(65, 91)]
    scored = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    scored += [(piece, -2.0) for piece in pieces] + [(letter, -10.0) for letter in letters]
    tokenizer = T5Tokenizer(vocab=scored, extra_ids=0, model_max_length=64)
    images = BlipImageProcessorPil(size=_SIZE, **_HALF)
    return Blip2Processor(images, tokenizer, num_query_tokens=QUERIES)


_RENAMED = {
    CLIPModel: {
        "vit.embeddings.cls_token": "vision_model.embeddings.class_embedding",
        "vit.embeddings.position_embeddings": "vision_model.embeddings.position_embedding.weight",
        "vit.embeddings.patch_embeddings.projection": "vision_model.embeddings.patch_embedding",
        "vit.layernorm": "vision_model.post_layernorm",
        "vit.layers": "vision_model.encoder.layers",
        "attention.q_proj": "self_attn.q_proj",
        "attention.k_proj": "self_attn.k_proj",
        "attention.v_proj": "self_attn.v_proj",
        "attention.o_proj": "self_attn.out_proj",
        "layernorm_before": "layer_norm1",
        "layernorm_after": "layer_norm2",
    },
    Blip2ForConditionalGeneration: {
        "vit.embeddings.cls_token": "vision_model.embeddings.class_embedding",
        "vit.embeddings.position_embeddings": "vision_model.embeddings.position_embedding",
        "vit.embeddings.patch_embeddings.projection": "vision_model.embeddings.patch_embedding",
        "vit.layernorm": "vision_model.post_layernorm",
        "vit.layers": "vision_model.encoder.layers",
        "attention.qkv": "self_attn.qkv",
        "attention.o_proj": "self_attn.projection",
        "layernorm_before": "layer_norm1",
        "layernorm_after": "layer_norm2",
    },
    VideoMAEForVideoClassification: {
        "vit.embeddings.patch_embeddings.projection": "videomae.embeddings.patch_embeddings.projection",
        "vit.layernorm": "fc_norm",
        "vit.layers": "videomae.encoder.layer",
        "attention.q_proj": "attention.attention.query",
        "attention.k_proj": "attention.attention.key",
        "attention.v_proj": "attention.attention.value",
        "attention.o_proj": "attention.output.dense",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
        "classifier": "",
    },
}


def start_from_trunk(model: nn.Module, vit: ViTForImageClassification) -> int:
    """Copy blocks, patches and positions of a trained vision transformer into another class, in place.

    Weights that exist in only one of the two (biases of keys, heads, positions of a video, further units of a wider
    perceptron) are not changed.

    Returns
    -------
    int
        Number of weight arrays copied.
    """
    table = _RENAMED[type(model)]
    pattern = re.compile("|".join(map(re.escape, table)))
    weights, target = vit.state_dict(), model.state_dict()
    for block, kind in itertools.product(range(LAYERS), ("weight", "bias")):
        part = f"vit.layers.{block}.attention"
        weights[f"{part}.qkv.{kind}"] = torch.cat(
            [weights[f"{part}.{letter}_proj.{kind}"] for letter in "qkv"]
        )
    copied = 0
    for name, value in weights.items():
        found = target.get(pattern.sub(lambda match: table[match.group()], name))
        if found is not None:
            if found.ndim == 5:
                value = value[:, :, None].expand_as(found) / TUBELET
            elif found.ndim != value.ndim:
                value = value.reshape(found.shape)
            found[tuple(slice(length) for length in value.shape)] = value
            copied += 1
    return copied


def to_vificlip(clip: CLIPModel) -> dict[str, torch.Tensor]:
    """The image encoder of a CLIP model with the keys of the ViFi-CLIP checkpoint (names of OpenAI with a prefix)."""
    prefix, source = "module.image_encoder", clip.state_dict()
    vision = {name.removeprefix("vision_model."): value for name, value in source.items()}
    weights = {
        "class_embedding": vision["embeddings.class_embedding"],
        "positional_embedding": vision["embeddings.position_embedding.weight"],
        "conv1.weight": vision["embeddings.patch_embedding.weight"],
        "proj": vision["visual_projection.weight"].T.contiguous(),
    }
    for kind in ("weight", "bias"):
        weights[f"ln_pre.{kind}"] = vision[f"pre_layrnorm.{kind}"]
        weights[f"ln_post.{kind}"] = vision[f"post_layernorm.{kind}"]
        for block in range(LAYERS):
            old, new = f"encoder.layers.{block}", f"transformer.resblocks.{block}"
            parts = [vision[f"{old}.self_attn.{letter}_proj.{kind}"] for letter in "qkv"]
            weights[f"{new}.attn.in_proj_{kind}"] = torch.cat(parts)
            for theirs, ours in (
                ("attn.out_proj", "self_attn.out_proj"),
                ("ln_1", "layer_norm1"),
                ("ln_2", "layer_norm2"),
                ("mlp.c_fc", "mlp.fc1"),
                ("mlp.c_proj", "mlp.fc2"),
            ):
                weights[f"{new}.{theirs}.{kind}"] = vision[f"{old}.{ours}.{kind}"]
    named = {f"{prefix}.{name}": value for name, value in weights.items()}
    return named | {"module.logit_scale": source["logit_scale"]}
