"""The three decoders: settings, the presets ``paper``, ``released_code`` and ``best``, and every published
quirk.

A quirk of the published code that changes results is an option of its own, so that its effect can be
measured: `SparsificationConfig.accumulates`, `MotionConfig.mask_drawn`, `inference_mask` and `guidance`,
`OptimisationConfig.schedule` (``noam`` overwrites ``learning_rate``) and `ValidationConfig.how`.
"""

from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from mind_animator.config.base import Strict, explain, merged
from mind_animator.errors import InputError

Decoder = Literal["semantic", "structure", "motion"]
Preset = Literal["paper", "released_code", "best"]


class OptimisationConfig(Strict):
    """How weights are fitted.

    Attributes
    ----------
    optimiser : str
        ``adam`` or ``adamw``.
    learning_rate : float
        At the start (``exponential``, ``constant``) or at its highest (``cosine``); not used by ``noam``.
    schedule : str
        ``exponential``: times ``decay`` each epoch; ``cosine``: to zero over all steps; ``noam``:
        width^-1/2 min(step^-1/2, step warm_up^-3/2), which overwrites the learning rate given, as published.
    weight_decay : float
        Of ``adamw``.
    l1, l1_decay : float
        Weight of the sum of absolute parameters in the loss, and its factor an epoch.
    batch, epochs : int
        Clips a step; at most so many passes.
    patience : int, optional
        Epochs without a better validation loss after which training ends; None: all epochs are run.
    keep : str
        Weights of the ``best`` validation loss or of the ``last`` epoch.
    clip_gradient : float, optional
        Largest norm of the gradient.
    precision : str
        ``float32``, or ``bfloat16`` (autocast; master weights stay float32).
    save_seconds : float
        Least time between two stores of the resumable state, seconds; 0 stores after every step.
    """

    optimiser: Literal["adam", "adamw"] = "adam"
    learning_rate: float = Field(2e-4, gt=0)
    schedule: Literal["exponential", "constant", "cosine", "noam"] = "exponential"
    decay: float = Field(0.999, gt=0, le=1)
    warm_up: int = Field(50, ge=1)
    weight_decay: float = Field(0.0, ge=0)
    l1: float = Field(0.0, ge=0)
    l1_decay: float = Field(1.0, gt=0, le=1)
    batch: int = Field(64, ge=2)
    epochs: int = Field(30, ge=0)
    patience: int | None = Field(None, ge=1)
    keep: Literal["best", "last"] = "best"
    clip_gradient: float | None = Field(None, gt=0)
    precision: Literal["float32", "bfloat16"] = "float32"
    save_seconds: float = Field(30.0, ge=0)


class ValidationConfig(Strict):
    """Which training clips are kept from the fit to stop it.

    Attributes
    ----------
    how : str
        ``movies``: whole training movies, drawn with the seed; ``tail``: the last clips in order, which cuts
        inside a movie (released_code).
    share : float
        Share of the movies (at least one) or of the clips.
    """

    how: Literal["movies", "tail"] = "movies"
    share: float = Field(0.1, gt=0, lt=1)


class SparsificationConfig(Strict):
    """fMRI sparsification: a share of the values of each clip is set to zero.

    Attributes
    ----------
    share : float
        Share of values zeroed.
    accumulates : bool
        False: drawn anew from the whole data each step. True (released_code): zeros are written into the
        training array, so that a share (1 - share)^epoch of the values is left.
    """

    share: float = Field(0.0, ge=0, lt=1)
    accumulates: bool = False


class LinearConfig(Strict):
    """The closed-form path of ``best``: ridge regression, its penalty chosen a target by leaving movies out.

    Attributes
    ----------
    alphas : tuple of float
        Penalties tried, in units of the mean eigenvalue of the kernel.
    rank : int
        Most principal components of a target that are predicted, each with a penalty of its own.
    components : int
        Leading ones of these that feed the network (in training: as predicted with the clip's movie left
        out).
    """

    alphas: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
    rank: int = Field(1024, ge=1)
    components: int = Field(64, ge=1)


class DecoderConfig(Strict):
    """What the three decoders share.

    Attributes
    ----------
    linear : LinearConfig, optional
        If given, the network corrects a linear path, starting from no correction; it sees the linear path's
        predictions instead of voxels.
    width, blocks : int
        Width and number of residual blocks of the body (or of the fMRI encoder).
    dropout_in, dropout : float
        After the first layer; in the blocks.
    """

    linear: LinearConfig | None = None
    width: int = Field(512, ge=1)
    blocks: int = Field(3, ge=0)
    dropout_in: float = Field(0.3, ge=0, lt=1)
    dropout: float = Field(0.15, ge=0, lt=1)
    sparsification: SparsificationConfig = SparsificationConfig()
    validation: ValidationConfig = ValidationConfig()
    optimisation: OptimisationConfig = OptimisationConfig()

    @model_validator(mode="after")
    def _no_voxels_to_thin(self) -> "DecoderConfig":
        if self.linear is not None and self.sparsification.share:
            raise ValueError("expected sparsification only without linear: the network sees no voxels there")
        return self


