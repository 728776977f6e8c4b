"""Settings of the three decoders and the presets ``paper``, ``released_code`` and ``ridge_residual``.

Every peculiarity of the released code that changes results is a separate option, so that its effect can be
measured: `SparsificationConfig.accumulates`, `MotionConfig.mask_drawn`, `inference_mask` and `guidance`,
`OptimisationConfig.schedule` (``noam`` overwrites ``learning_rate``) and `ValidationConfig.how`.
"""

from typing import Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, ValidationError, model_validator

from mind_animator.config.base import Fault, Strict, explain, merged
from mind_animator.errors import InputError

Decoder = Literal["semantic", "structure", "motion"]
Preset = Literal["paper", "released_code", "ridge_residual"]


class OptimisationConfig(Strict):
    """Optimisation of the weights.

    Attributes
    ----------
    optimiser : str
        ``adam`` or ``adamw``.
    learning_rate : float
        Initial (``exponential``, ``constant``) or maximum (``cosine``) learning rate; not used by ``noam``.
    schedule : str
        ``exponential``: multiplied by ``decay`` each epoch; ``cosine``: to zero over all steps; ``noam``:
        width^-1/2 min(step^-1/2, step warm_up^-3/2), which replaces ``learning_rate``, as published.
    weight_decay : float
        Of ``adamw``.
    l1, l1_decay, l1_compounding : float
        Weight of the sum of absolute parameters in the loss. At epoch e (from 1) it is
        l1 * l1_decay^(e - 1) * exp(-l1_compounding * e (e - 1) / 2): a factor per epoch, and one whose exponent grows
        with the epoch (released_code).
    betas, epsilon : tuple of float, float
        Of Adam.
    batch, epochs : int
        Clips per optimiser step; maximum number of epochs.
    patience : int, optional
        Early stopping: epochs without a lower validation loss; None: all epochs are run.
    keep : str
        Weights of the epoch with the ``best`` validation loss, or of the ``last`` epoch.
    clip_gradient : float, optional
        Maximum norm of the gradient.
    precision : str
        ``float32``; ``tf32`` (CUDA only: products of float32 matrices with 10 bits of mantissa); ``bfloat16``
        (autocast; master weights stay float32). ``auto`` is float32 on a CPU and tf32 on CUDA, where float32
        products would not use the tensor cores.
    checkpoint_interval : float
        Minimum time between two checkpoints, seconds; 0 stores one after every step.
    """

    optimiser: Literal["adam", "adamw"] = "adam"
    learning_rate: float = Field(2e-4, gt=0)
    schedule: Literal["exponential", "constant", "cosine", "noam"] = "exponential"
    decay: float = Field(0.999, gt=0, le=1)
    warm_up: int = Field(50, ge=1)
    weight_decay: float = Field(0.0, ge=0)
    l1: float = Field(0.0, ge=0)
    l1_decay: float = Field(1.0, gt=0, le=1)
    l1_compounding: float = Field(0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = Field(1e-8, gt=0)
    batch: int = Field(64, ge=2)
    epochs: int = Field(30, ge=0)
    patience: int | None = Field(None, ge=1)
    keep: Literal["best", "last"] = "best"
    clip_gradient: float | None = Field(None, gt=0)
    precision: Literal["auto", "float32", "tf32", "bfloat16"] = "auto"
    checkpoint_interval: float = Field(30.0, ge=0)


class ValidationConfig(Strict):
    """Training clips that are held out for early stopping.

    Attributes
    ----------
    how : str
        ``movies``: whole training movies, drawn with the seed; ``tail``: the last clips in order, which splits
        a movie (released_code).
    fraction : float
        Fraction of the movies (at least one) or of the clips.
    """

    how: Literal["movies", "tail"] = "movies"
    fraction: float = Field(0.1, gt=0, lt=1)


class SparsificationConfig(Strict):
    """fMRI sparsification: a fraction of the values of each clip is set to zero.

    Attributes
    ----------
    fraction : float
        Fraction of the values set to zero.
    accumulates : bool
        False: drawn again from the full data at each step. True (released_code): zeros are written into the
        training array, so that a fraction (1 - fraction)^epoch of the values remains.
    """

    fraction: float = Field(0.0, ge=0, lt=1)
    accumulates: bool = False


class LinearConfig(Strict):
    """Linear baseline of ``ridge_residual``: ridge regression with leave-one-movie-out selected penalties.

    Attributes
    ----------
    alphas : tuple of float
        Penalties to try, in units of the mean eigenvalue of the kernel.
    n_components : int
        Maximum number of principal components predicted per target; each has its own penalty.
    n_input_components : int
        Number of leading components per target that the network receives as input (in training: their
        out-of-fold predictions).
    """

    alphas: tuple[PositiveFloat, ...] = Field(
        (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0), min_length=1
    )
    n_components: int = Field(1024, ge=1)
    n_input_components: int = Field(64, ge=1)


class StackedConfig(Strict):
    """Decoders in closed form (`mind_animator.decoders.stacked`).

    Attributes
    ----------
    alphas, second_alphas : tuple of float
        Penalties to try for every component in the first and in the second stage, in units of the mean eigenvalue of
        the kernel; selected by leave-one-movie-out cross-validation.
    n_components : int
        Maximum number of principal components predicted per target.
    n_input_components : int
        Number of leading components per target that the second stage receives.
    window : tuple of int
        Volumes before and after that of the clip, within its run, whose first-stage predictions the second stage
        receives. It requires neighbouring clips at a distance of one repetition time.
    """

    alphas: tuple[PositiveFloat, ...] = Field(
        (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 1e4), min_length=1
    )
    second_alphas: tuple[PositiveFloat, ...] = Field(
        (0.001, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 300.0, 3000.0), min_length=1
    )
    n_components: int = Field(256, ge=1)
    n_input_components: int = Field(64, ge=1)
    window: tuple[NonNegativeInt, NonNegativeInt] = (0, 0)


class DecoderConfig(Strict):
    """Settings common to the three decoders.

    Attributes
    ----------
    linear : LinearConfig, optional
        If given, the network corrects a linear baseline, starting from no correction; its input is the
        baseline's predictions instead of voxels.
    width, blocks : int
        Width and number of residual blocks of the body (or of the fMRI encoder).
    dropout_in, dropout : float
        Dropout after the first layer; in the blocks.
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
    def _no_voxels_to_sparsify(self) -> "DecoderConfig":
        if self.linear is not None and self.sparsification.fraction:
            raise Fault(
                "sparsification.fraction",
                "must be 0 unless linear is null: with a linear baseline the network receives no voxels",
                self.sparsification.fraction,
            )
        return self


class SemanticConfig(DecoderConfig):
    """Responses to the CLIP embedding f and the prompt embedding.

    Loss = MSE(f, text) + contrast / 2 (InfoNCE(f, text) + InfoNCE(f, image)) + prompt_embedding_weight
    MSE(prompt embedding).

    Attributes
    ----------
    head : tuple of int
        Hidden widths between the CLIP embedding and the prompt embedding.
    contrast, prompt_embedding_weight : float
        Weights of the two further terms.
    temperature : float
        Initial temperature of InfoNCE; learned.
    standardise : bool
        Divide each squared error by the variance of its target over the training clips.
    augmented_captions, cropped_images : bool
        In training, the target of a clip is that of its own caption or of one of its augmented captions, and its
        own image embedding or that of one of its random crops, all with equal probability. The features must
        contain them (``features.caption_copies``, ``features.crops``).
    """

    head: tuple[int, ...] = (2048, 4096)
    contrast: float = Field(0.01, ge=0)
    prompt_embedding_weight: float = Field(0.5, ge=0)
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
        ``frame_tokens``: one token per frame (released_code); ``patch_tokens``: patches, sparse causal
        attention over earlier frames, cross-attention to several fMRI tokens; ``per_frame``: each frame
        separately, without earlier frames (the paper's ablation without the motion decoder).
    layers, heads, head_width, hidden : int
        Of the transformer; ``hidden`` is the width of its feed-forward sublayer.
    token_width : int
        Width of a patch token (``patch_tokens``).
    norm : str
        Of ``patch_tokens``: ``pre``, x + sublayer(LN(x)), or ``post``, x + LN(sublayer(x)), as in the paper's figure.
    output : str
        Of ``patch_tokens``: the ``change`` from each frame to the next, or the next ``frame`` itself (paper).
    patch : int
        Side of a patch, latent pixels (``patch_tokens``).
    fmri_tokens : int
        Number of keys of the cross-attention (``patch_tokens``).
    guidance : str
        ``tokens``: cross-attention over ``fmri_tokens`` keys; ``single_token`` (released_code): one key,
        whose softmax is constant, so that queries and keys receive no gradient and guidance is an added vector.
    mask_keep_ratio : float
        Fraction of the earlier frames (other than the first) that a frame attends to in training. The published
        "mask ratio" of .6 is this fraction *kept*.
    mask_drawn : str
        ``step``: for every step and clip; ``once`` (released_code): one mask for all clips and epochs.
    mask_own : bool
        If True (released_code), the random mask applies to a frame's own position too: from the third frame on, a
        frame attends to itself only with probability ``mask_keep_ratio``.
    inference_mask : str
        ``causal``: all earlier frames are visible; ``kept_none`` (released_code): nothing that the random mask applies
        to is visible, so with ``mask_own`` every frame from the third on attends to the first frame only.
    autoregressive_validation : bool
        If True, the validation loss is that of clips generated from their true first frame; otherwise that of single
        steps from true earlier frames, which cannot detect a network that copies the previous frame.
    dropout_encoder : float, optional
        Dropout in the blocks of the fMRI encoder; None: ``dropout``.
    dropout_attention, dropout_positions : float
        Dropout of the attention weights, and of the frame tokens after the positions are added.
    first_loss_frame : int
        First frame (1-based) that contributes to the loss; m + 1 in the paper.
    flow_grid_size : int
        The linear baseline also predicts the velocity of the moving content on a grid of this many rows and
        columns, and the region that moves. Latents are moved by it as far as this lowers their squared error; it
        is also a separate prediction, ``flow``, by which `ReconstructionConfig` can move a whole image.
    rescale_flow : bool
        Ridge regression shrinks the decoded velocity towards zero, the more the noisier the responses. If False,
        the decoded flow is used as is. If True, it is rescaled to the mean square flow of the training clips,
        which restores natural speed but also amplifies noise.
    scheduled_sampling_prob : float
        Fraction of the training clips whose earlier frames are decoded (out of fold) instead of true ones, as
        they are at inference.
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
    norm: Literal["pre", "post"] = "pre"
    output: Literal["change", "frame"] = "change"
    fmri_tokens: int = Field(8, ge=1)
    guidance: Literal["tokens", "single_token"] = "tokens"
    mask_keep_ratio: float = Field(0.6, ge=0, le=1)
    mask_drawn: Literal["step", "once"] = "step"
    mask_own: bool = False
    inference_mask: Literal["causal", "kept_none"] = "causal"
    autoregressive_validation: bool = False
    dropout_encoder: float | None = Field(None, ge=0, lt=1)
    dropout_attention: float = Field(0.0, ge=0, lt=1)
    dropout_positions: float = Field(0.0, ge=0, lt=1)
    first_loss_frame: int = Field(2, ge=2)
    flow_grid_size: int = Field(1, ge=1)
    rescale_flow: bool = False
    scheduled_sampling_prob: float = Field(0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _consistent(self) -> "MotionConfig":
        if self.network != "patch_tokens" and self.linear is not None:
            raise Fault("linear", f"must be null with network: {self.network}")
        if self.network == "frame_tokens" and self.guidance != "single_token":
            raise Fault("guidance", "must be 'single_token' with network: frame_tokens", self.guidance)
        if self.scheduled_sampling_prob and self.linear is None:
            raise Fault(
                "scheduled_sampling_prob", "must be 0 if linear is null", self.scheduled_sampling_prob
            )
        if self.output == "frame" and self.linear is not None:
            raise Fault("linear", "must be null with output: frame")
        return self


CONFIGS: dict[str, type[DecoderConfig]] = {
    "semantic": SemanticConfig,
    "structure": StructureConfig,
    "motion": MotionConfig,
}

_AUGMENTED = {"augmented_captions": True, "cropped_images": True}
_TAIL = {"how": "tail", "fraction": 320 / 4320}
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
            "sparsification": {"fraction": 0.1},
            "optimisation": {"learning_rate": 2e-4, "epochs": 30},
        },
        "structure": {
            "sparsification": {"fraction": 0.2},
            # the published 1e-6 and L1 4e-6 (see released_code) stay near the initial weights
            "optimisation": {"learning_rate": 2e-4, "epochs": 75, "patience": 10},
        },
        "motion": {
            "norm": "post",
            "output": "frame",
            "dropout_in": 0.3,
            "dropout": 0.2,
            "optimisation": {"learning_rate": 2e-4, "epochs": 70, "l1": 6e-7},
            "first_loss_frame": 3,
            "autoregressive_validation": True,
        },
    },
    "released_code": {
        "semantic": {
            **_AUGMENTED,
            "sparsification": {"fraction": 0.1, "accumulates": True},
            "validation": _TAIL,
            "optimisation": {"learning_rate": 2e-4, "epochs": 30, "keep": "last"},
        },
        "structure": {
            "sparsification": {"fraction": 0.2, "accumulates": True},
            "validation": _TAIL,
            "optimisation": {
                "learning_rate": 1e-6,
                "epochs": 75,
                "l1": 4e-6,
                "l1_compounding": 5e-5,  # inferred: 3.48e-6 at epoch 75
                "keep": "last",
            },
        },
        "motion": {
            "network": "frame_tokens",
            "guidance": "single_token",
            "dropout_in": 0.3,
            "dropout": 0.2,
            "dropout_encoder": 0.15,
            "dropout_attention": 0.15,
            "dropout_positions": 0.2,
            "mask_drawn": "once",
            "mask_own": True,
            "inference_mask": "kept_none",
            "autoregressive_validation": True,
            "validation": _TAIL,
            "optimisation": {
                "schedule": "noam",
                "betas": (0.9, 0.98),
                "epsilon": 1e-9,
                "epochs": 70,
                "l1": 6e-7,
                "l1_compounding": 1e-3,
                "keep": "last",
            },
        },
    },
    "ridge_residual": {
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
            "linear": {"n_input_components": 32},
            "patch": 4,
            "token_width": 256,
            "head_width": 64,
            "hidden": 512,
            "dropout_in": 0.1,
            "dropout": 0.1,
            "scheduled_sampling_prob": 0.75,
            "optimisation": {**_LATER, "learning_rate": 1e-3, "epochs": 40},
        },
    },
}


# Target arrays of each decoder, and the feature provider (text, image) whose files contain them.
TARGETS: dict[str, dict[str, str]] = {
    "semantic": {"clip_embedding_text": "text", "prompt_embedding": "text", "clip_embedding_image": "image"},
    "structure": {"latents": "image"},
    "motion": {"latents": "image"},
}


def needed_targets(decoder: str, settings: DecoderConfig) -> dict[str, str]:
    """Arrays that the training of a decoder reads, and the feature provider whose files contain them."""
    needed = dict(TARGETS[decoder])
    if isinstance(settings, SemanticConfig) and settings.augmented_captions:
        needed |= {"clip_embedding_text_copies": "text", "prompt_embedding_copies": "text"}
    if isinstance(settings, SemanticConfig) and settings.cropped_images:
        needed["clip_embedding_image_crops"] = "image"
    return needed


def decoder_settings(
    decoder: str, preset: str, overrides: dict[str, Any], where: str = "options"
) -> DecoderConfig:
    """Settings of one decoder: those of the preset, with single (also nested) keys overridden.

    Raises
    ------
    InputError
        If the merged settings are invalid; the key is named, relative to ``where``.
    """
    try:
        return CONFIGS[decoder].model_validate(merged(PRESETS[preset][decoder], overrides))
    except ValidationError as error:
        raise InputError(explain(error, f"{where}.{decoder}")) from None
