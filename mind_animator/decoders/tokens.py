"""Networks from responses to tokens of an image encoder (contrast, then a diffusion prior) and to blurry videos."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mind_animator.decoders.patches import Attention

# Seed of noise and time steps in validation: the same in every epoch.
VALIDATION_SEED = 0


class Mixers(nn.Module):
    """Blocks of LayerNorm, linear, GELU, dropout, linear, each added to the output of the block before it."""

    def __init__(self, width: int, blocks: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width)
            )
            for _ in range(blocks)
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block(x)
        return x


class PromptHead(nn.Module):
    """Tokens (clip, token, width) to prompt embeddings, standardised by the mean and deviation of training clips."""

    def __init__(self, tokens: Sequence[int], prompt: Sequence[int]) -> None:
        super().__init__()
        self.tokens, self.width = nn.Linear(tokens[0], prompt[0]), nn.Linear(tokens[1], prompt[1])
        self.residual = nn.Linear(prompt[1], prompt[1])
        self.register_buffer("mean", torch.zeros(*prompt))
        self.register_buffer("deviation", torch.ones(()))

    def forward(self, tokens: Tensor) -> Tensor:
        x = functional.gelu(self.width(self.tokens(tokens.transpose(1, 2)).transpose(1, 2)))
        return self.mean + self.deviation * (x + self.residual(x))


class TokenDecoder(nn.Module):
    """Responses to tokens: input layer, mixer blocks, one linear layer to all tokens, projector for the contrast.

    Parameters
    ----------
    voxels, width, blocks : int
    tokens : sequence of int (token, width)
    embedding : int
        Width of the caption's embedding.
    dropout : float
    mixup_until : float
        Fraction of the epochs with BiMixCo; soft contrast afterwards.
    epochs : int
        Number of epochs.
    beta : float
        Of the Beta distribution of the mixing coefficients.
    temperatures : tuple of float
        Of BiMixCo, of the soft contrast and of the contrast with captions.
    text_weight : float
        Weight of the contrast with captions.
    """

    def __init__(
        self,
        voxels: int,
        width: int,
        blocks: int,
        tokens: Sequence[int],
        embedding: int,
        dropout: float = 0.15,
        mixup_until: float = 1.0,
        epochs: int = 1,
        beta: float = 0.15,
        temperatures: Sequence[float] = (0.006, 0.0075, 0.1),
        text_weight: float = 0.25,
    ) -> None:
        super().__init__()
        self.shape, self.mixup_epochs, self.beta = tuple(tokens), mixup_until * epochs, beta
        self.temperatures, self.text_weight = temperatures, text_weight
        self.input_layer = nn.Linear(voxels, width)
        self.mixers = Mixers(width, blocks, dropout)
        self.outward = nn.Linear(width, tokens[0] * tokens[1])
        self.projector = nn.Sequential(
            *(
                layer
                for _ in range(3)
                for layer in (nn.LayerNorm(tokens[1]), nn.GELU(), nn.Linear(tokens[1], tokens[1]))
            )
        )
        self.register_buffer("text_slope", torch.zeros(tokens[1], embedding))
        self.register_buffer("text_intercept", torch.zeros(embedding))

    def fit_text(self, tokens: Tensor, text: Tensor, penalty: float = 1e-2) -> None:
        """Fit the frozen map from mean tokens to caption embeddings (ridge regression on training clips)."""
        pooled, text = tokens.mean(1).double(), text.double()
        x, y = pooled - pooled.mean(0), text - text.mean(0)
        gram = x.T @ x
        unit = gram.diagonal().mean() * penalty
        slope = torch.linalg.solve(
            gram + unit * torch.eye(len(gram), dtype=x.dtype, device=x.device), x.T @ y
        )
        self.text_slope.copy_(slope)
        self.text_intercept.copy_(text.mean(0) - pooled.mean(0) @ slope)

    def text(self, tokens: Tensor) -> Tensor:
        """Caption embeddings (clip, embedding) of tokens."""
        return tokens.mean(1) @ self.text_slope + self.text_intercept

    def forward(self, responses: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens before and after the projector."""
        tokens = self.outward(self.mixers(self.input_layer(responses))).unflatten(1, self.shape)
        return tokens, self.projector(tokens)

    def loss(self, batch: Mapping[str, Tensor], rng: torch.Generator | None, epoch: int) -> Tensor:
        """BiMixCo or soft contrast with the tokens, plus the contrast with captions.

        ``responses`` may have an axis of repeats, which alternate by epoch; so may the frames of ``tokens``.
        """
        responses = batch["responses"]
        if responses.ndim == 3:
            responses = responses[:, epoch % responses.shape[1]]
        targets = batch["tokens"][:, epoch % batch["tokens"].shape[1]]
        clips, mixing = len(responses), rng is not None and epoch <= self.mixup_epochs
        labels = torch.eye(clips, device=responses.device)
        if mixing:
            order, fractions = mix_half(clips, self.beta, rng)
            responses = fractions[:, None] * responses + (1 - fractions)[:, None] * responses[order]
            labels = fractions[:, None] * labels + (1 - fractions)[:, None] * labels[order]
        _, projected = self(responses)
        own, other = (functional.normalize(x.flatten(1), dim=1) for x in (projected, targets))
        hard, soft, with_text = self.temperatures
        # validation always measures the soft contrast, so that epochs are comparable
        loss = contrast(own @ other.T / hard, labels) if mixing else soft_contrast(own, other, soft)
        text = functional.normalize(batch["text"], dim=1)
        logits = functional.normalize(self.text(projected), dim=1) @ text.T / with_text
        return loss + self.text_weight * contrast(logits, labels)