class SemanticConfig(DecoderConfig):
    """Responses to the CLIP embedding f and the text condition.

    Loss = MSE(f, text) + contrast / 2 (InfoNCE(f, text) + InfoNCE(f, image)) + condition MSE(condition).

    Attributes
    ----------
    head : tuple of int
        Hidden widths between the embedding and the text condition.
    contrast, prompt_embedding : float
        Weights of the two further terms.
    temperature : float
        Of InfoNCE at the start; learnt.
    standardise : bool
        Divide each squared error by the variance of its target over the training clips.
    augmented_captions, cropped_images : bool
        In training each clip is aimed at its own caption's targets or at those of one of its augmented captions,
        at its own image embedding or at that of one of its random crops; all alike likely. The features must
        hold them (``features.caption_copies``, ``features.crops``).
    """

    head: tuple[int, ...] = (2048, 4096)
    contrast: float = Field(0.01, ge=0)
    prompt_embedding: float = Field(0.5, ge=0)
    temperature: float = Field(0.07, gt=0)
    standardise: bool = False
    augmented_captions: bool = False
    cropped_images: bool = False


class StructureConfig(DecoderConfig):
    """Responses to the latent of the first frame; loss = MSE (+ L1 of the parameters)."""

    width: int = Field(1024, ge=1)
    blocks: int = Field(2, ge=0)
    dropout_in: float = Field(0.2, ge=0, lt=1)
    dropout: float = Field(0.2, ge=0, lt=1)


