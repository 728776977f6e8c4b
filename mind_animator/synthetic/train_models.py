"""Training of the small models of the synthetic data set, on newly sampled stills and clips with separate seeds.

The training stills may contain every combination of noun and scene (they correspond to web-scale
pre-training), but their seeds are never those of a movie, and the generator is never trained on moving
images.
"""

import copy
import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from mind_animator.synthetic import models, scenes

logger = logging.getLogger(__name__)

SEED = 20170
EMA_DECAY = 0.998
WARM_UP = 50
SAVE_EVERY_SECONDS = 120.0


@dataclass(frozen=True)
class Plan:
    """Training settings of a model.

    Attributes
    ----------
    steps : int or None
        Number of steps (deterministic); None if the time budget ends the training.
    budget_seconds : float or None
        Training time in seconds, including the time before an interruption.
    batch : int
        Items per step.
    learning_rate : float
        Peak of the schedule (linear warm-up, then a cosine down to 2 %).
    seed : int
        Seed of weights, data and batches.
    bfloat16 : bool
        Automatic mixed precision in forward and backward passes.
    """

    steps: int | None
    budget_seconds: float | None
    batch: int
    learning_rate: float
    seed: int = SEED
    bfloat16: bool = False

    def progress(self, step: int, seconds: float) -> float:
        """Completed fraction of the training, 0 to 1."""
        fractions = [step / self.steps] if self.steps else []
        return max(fractions + ([seconds / self.budget_seconds] if self.budget_seconds else []))

    def part(self, fraction: float) -> "Plan":
        """The plan for a fraction of the training."""
        steps = round(self.steps * fraction) if self.steps else None
        return replace(
            self, steps=steps, budget_seconds=self.budget_seconds and self.budget_seconds * fraction
        )

    def stills(self) -> int:
        """Suitable number of stills for this length of training."""
        count = 16 * self.steps if self.steps else 200 * self.budget_seconds
        return int(np.clip(count, 256, 24000))


@dataclass(frozen=True)
class Stills:
    """Rendered stills.

    Attributes
    ----------
    frames : Tensor (still, 3, 64, 64) uint8
    alpha : Tensor (still, 64, 64) uint8
        Opacity of the object, 0 to 255.
    shots : list of Shot
    noun, scene : Tensor (still,) int64
    """

    frames: Tensor
    alpha: Tensor
    shots: list[scenes.Shot]
    noun: Tensor
    scene: Tensor


def draw_stills(count: int, seed: int, stream: int = 0) -> Stills:
    """Sample stills with a separate seed (the stream separates training and evaluation)."""
    rng = np.random.default_rng((seed, stream, 1))
    shots = [scenes.sample_still(rng) for _ in range(count)]
    size = models.IMAGE_SIZE
    frames = np.empty((count, size, size, 3), np.uint8)
    alpha = np.empty((count, size, size), np.uint8)
    for index, shot in enumerate(shots):
        frames[index] = scenes.render_frame(shot, 0.5, size)
        alpha[index] = np.rint(255 * scenes.object_alpha(shot, 0.5, size))
    noun = torch.tensor([scenes.NOUNS.index(shot.noun) for shot in shots])
    scene = torch.tensor([scenes.SCENES.index(shot.scene) for shot in shots])
    pixels = torch.from_numpy(frames.transpose(0, 3, 1, 2).copy())
    return Stills(pixels, torch.from_numpy(alpha), shots, noun, scene)


def normalise(frames: Tensor) -> Tensor:
    """Bytes to float32 in [-1, 1]."""
    return frames.float() / 127.5 - 1