def mix_half(clips: int, beta: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Partners and fractions of mixed clips: Beta(beta, beta) for a random half of them, 1 for the others.

    A Beta variable is drawn by Johnk's method from uniform numbers of ``rng``.
    """
    device = rng.device
    order = torch.randperm(clips, generator=rng, device=device)
    fractions = torch.ones(clips, device=device)
    for index in torch.randperm(clips, generator=rng, device=device)[: clips // 2].tolist():
        while True:
            x, y = torch.rand(2, generator=rng, device=device).double() ** (1 / beta)
            if 0 < x + y <= 1:
                fractions[index] = x / (x + y)
                break
    return order, fractions


def contrast(logits: Tensor, labels: Tensor) -> Tensor:
    """Symmetric cross-entropy: ``-1/2 mean_i sum_j Y_ij (log softmax_j s_ij + log softmax_i s_ij)``.

    References
    ----------
    Scotti et al. (2023), "Reconstructing the mind's eye" (BiMixCo), NeurIPS.
    """
    rows = (labels * logits.log_softmax(1)).sum(1).mean()
    columns = (labels * logits.log_softmax(0)).sum(0).mean()
    return -(rows + columns) / 2


def soft_contrast(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """`contrast` of normalised vectors with soft labels: the similarities of the targets ``second`` to each other."""
    logits, labels = first @ second.T / temperature, (second @ second.T / temperature).softmax(1)
    return contrast(logits, labels)


class TokenPrior(nn.Module):
    """A diffusion prior: tokens of the image encoder, given decoded tokens, by predicting clean tokens.

    Parameters
    ----------
    decoder : TokenDecoder
        Trained; it is not changed.
    tokens : sequence of int (token, width)
    prompt : sequence of int (token, width)
        Of the prompt embeddings, which a `PromptHead` computes from the prior's tokens.
    layers, heads : int
    timesteps : int
        Of training.
    drop : float
        Probability that a clip's condition is dropped in training.
    weight, text_weight, prompt_weight : float
        Weights of the squared error of the tokens, the contrast with captions, and the error of the prompt embedding.
    """

    def __init__(
        self,
        decoder: TokenDecoder,
        tokens: Sequence[int],
        prompt: Sequence[int],
        layers: int,
        heads: int,
        timesteps: int = 100,
        drop: float = 0.2,
        weight: float = 30.0,
        text_weight: float = 1.0,
        prompt_weight: float = 1.0,
    ) -> None:
        from diffusers import DDIMScheduler, PriorTransformer

        super().__init__()
        count, width = tokens
        self.decoder, self.drop, self.weights = decoder, drop, (weight, text_weight, prompt_weight)
        decoder.requires_grad_(False)
        self.network = PriorTransformer(
            num_attention_heads=heads,
            attention_head_dim=width // heads,
            num_layers=layers,
            embedding_dim=width,
            num_embeddings=2 * count,
            additional_embeddings=2,
            added_emb_type=None,
        )
        for name in ("clip_mean", "clip_std"):  # used by pipelines of diffusers only
            getattr(self.network, name).requires_grad_(False)
        self.scheduler = DDIMScheduler(
            timesteps, beta_schedule="squaredcos_cap_v2", prediction_type="sample", clip_sample=False
        )
        self.head = PromptHead(tokens, prompt)
        self.register_buffer("mean", torch.zeros(*tokens))
        self.register_buffer("deviation", torch.ones(()))

    def standardise(self, tokens: Tensor, prompts: Tensor) -> None:
        """Measure means and standard deviations of the targets."""
        for module, values in ((self, tokens), (self.head, prompts)):
            module.mean.copy_(values.mean(0))
            module.deviation.copy_((values - module.mean).square().mean().sqrt())

    def denoise(self, noisy: Tensor, time: Tensor | int, condition: Tensor) -> Tensor:
        """Clean tokens, standardised."""
        given = functional.layer_norm(condition, condition.shape[2:])
        output = self.network(noisy, time, given.mean(1), encoder_hidden_states=given)
        return output.predicted_image_embedding

    def loss(self, batch: Mapping[str, Tensor], rng: torch.Generator | None, epoch: int) -> Tensor:
        """Weighted errors of tokens, captions and prompt embeddings at one random time step per clip."""
        targets = batch["tokens"][:, epoch % batch["tokens"].shape[1]]
        condition, clips, device = batch["condition"], len(targets), targets.device
        generator = rng or torch.Generator(device).manual_seed(VALIDATION_SEED)
        times = torch.randint(
            len(self.scheduler.alphas_cumprod), (clips,), generator=generator, device=device
        )
        noise = torch.randn(targets.shape, generator=generator, device=device)
        if rng is not None:
            kept = torch.rand(clips, generator=rng, device=device) >= self.drop
            condition = condition * kept[:, None, None]
        clean = (targets - self.mean) / self.deviation
        made = self.denoise(self.scheduler.add_noise(clean, noise, times), times, condition)
        text, own = functional.normalize(batch["text"], dim=1), self.mean + self.deviation * made
        logits = functional.normalize(self.decoder.text(own), dim=1) @ text.T / self.decoder.temperatures[2]
        error = functional.mse_loss(self.head(own.detach()), batch["prompt"]) / self.head.deviation**2
        losses = functional.mse_loss(made, clean), contrast(logits, torch.eye(clips, device=device)), error
        return sum(weight * value for weight, value in zip(self.weights, losses, strict=True))

    @torch.no_grad()
    def sample(self, condition: Tensor, noise: Tensor, steps: int) -> Tensor:
        """Tokens (clip, token, width) by DDIM from ``noise`` of that shape."""
        self.scheduler.set_timesteps(steps, device=noise.device)
        current = noise
        for time in self.scheduler.timesteps:
            made = self.denoise(current, time, condition)
            current = self.scheduler.step(made, time, current).prev_sample
        return self.mean + self.deviation * current


class ClipAttention(nn.Module):
    """Attention over the places of each frame, and over the frames of the same clip at each place.

    The result over frames is blended with a learnt weight that starts without it.
    """

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        self.norm, self.spatial = nn.GroupNorm(min(8, channels), channels), Attention(channels, heads)
        self.temporal = Attention(channels, heads)
        self.blend = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (clip, frame, channel, h, w) to maps of the same shape."""
        shape = x.shape
        normed = (
            self.norm(x.flatten(0, 1)).unflatten(0, shape[:2]).flatten(3)
        )  # (clip, frame, channel, place)
        x = x.flatten(3) + self.spatial(normed.transpose(2, 3)).transpose(2, 3)
        over_frames = x + self.temporal(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return (self.blend * x + (1 - self.blend) * over_frames).view(shape)


class BlurryVideo(nn.Module):
    """Responses to latents of a blurry video: a pseudo-volume per frame, mixer blocks, and a convolutional decoder.

    Frames of a clip attend to each other; clips of a batch never do.

    Parameters
    ----------
    voxels, hidden, width, blocks : int
        ``hidden`` units between the volume and the pseudo-volumes.
    latents : sequence of int (frame, channel, h, w)
    channels : sequence of int
        Of the maps of the decoder, at least two; all steps but the first and the last double height and width.
    tokens : sequence of int (token, width)
        Of the features that the first map is contrasted with; their number must be a square.
    dropout : float
    feature_weight, temperature : float
        Of the soft contrast.
    """

    def __init__(
        self,
        voxels: int,
        hidden: int,
        width: int,
        blocks: int,
        latents: Sequence[int],
        channels: Sequence[int],
        tokens: Sequence[int],
        dropout: float = 0.3,
        feature_weight: float = 0.1,
        temperature: float = 0.05,
    ) -> None:
        super().__init__()
        frames, depth, height, width_of_map = latents
        scale = 2 ** (len(channels) - 2)
        self.frames, self.first = frames, (channels[0], height // scale, width_of_map // scale)
        self.side, self.weight, self.temperature = round(tokens[0] ** 0.5), feature_weight, temperature
        self.pseudo = nn.Sequential(nn.Linear(voxels, hidden), nn.GELU(), nn.Linear(hidden, frames * voxels))
        self.input_layer, self.mixers = nn.Linear(voxels, width), Mixers(width, blocks, dropout)
        self.outward = nn.Sequential(nn.Linear(width, torch.Size(self.first).numel()), nn.Dropout(dropout))
        self.features = nn.Linear(channels[0], tokens[1])
        stages: list[nn.Module] = []
        for before, after in zip(channels, [*channels[1:], channels[-1]], strict=True):
            stages.append(
                nn.ModuleDict(
                    {
                        "attention": ClipAttention(before),
                        "convolution": nn.Sequential(
                            nn.GroupNorm(min(8, before), before),
                            nn.SiLU(),
                            nn.Conv2d(before, after, 3, padding=1),
                        ),
                    }
                )
            )
        self.stages = nn.ModuleList(stages)
        self.last = nn.Sequential(nn.SiLU(), nn.Conv2d(channels[-1], depth, 3, padding=1))
        self.register_buffer("mean", torch.zeros(*latents[1:]))
        self.register_buffer("deviation", torch.ones(()))

    def standardise(self, latents: Tensor) -> None:
        """Measure the mean frame and the standard deviation of latents (clip, frame, channel, h, w)."""
        self.mean.copy_(latents.mean((0, 1)))
        self.deviation.copy_((latents - self.mean).square().mean().sqrt())

    def forward(self, responses: Tensor) -> tuple[Tensor, Tensor]:
        """Latents (clip, frame, channel, h, w), and the features of the first map (clip, token, width)."""
        volumes = responses[:, None] + self.pseudo(responses).unflatten(1, (self.frames, -1))
        x = self.outward(self.mixers(self.input_layer(volumes))).unflatten(2, self.first)
        pooled = functional.adaptive_avg_pool2d(x.mean(1), self.side).flatten(2).transpose(1, 2)
        for number, stage in enumerate(self.stages):
            flat = stage["convolution"](stage["attention"](x).flatten(0, 1))
            if 0 < number < len(self.stages) - 1:
                flat = functional.interpolate(flat, scale_factor=2.0, mode="nearest")
            x = flat.unflatten(0, (len(responses), self.frames))
        made = self.last(x.flatten(0, 1)).unflatten(0, (len(responses), self.frames))
        return self.mean + self.deviation * made, self.features(pooled)

    def loss(self, batch: Mapping[str, Tensor], rng: torch.Generator | None, epoch: int) -> Tensor:
        """``.5 (L1 of the standardised latents + weight x soft contrast of the features)``."""
        responses = batch["responses"]
        if responses.ndim == 3:
            responses = responses[:, epoch % responses.shape[1]]
        made, features = self(responses)
        loss: Any = functional.l1_loss(made, batch["latents"]) / self.deviation
        targets = batch["tokens"][:, epoch % batch["tokens"].shape[1]]
        own, other = (functional.normalize(x.flatten(1), dim=1) for x in (features, targets))
        return 0.5 * (loss + self.weight * soft_contrast(own, other, self.temperature))
