"""The semantic decoder: responses to the CLIP embedding and the prompt embedding."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mind_animator.config.decoders import SemanticConfig
from mind_animator.decoders.augment import pick_copies
from mind_animator.decoders.checkpoint import Checkpoint
from mind_animator.decoders.layers import Decoder, Residual, initialise, repeat_subjects


class SemanticDecoder(Decoder):
    """Responses to the CLIP embedding f (clip, embedding) and the prompt embedding (clip, token, width).

    Parameters
    ----------
    settings : SemanticConfig
    shapes : mapping
        ``voxels``, ``embedding`` (width of f), ``prompt_embedding`` (token, width), and ``sizes`` of the linear
        baseline's targets ``text, image, prompt_embedding``.
    """

    mean_targets: ClassVar = ("clip_embedding_text", "prompt_embedding")

    def __init__(self, settings: SemanticConfig, shapes: Mapping[str, Any]) -> None:
        super().__init__(settings, shapes)
        width, embedding = settings.width, shapes["embedding"]
        self.prompt_embedding = tuple(shapes["prompt_embedding"])
        self.body = nn.Sequential(
            nn.LayerNorm(width),
            nn.GELU(),
            nn.Dropout(settings.dropout_in),
            *(
                Residual(
                    nn.Linear(width, width), nn.LayerNorm(width), nn.GELU(), nn.Dropout(settings.dropout)
                )
                for _ in range(settings.blocks)
            ),
        )
        if self.linear_baseline:
            self.correction = nn.Linear(width, len(self.linear_baseline.scale))
        else:
            self.embed = nn.Identity() if width == embedding else nn.Linear(width, embedding)
            widths = (embedding, *settings.head, torch.Size(self.prompt_embedding).numel())
            self.head = nn.Sequential(
                *(
                    layer
                    for before, after in pairwise(widths)
                    for layer in (nn.LayerNorm(before), nn.GELU(), nn.Linear(before, after))
                )
            )
        self.log_scale = nn.Parameter(torch.tensor(1 / settings.temperature).log())
        self.variances = {"clip_embedding_text": 1.0, "prompt_embedding": 1.0}

    @classmethod
    def measure(cls, targets: Mapping[str, Tensor]) -> dict[str, Any]:
        return {
            "embedding": targets["clip_embedding_text"].shape[1],
            "prompt_embedding": list(targets["prompt_embedding"].shape[1:]),
        }

    @classmethod
    def prepare(
        cls, settings: SemanticConfig, targets: Mapping[str, Tensor], checkpoint: Checkpoint
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Flat targets (clip, width) and their augmented copies (clip, copy, width)."""
        data = {n: t.flatten(2 if n.endswith(("_copies", "_crops")) else 1) for n, t in targets.items()}
        names = {
            "text": "clip_embedding_text",
            "image": "clip_embedding_image",
            "prompt_embedding": "prompt_embedding",
        }
        return data, {name: data[array] for name, array in names.items()}

    def calibrate(
        self,
        data: Mapping[str, Tensor],
        baseline_targets: Mapping[str, Tensor],
        rows: np.ndarray,
        rng: torch.Generator,
        checkpoint: Checkpoint,
    ) -> dict[str, Tensor]:
        """With ``standardise``: variances over the fitted clips, by which squared errors are divided."""
        if self.settings.standardise:
            self.variances = {name: float(data[name][rows].var(0).mean()) for name in self.variances}
        return {}

    def reset(self, generator: torch.Generator) -> None:
        """Draw the initial weights."""
        initialise(self, generator, zero=[self.correction] if self.linear_baseline else [])

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs of `Decoder.inputs` to f (clip, embedding) and the flat prompt embedding (clip, width)."""
        hidden = self.body(self.hidden(inputs))
        if self.linear_baseline:
            pcs = inputs + self.linear_baseline.scale * self.correction(hidden)
            return self.linear_baseline.target(pcs, "text"), self.linear_baseline.target(
                pcs, "prompt_embedding"
            )
        embedding = self.embed(hidden)
        return embedding, self.head(embedding)

    def loss(self, batch: Mapping[str, Tensor], rng: torch.Generator | None, epoch: int) -> Tensor:
        """Weighted sum of squared errors and two contrastive terms (see `SemanticConfig`).

        Parameters
        ----------
        batch : mapping
            Inputs; ``clip_embedding_text, clip_embedding_image`` (clip, embedding) and ``prompt_embedding``
            (clip, width); with augmented captions also ``clip_embedding_text_copies`` and
            ``prompt_embedding_copies`` (clip, copy, ...), with cropped images ``clip_embedding_image_crops``
            (clip, crop, embedding), used in training only.
        """
        settings = self.settings
        inputs = self.batch_inputs(batch, rng, epoch)
        embedding, prompt_embedding = self(inputs)
        targets = self.targets(batch, rng)
        text, prompt = (
            repeat_subjects(targets[name], inputs) for name in ("clip_embedding_text", "prompt_embedding")
        )
        loss = functional.mse_loss(embedding, text) / self.variances["clip_embedding_text"]
        if settings.contrast:
            same = torch.arange(len(targets["clip_embedding_text"]), device=inputs.device)
            for target in (targets["clip_embedding_text"], targets["clip_embedding_image"]):
                for own in embedding.split(len(target)):  # negatives are the other clips of the same subject
                    weight = len(target) / len(embedding)
                    loss = loss + settings.contrast / 2 * weight * info_nce(own, target, self.log_scale, same)
        return (
            loss
            + settings.prompt_embedding_weight
            * functional.mse_loss(prompt_embedding, prompt)
            / self.variances["prompt_embedding"]
        )

    def targets(self, batch: Mapping[str, Tensor], rng: torch.Generator | None) -> dict[str, Tensor]:
        """Targets of a batch: in training, if the settings enable augmentation, the clips' own or augmented copies."""
        targets = {
            name: batch[name] for name in ("clip_embedding_text", "clip_embedding_image", "prompt_embedding")
        }
        groups = []  # targets of one augmented copy belong together
        if self.settings.augmented_captions:
            groups.append(
                {
                    "clip_embedding_text": "clip_embedding_text_copies",
                    "prompt_embedding": "prompt_embedding_copies",
                }
            )
        if self.settings.cropped_images:
            groups.append({"clip_embedding_image": "clip_embedding_image_crops"})
        for group in groups if rng is not None else ():
            clips, copies = batch[next(iter(group.values()))].shape[:2]
            choice = torch.randint(copies + 1, (clips,), generator=rng, device=rng.device)
            targets |= {name: pick_copies(batch[name], batch[own], choice) for name, own in group.items()}
        return targets

    def predict(self, inputs: Tensor, **given: Tensor) -> dict[str, Tensor]:
        """``semantic`` (clip, embedding) and ``prompt_embedding`` (clip, token, width)."""
        embedding, prompt_embedding = self(inputs)
        return {
            "semantic": embedding,
            "prompt_embedding": prompt_embedding.unflatten(1, self.prompt_embedding),
        }


def info_nce(first: Tensor, second: Tensor, log_scale: Tensor, same: Tensor) -> Tensor:
    """Symmetric InfoNCE of paired embeddings.

    With s_ij = exp(log_scale) cos(first_i, second_j)::

        loss = -1/2 mean_i (log softmax_j s_ij + log softmax_j s_ji) at j = i

    Parameters
    ----------
    first, second : Tensor of shape (clip, embedding)
    log_scale : Tensor, scalar
        Logarithm of the inverse temperature, at most log 100.
    same : LongTensor of shape (clip,)
        0, 1, ..: the index of the partner of each clip.

    References
    ----------
    Radford et al. (2021), "Learning transferable visual models from natural language supervision", ICML.
    """
    scale = log_scale.clamp(max=4.6052).exp()
    logits = scale * functional.normalize(first, dim=1) @ functional.normalize(second, dim=1).T
    return (functional.cross_entropy(logits, same) + functional.cross_entropy(logits.T, same)) / 2
