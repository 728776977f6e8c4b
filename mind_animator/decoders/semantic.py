"""The semantic decoder: responses to the CLIP embedding and the text condition."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from mind_animator.config.decoders import SemanticConfig
from mind_animator.decoders.augment import pick_copies
from mind_animator.decoders.layers import Decoder, Residual, initialise, repeat_subjects


class SemanticDecoder(Decoder):
    """Responses to f (clip, embedding) and the text condition (clip, condition).

    Parameters
    ----------
    settings : SemanticConfig
    voxels : sequence of int, one a subject
    embedding, prompt_embedding : int
        Width of f, and of the flattened condition (tokens * width).
    sizes : mapping, optional
        Components and width of the linear path's targets ``text, image, prompt_embedding``.
    """

    def __init__(
        self,
        settings: SemanticConfig,
        voxels: Sequence[int],
        embedding: int,
        prompt_embedding: int,
        sizes: Mapping[str, tuple[int, int]] | None = None,
    ) -> None:
        super().__init__(settings, voxels, sizes)
        width = settings.width
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
        if self.path:
            self.correction = nn.Linear(width, len(self.path.scale))
        else:
            self.embed = nn.Identity() if width == embedding else nn.Linear(width, embedding)
            widths = (embedding, *settings.head, prompt_embedding)
            self.head = nn.Sequential(
                *(
                    layer
                    for before, after in pairwise(widths)
                    for layer in (nn.LayerNorm(before), nn.GELU(), nn.Linear(before, after))
                )
            )
        self.log_scale = nn.Parameter(torch.tensor(1 / settings.temperature).log())

    def reset(self, generator: torch.Generator) -> None:
        """Draw the starting weights."""
        initialise(self, generator, zero=[self.correction] if self.path else [])

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs of `Decoder.inputs` to f (clip, embedding) and the flat condition (clip, condition)."""
        hidden = self.body(self.hidden(inputs))
        if self.path:
            scores = inputs + self.path.scale * self.correction(hidden)
            return self.path.target(scores, "text"), self.path.target(scores, "prompt_embedding")
        embedding = self.embed(hidden)
        return embedding, self.head(embedding)

    def loss(
        self,
        batch: Mapping[str, Tensor],
        draw: torch.Generator | None,
        epoch: int,
        variances: Mapping[str, float],
    ) -> Tensor:
        """Weighted sum of squared errors and the two contrasts (see `SemanticConfig`).

        Parameters
        ----------
        batch : mapping
            Inputs, and ``clip_embedding_text, clip_embedding_image`` (clip, embedding), ``prompt_embedding`` (clip, condition); in training
            with augmented captions also ``clip_embedding_text_copies`` and ``prompt_embedding_copies`` (clip, copy, ...), with
            cropped images ``clip_embedding_image_crops`` (clip, crop, embedding).
        variances : mapping
            What each squared error is divided by: ``clip_embedding_text``, ``prompt_embedding``.
        """
        settings = self.settings
        inputs = self.batch_inputs(batch, draw, epoch)
        embedding, prompt_embedding = self(inputs)
        targets = self.targets(batch, draw)
        text, wanted = (
            repeat_subjects(targets[name], inputs) for name in ("clip_embedding_text", "prompt_embedding")
        )
        loss = functional.mse_loss(embedding, text) / variances["clip_embedding_text"]
        if settings.contrast:
            same = torch.arange(len(targets["clip_embedding_text"]), device=inputs.device)
            for target in (targets["clip_embedding_text"], targets["clip_embedding_image"]):
                for own in embedding.split(len(target)):  # clips of one subject are each other's negatives
                    share = len(target) / len(embedding)
                    loss = loss + settings.contrast / 2 * share * info_nce(own, target, self.log_scale, same)
        return (
            loss
            + settings.prompt_embedding
            * functional.mse_loss(prompt_embedding, wanted)
            / variances["prompt_embedding"]
        )

    def targets(self, batch: Mapping[str, Tensor], draw: torch.Generator | None) -> dict[str, Tensor]:
        """What a batch is aimed at: in training, where settings ask for it, clips' own or augmented copies."""
        targets = {
            name: batch[name] for name in ("clip_embedding_text", "clip_embedding_image", "prompt_embedding")
        }
        groups = []  # targets of one augmented copy go together
        if self.settings.augmented_captions:
            groups.append(
                {
                    "clip_embedding_text": "clip_embedding_text_copies",
                    "prompt_embedding": "prompt_embedding_copies",
                }
            )
        if self.settings.cropped_images:
            groups.append({"clip_embedding_image": "clip_embedding_image_crops"})
        for group in groups if draw is not None else ():
            clips, copies = batch[next(iter(group.values()))].shape[:2]
            choice = torch.randint(copies + 1, (clips,), generator=draw, device=draw.device)
            targets |= {name: pick_copies(batch[name], batch[own], choice) for name, own in group.items()}
        return targets


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
        0, 1, ..: the index of each clip's partner.

    References
    ----------
    Radford et al. (2021), "Learning transferable visual models from natural language supervision", ICML.
    """
    scale = log_scale.clamp(max=4.6052).exp()
    scores = scale * functional.normalize(first, dim=1) @ functional.normalize(second, dim=1).T
    return (functional.cross_entropy(scores, same) + functional.cross_entropy(scores.T, same)) / 2