def augment(images: Tensor) -> Tensor:
    """Random blur, noise and contrast, so that a classifier generalises to reconstructed images.

    Parameters
    ----------
    images : Tensor (item, ..., 3, height, width) float32 in [-1, 1]
        All frames of an item are changed in the same way.

    Returns
    -------
    Tensor like ``images``
    """
    flat = images.flatten(1, -4) if images.ndim > 4 else images[:, None]
    frames, size = flat.shape[1], flat.shape[-1]
    small = int(torch.randint(size // 3, size, ()))
    blurred = functional.interpolate(flat.flatten(0, 1), (small, small), mode="area")
    blurred = functional.interpolate(blurred, (size, size), mode="bilinear").unflatten(0, (-1, frames))
    shape = (len(flat), 1, 1, 1, 1)
    mixed = torch.where(torch.rand(shape) < 0.4, blurred, flat)
    mixed = mixed * (0.8 + 0.4 * torch.rand(shape)) + 0.2 * torch.rand(shape) - 0.1
    noise = 0.15 * torch.rand(shape) * (torch.rand(shape) < 0.4)
    return (mixed + noise * torch.randn_like(mixed)).clamp(-1, 1).reshape(images.shape)


def two_way_loss(logits: Tensor, first: Tensor, second: Tensor, seconds: int) -> Tensor:
    """Cross-entropy over pairs of labels, plus that of either label alone.

    Parameters
    ----------
    logits : Tensor (item, firsts * seconds)
    first, second : Tensor (item,) int64
    seconds : int
        Number of second labels.
    """
    log_joint = logits.float().log_softmax(-1).unflatten(-1, (-1, seconds))
    joint = functional.nll_loss(log_joint.flatten(1), first * seconds + second)
    return (
        joint
        + functional.nll_loss(log_joint.logsumexp(2), first)
        + functional.nll_loss(log_joint.logsumexp(1), second)
    )


def fit(
    module: nn.Module, loss: Callable[[nn.Module, Tensor], Tensor], items: int, plan: Plan, state: Path
) -> tuple[nn.Module, dict]:
    """Train a module and return the moving average of its weights.

    Parameters
    ----------
    module : nn.Module
    loss : callable
        ``loss(module, index)``: the mean loss of the items ``index`` (item,) int64. Random numbers inside
        are from torch's generator, which is seeded again for each step.
    items : int
        Number of available items.
    plan : Plan
    state : Path
        Checkpoint from which an interrupted training resumes; written atomically.

    Returns
    -------
    nn.Module, dict
        The averaged module in evaluation mode; steps, seconds and the last losses.
    """
    average = copy.deepcopy(module).requires_grad_(False)
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=plan.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    step, seconds, losses = _resume(state, plan, module, average, optimiser)
    begin, saved = time.monotonic() - seconds, time.monotonic()
    module.train()
    while (done := plan.progress(step, seconds)) < 1:
        torch.manual_seed(plan.seed * 1_000_003 + step)
        rate = (
            plan.learning_rate * min(1, (step + 1) / WARM_UP) * (0.02 + 0.49 * (1 + math.cos(math.pi * done)))
        )
        for group in optimiser.param_groups:
            group["lr"] = rate
        index = torch.randint(items, (plan.batch,))
        with torch.autocast("cpu", torch.bfloat16, enabled=plan.bfloat16):
            value = loss(module, index)
        optimiser.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        decay = min(EMA_DECAY, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(module.parameters()), 1 - decay)
            for kept, new in zip(average.buffers(), module.buffers(), strict=True):
                kept.copy_(new)
        step, seconds = step + 1, time.monotonic() - begin
        losses = [*losses[-199:], float(value.detach())]
        if step % 100 == 0:
            logger.info("step %d, %.0f s, loss %.4f", step, seconds, np.mean(losses[-100:]))
        if time.monotonic() - saved > SAVE_EVERY_SECONDS:
            _save_state(state, plan, module, average, optimiser, step, seconds, losses)
            saved = time.monotonic()
    _save_state(state, plan, module, average, optimiser, step, seconds, losses)
    return average.eval(), {"steps": step, "seconds": round(seconds), "loss": float(np.mean(losses[-100:]))}


def _fingerprint(plan: Plan) -> dict:
    """Settings that must agree before training resumes from a checkpoint: all except the length of the training."""
    return {key: value for key, value in vars(plan).items() if key not in ("steps", "budget_seconds")}


def _resume(state, plan, module, average, optimiser) -> tuple[int, float, list[float]]:
    """Load the checkpoint if there is one of the same plan, otherwise start at step 0."""
    if not state.exists():
        return 0, 0.0, []
    stored = torch.load(state, weights_only=True)
    if stored["plan"] != _fingerprint(plan):
        logger.info("Checkpoint %s belongs to another plan and is ignored.", state.name)
        return 0, 0.0, []
    module.load_state_dict(stored["module"])
    average.load_state_dict(stored["average"])
    optimiser.load_state_dict(stored["optimiser"])
    return stored["step"], stored["seconds"], stored["losses"]


def _save_state(state, plan, module, average, optimiser, step, seconds, losses) -> None:
    state.parent.mkdir(parents=True, exist_ok=True)
    aside = state.with_suffix(".part")
    torch.save(
        {
            "plan": _fingerprint(plan),
            "module": module.state_dict(),
            "average": average.state_dict(),
            "optimiser": optimiser.state_dict(),
            "step": step,
            "seconds": seconds,
            "losses": losses,
        },
        aside,
    )
    os.replace(aside, state)


def train_vae(plan: Plan, state: Path) -> tuple[nn.Module, dict]:
    """Train the autoencoder: the whole network for three quarters of the steps, then only the decoder.

    The loss consists of absolute and squared errors, with weighted objects and edges, and a small KL divergence of the
    posterior. In the second half noise is added to the latents, so that the decoder generalises to latents predicted
    from responses.
    """
    stills = draw_stills(plan.stills(), plan.seed)
    torch.manual_seed(plan.seed)

    def whole_loss(vae: nn.Module, index: Tensor) -> Tensor:
        posterior = vae.encode(normalise(stills.frames[index])).latent_dist
        divergence = posterior.kl().float().mean() / (models.LATENT_CHANNELS * models.LATENT_SIZE**2)
        return _decoding_loss(vae, posterior.sample(), stills, index) + 3e-4 * divergence

    module, first = fit(models.build_vae(), whole_loss, len(stills.shots), plan.part(0.75), state)
    with torch.no_grad():
        parts = [module.encode(normalise(part)).latent_dist.mean for part in stills.frames[:1024].split(64)]
    deviation = float(torch.cat(parts).std())
    module.register_to_config(scaling_factor=round(1 / deviation, 5))
    module.requires_grad_(True)
    for frozen in (module.encoder, module.quant_conv):
        frozen.requires_grad_(False)

    def decoder_loss(vae: nn.Module, index: Tensor) -> Tensor:
        with torch.no_grad():
            latents = vae.encode(normalise(stills.frames[index])).latent_dist.mean
            spoilt = 0.15 * deviation * torch.rand(len(index), 1, 1, 1)
        return _decoding_loss(vae, latents + spoilt * torch.randn_like(latents), stills, index)

    module, second = fit(
        module, decoder_loss, len(stills.shots), plan.part(0.25), state.with_suffix(".decoder.pt")
    )
    record = {key: first[key] + second[key] for key in ("steps", "seconds")}
    return module, record | {"loss": second["loss"]}


def _decoding_loss(vae: nn.Module, latents: Tensor, stills: Stills, index: Tensor) -> Tensor:
    """Error of decoded stills, in which the object is weighted threefold, and of their edges."""
    error = vae.decode(latents).sample.float() - normalise(stills.frames[index])
    weight = 1 + 2 * stills.alpha[index].float()[:, None] / 255
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return (weight * (error.abs() + error.square())).mean() + 0.5 * edges


def train_vit(plan: Plan, state: Path) -> tuple[nn.Module, dict]:
    """Train the image classifier on augmented stills; its trunk initialises the other vision transformers."""
    stills = draw_stills(plan.stills(), plan.seed)
    torch.manual_seed(plan.seed)
    module = models.build_vit()

    def loss(vit: nn.Module, index: Tensor) -> Tensor:
        logits = vit(pixel_values=augment(normalise(stills.frames[index]))).logits
        return two_way_loss(logits, stills.noun[index], stills.scene[index], len(scenes.SCENES))

    return fit(module, loss, len(stills.shots), plan, state)


def train_clip(plan: Plan, state: Path, vit: nn.Module) -> tuple[nn.Module, dict]:
    """Train CLIP by a symmetric contrastive loss of stills and captions; pairs of equal content count as correct."""
    stills = draw_stills(plan.stills(), plan.seed, stream=2)
    captions = Captions(models.build_clip_tokenizer())
    torch.manual_seed(plan.seed)
    module = models.build_clip()
    models.start_from_trunk(module, vit)
    content = stills.noun * len(scenes.SCENES) + stills.scene

    def loss(clip: nn.Module, index: Tensor) -> Tensor:
        images, labels = augment(normalise(stills.frames[index])), content[index]
        return contrast(clip(pixel_values=images, input_ids=captions.draw(labels)).logits_per_image, labels)

    return fit(module, loss, len(stills.shots), plan, state)


def contrast(logits: Tensor, labels: Tensor) -> Tensor:
    """Symmetric cross-entropy of (item, item) similarities; the target is distributed over pairs of the same label."""
    target = (labels[:, None] == labels[None]).float()
    target = target / target.sum(1, keepdim=True)
    logits = logits.float()
    return 0.5 * (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target))


class Captions:
    """Token ids of the captions of all contents, sampled at random.

    A tenth of the captions join two contents, as for clips with a cut ('..., and then ...'); the still shows one of
    them.
    """

    def __init__(self, tokenizer):
        texts = [
            f"{'an' if noun[0] in 'aeiou' else 'a'} {noun} {phrase}"
            for noun in scenes.NOUNS
            for phrase in scenes.PHRASES.values()
        ]
        self.contents = len(texts)
        self.texts = [
            frame.format(text) for frame in ("{}", "an image of {}", "there is {}") for text in texts
        ]
        self.texts += [f"{first}, and then {second}" for first in texts for second in texts]
        padded = tokenizer(
            [*self.texts, ""], padding="max_length", truncation=True, max_length=models.CONDITION_TOKENS
        )
        self.tokens = torch.tensor(padded["input_ids"])

    def draw_rows(self, labels: Tensor) -> Tensor:
        """Rows of ``tokens``, one for each content of ``labels`` (item,) int64."""
        count, n = len(labels), self.contents
        frame = torch.multinomial(torch.tensor([0.7, 0.1, 0.1]), count, replacement=True)
        other, swapped = torch.randint(n, (count,)), torch.rand(count) < 0.5
        joined = 3 * n + torch.where(swapped, other * n + labels, labels * n + other)
        return torch.where(torch.rand(count) < 0.1, joined, frame * n + labels)

    def draw(self, labels: Tensor) -> Tensor:
        """Token ids (item, 20) of captions of the contents ``labels`` (item,) int64."""
        return self.tokens[self.draw_rows(labels)]


def train_vificlip(plan: Plan, state: Path, clip: nn.Module) -> tuple[nn.Module, dict]:
    """Tune the image encoder of CLIP on moving clips, with frame-averaged embeddings and a frozen text encoder."""
    clips = draw_clips(plan.stills() // 8, plan.seed)
    captions = Captions(models.build_clip_tokenizer())
    torch.manual_seed(plan.seed)
    module = copy.deepcopy(clip).requires_grad_(True)
    module.text_model.requires_grad_(False)
    module.text_projection.requires_grad_(False)
    content = clips.noun * len(scenes.SCENES) + clips.scene

    def loss(clip: nn.Module, index: Tensor) -> Tensor:
        labels, images = content[index], augment(normalise(clips.frames[index][:, ::4]))
        frames = clip.get_image_features(images.flatten(0, 1)).pooler_output.unflatten(0, images.shape[:2])
        video = functional.normalize(functional.normalize(frames, dim=-1).mean(1), dim=-1)
        text = functional.normalize(clip.get_text_features(captions.draw(labels)).pooler_output, dim=-1)
        return contrast(clip.logit_scale.exp() * video @ text.T, labels)

    return fit(module, loss, len(clips.shots), plan, state)


@dataclass(frozen=True)
class Clips:
    """Rendered moving clips of 8 frames at 4 Hz.

    Attributes
    ----------
    frames : Tensor (clip, 8, 3, 64, 64) uint8
    shots : list of Shot
    noun, scene, octant : Tensor (clip,) int64
    """

    frames: Tensor
    shots: list[scenes.Shot]
    noun: Tensor
    scene: Tensor
    octant: Tensor


def draw_clips(count: int, seed: int, stream: int = 0) -> Clips:
    """Sample clips with visible motion, with a separate seed; a clip is any 2 s of a shot of 2 to 6 s."""
    rng = np.random.default_rng((seed, stream, 2))
    size, shots = models.IMAGE_SIZE, []
    frames = np.empty((count, models.CLIP_FRAMES, size, size, 3), np.uint8)
    while len(shots) < count:
        shot = scenes.sample_shot(rng, 0.0, float(rng.choice([2, 4, 6])))
        if shot.speed:
            onset = rng.uniform(0, shot.duration - scenes.CLIP_SECONDS)
            for index in range(models.CLIP_FRAMES):
                frames[len(shots), index] = scenes.render_frame(shot, onset + index / 4, size)
            shots.append(shot)
    noun = torch.tensor([scenes.NOUNS.index(shot.noun) for shot in shots])
    scene = torch.tensor([scenes.SCENES.index(shot.scene) for shot in shots])
    octant = torch.tensor([scenes.octant(shot.direction) for shot in shots])
    return Clips(torch.from_numpy(frames.transpose(0, 1, 4, 2, 3).copy()), shots, noun, scene, octant)


def train_videomae(plan: Plan, state: Path, vit: nn.Module) -> tuple[nn.Module, dict]:
    """Train the video classifier on augmented moving clips."""
    clips = draw_clips(plan.stills() // 4, plan.seed, stream=3)
    torch.manual_seed(plan.seed)
    module = models.build_videomae()
    models.start_from_trunk(module, vit)

    def loss(videomae: nn.Module, index: Tensor) -> Tensor:
        logits = videomae(pixel_values=augment(normalise(clips.frames[index]))).logits
        return two_way_loss(logits, clips.noun[index], clips.octant[index], scenes.OCTANTS)

    return fit(module, loss, len(clips.shots), plan, state)


def train_blip2(plan: Plan, state: Path, vit: nn.Module) -> tuple[nn.Module, dict]:
    """Train the captioner to respond to the prompt with the caption of the still."""
    stills = draw_stills(plan.stills(), plan.seed, stream=4)
    processor = models.build_blip2_processor()
    torch.manual_seed(plan.seed)
    module = models.build_blip2()
    models.start_from_trunk(module, vit)
    tokenizer = processor.tokenizer
    question = torch.tensor(
        [tokenizer.convert_tokens_to_ids("<image>")] * models.QUERIES + tokenizer(models.QUESTION).input_ids
    )
    answers = tokenizer(
        [scenes.caption(shot) for shot in stills.shots], padding=True, return_tensors="pt"
    ).input_ids
    answers = answers.masked_fill(answers == tokenizer.pad_token_id, -100)

    def loss(blip2: nn.Module, index: Tensor) -> Tensor:
        images = augment(normalise(stills.frames[index]))
        asked = question.expand(len(index), -1)
        return blip2(
            pixel_values=images, input_ids=asked, attention_mask=torch.ones_like(asked), labels=answers[index]
        ).loss

    return fit(module, loss, len(stills.shots), plan, state)


def train_sd(plan: Plan, state: Path, vae: nn.Module, clip: nn.Module) -> tuple[nn.Module, dict]:
    """Train the denoiser of latents of stills, conditioned on the prompt embeddings of the captions.

    A tenth of the prompts is empty, for classifier-free guidance; noise is added to half of the other prompt
    embeddings, so that the denoiser generalises to embeddings decoded from responses. The loss is the squared error of
    the noise, weighted by min(5 / SNR, 1).
    """
    stills = draw_stills(plan.stills(), plan.seed, stream=5)
    captions = Captions(models.build_clip_tokenizer())
    scheduler = models.build_scheduler()
    alphas = scheduler.alphas_cumprod
    content = stills.noun * len(scenes.SCENES) + stills.scene
    with torch.no_grad():
        latents = torch.cat(
            [vae.encode(normalise(part)).latent_dist.mean for part in stills.frames.split(64)]
        )
        latents *= vae.config.scaling_factor
        conditions = torch.cat(
            [clip.text_model(part).last_hidden_state for part in captions.tokens.split(256)]
        )
    torch.manual_seed(plan.seed)
    module = models.build_unet()

    def loss(unet: nn.Module, index: Tensor) -> Tensor:
        count = len(index)
        rows = torch.where(torch.rand(count) < 0.1, len(captions.texts), captions.draw_rows(content[index]))
        condition = conditions[rows]
        spoilt = 0.5 * torch.rand(count, 1, 1) * (torch.rand(count, 1, 1) < 0.5)
        condition = condition + spoilt * conditions.std() * torch.randn_like(condition)
        noise, times = torch.randn(count, *latents.shape[1:]), torch.randint(len(alphas), (count,))
        noisy = scheduler.add_noise(latents[index], noise, times)
        error = (unet(noisy, times, condition).sample.float() - noise).square().mean((1, 2, 3))
        ratio = alphas[times] / (1 - alphas[times])
        return (error * (5 / ratio).clamp(max=1)).mean()

    return fit(module, loss, len(stills.shots), plan, state)