class MotionConfig(DecoderConfig):
    """Responses and earlier frames to the next frame: the Consistency Motion Generator.

    Attributes
    ----------
    network : str
        ``frame_tokens``: one token a frame (released_code); ``patch_tokens``: patches, sparse causal
        attention over earlier frames, cross-attention to several fMRI tokens; ``per_frame``: a network
        without earlier frames, a frame at a time (the paper's ablation without the motion decoder).
    layers, heads, head_width, hidden : int
        Of the transformer; ``hidden`` is the width of its feed-forward part.
    token_width : int
        Width of a patch token (``patch_tokens``).
    patch : int
        Side of a patch, latent pixels (``patch_tokens``).
    fmri_tokens : int
        Keys of the cross-attention (``patch_tokens``).
    guidance : str
        ``tokens``: cross-attention over ``fmri_tokens`` keys; ``single_token`` (released_code): one key,
        whose softmax is constant, so that queries and keys get no gradient and guidance is an added vector.
    mask_kept : float
        Share of the earlier frames but the first that a frame sees in training. The published "mask ratio" of
        .6 is this share *kept*.
    mask_drawn : str
        ``step``: anew for every step and clip; ``once`` (released_code): one mask for all clips and epochs.
    inference_mask : str
        ``causal``: every earlier frame visible; ``kept_none`` (released_code): a frame sees itself and the
        first frame only.
    first_loss : int
        First frame (1-based) that the loss counts; m + 1 of the paper.
    cells : int
        The linear path also predicts the velocity of what moves, on a grid of cells x cells, and where it is.
        Latents are moved by it as far as that lowers their squared error; besides it is handed on as ``flow``,
        by which `ReconstructionConfig` can move a whole image.
    full_speed : bool
        Ridge regression shrinks the decoded velocity towards zero, the more the noisier the brain. False: it is
        handed on so. True: scaled to the mean square of the training clips' own, which shows the direction at its
        natural speed, whatever the brain.
    decoded_share : float
        Share of the training clips whose earlier frames are decoded (from movies left out) instead of true,
        as they are at inference.
    """

    network: Literal["frame_tokens", "patch_tokens", "per_frame"] = "patch_tokens"
    width: int = Field(768, ge=1)
    blocks: int = Field(1, ge=0)
    layers: int = Field(2, ge=1)
    heads: int = Field(4, ge=1)
    head_width: int = Field(256, ge=1)
    hidden: int = Field(768, ge=1)
    token_width: int = Field(512, ge=2, multiple_of=2)
    patch: int = Field(8, ge=1)
    fmri_tokens: int = Field(8, ge=1)
    guidance: Literal["tokens", "single_token"] = "tokens"
    mask_kept: float = Field(0.6, ge=0, le=1)
    mask_drawn: Literal["step", "once"] = "step"
    inference_mask: Literal["causal", "kept_none"] = "causal"
    first_loss: int = Field(2, ge=2)
    cells: int = Field(1, ge=1)
    full_speed: bool = False
    decoded_share: float = Field(0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _consistent(self) -> "MotionConfig":
        if self.network != "patch_tokens" and self.linear is not None:
            raise ValueError("expected linear only with network: patch_tokens")
        if self.network == "frame_tokens" and self.guidance != "single_token":
            raise ValueError("expected guidance: single_token with network: frame_tokens")
        if self.decoded_share and self.linear is None:
            raise ValueError("expected decoded_share only where linear is given")
        return self


CONFIGS: dict[str, type[DecoderConfig]] = {
    "semantic": SemanticConfig,
    "structure": StructureConfig,
    "motion": MotionConfig,
}

_AUGMENTED = {"augmented_captions": True, "cropped_images": True}
_TAIL = {"how": "tail", "share": 320 / 4320}
_LATER = {
    "optimiser": "adamw",
    "schedule": "cosine",
    "weight_decay": 0.01,
    "patience": 10,
    "clip_gradient": 1.0,
}

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "paper": {
        "semantic": {
            **_AUGMENTED,
            "sparsification": {"share": 0.1},
            "optimisation": {"learning_rate": 2e-4, "epochs": 30},
        },
        "structure": {
            "sparsification": {"share": 0.2},
            "optimisation": {"learning_rate": 1e-6, "epochs": 75, "l1": 4e-6},
        },
        "motion": {
            "dropout_in": 0.3,
            "dropout": 0.2,
            "optimisation": {"learning_rate": 2e-4, "epochs": 70, "l1": 6e-7},
            "first_loss": 3,
        },
    },
    "released_code": {
        "semantic": {
            **_AUGMENTED,
            "sparsification": {"share": 0.1, "accumulates": True},
            "validation": _TAIL,
            "optimisation": {"learning_rate": 2e-4, "epochs": 30, "keep": "last"},
        },
        "structure": {
            "sparsification": {"share": 0.2, "accumulates": True},
            "validation": _TAIL,
            "optimisation": {"learning_rate": 1e-6, "epochs": 75, "l1": 4e-6, "keep": "last"},
        },
        "motion": {
            "network": "frame_tokens",
            "guidance": "single_token",
            "dropout_in": 0.3,
            "dropout": 0.2,
            "mask_drawn": "once",
            "inference_mask": "kept_none",
            "validation": _TAIL,
            "optimisation": {
                "schedule": "noam",
                "epochs": 70,
                "l1": 6e-7,
                "l1_decay": 0.999,
                "keep": "last",
            },
        },
    },
    "best": {
        "semantic": {
            "linear": {},
            "width": 512,
            "blocks": 2,
            "head": (1024,),
            "standardise": True,
            "optimisation": {**_LATER, "learning_rate": 5e-4, "epochs": 40},
        },
        "structure": {
            "linear": {},
            "width": 512,
            "optimisation": {**_LATER, "learning_rate": 5e-4, "epochs": 40},
        },
        "motion": {
            "linear": {"components": 32},
            "patch": 4,
            "token_width": 256,
            "head_width": 64,
            "hidden": 512,
            "dropout_in": 0.1,
            "dropout": 0.1,
            "decoded_share": 0.75,
            "cells": 1,
            "optimisation": {**_LATER, "learning_rate": 1e-3, "epochs": 40},
        },
    },
}


# Arrays of the feature files that a decoder aims at, and the kind of file (text, image) that holds them.
TARGETS: dict[str, dict[str, str]] = {
    "semantic": {"clip_embedding_text": "text", "prompt_embedding": "text", "clip_embedding_image": "image"},
    "structure": {"latents": "image"},
    "motion": {"latents": "image"},
}


def needed_targets(decoder: str, settings: DecoderConfig) -> dict[str, str]:
    """Arrays that the training of a decoder reads -> the kind of feature file (text, image) that holds them."""
    needed = dict(TARGETS[decoder])
    if isinstance(settings, SemanticConfig) and settings.augmented_captions:
        needed |= {"clip_embedding_text_copies": "text", "prompt_embedding_copies": "text"}
    if isinstance(settings, SemanticConfig) and settings.cropped_images:
        needed["clip_embedding_image_crops"] = "image"
    return needed


def decoder_settings(decoder: str, preset: str, overrides: dict[str, Any]) -> DecoderConfig:
    """Settings of one decoder: the preset's, with single keys (nested ones too) overridden.

    Raises
    ------
    InputError
        If the merged settings are not valid; the key is named.
    """
    try:
        return CONFIGS[decoder].model_validate(merged(PRESETS[preset][decoder], overrides))
    except ValidationError as error:
        raise InputError(explain(error, decoder)) from None
