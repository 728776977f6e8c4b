"""Self-supervised decoding of responses to frames, after Kupershmidt et al. (2022).

An encoder E is trained on pairs of clips and responses. A decoder D from one volume to all frames of a clip is then
trained on the same pairs and, without responses, on further videos v by the cycle D(E(v)) = v, with E frozen.

Published (abstract and introduction): the two networks and their order, the cycle on unpaired video (external videos,
and the training movies at their full rate and at shifted onsets), several frames per volume with a prior over time,
a perceptual loss. The authors' code was not found. Layer sizes and losses of E are those of a re-implementation
(arXiv 2507.12009); those of D are those of the same group's earlier network for images, which was described by others
with 64 channels, blocks of bicubic upsampling, 5 x 5 convolution, group normalisation and swish.

Guessed: the last convolution returns all frames (three channels per frame); the prior over time is the mean absolute
difference of neighbouring frames, in units of its mean over the training clips; ReLU between the convolutions over
space and over time; the weights of the losses against each other; random frames of the batch in the perceptual loss.

Left out: "unlabelled" responses. In the earlier code they are those of the *test* clips, so that the decoder adapts to
the test set. Here the second cycle E(D(r)) = r (``response_cycle``, 0 as in the code's shipped settings) uses training
responses only. Left out too: batch normalisation after the last sigmoid (a slip of the re-implementation; elsewhere
group normalisation replaces it, so that a clip does not depend on its batch), the L1 and group penalties of the
earlier encoder, and selection on test clips: early stopping uses held-out training movies, whose frames are also
excluded from the cycle.

The preset ``small`` (`SMALL`, 32 pixels) trains on one processor core in minutes.

References
----------
Kupershmidt et al. (2022), "A Penny for Your (visual) Thoughts", arXiv 2206.03544.
"""

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from mind_animator.config.base import Strict
from mind_animator.config.decoders import OptimisationConfig, ValidationConfig
from mind_animator.errors import InputError
from mind_animator.methods.base import (
    Method,
    Needs,
    Part,
    PredictionInputs,
    ReconstructionInputs,
    Responses,
    Size,
    Trained,
    TrainingData,
    TrainingJob,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from torch import Tensor, nn

SMALL: dict[str, Any] = {
    "size": 32,
    "encoder_widths": (16, 32, 32, 64),
    "encoder_stride": 1,
    "dropout": 0.3,
    "decoder_width": 32,
    "decoder_blocks": 2,
    "perceptual_model": "vit",
    "perceptual": 0.1,
    "perceptual_images": 8,
    "total_variation": 0.1,
    "cycle": 0.5,
    "encoder_optimisation": {
        "optimiser": "adamw", "learning_rate": 1e-3, "weight_decay": 0.05, "schedule": "cosine", "warm_up": 20,
        "batch": 32, "epochs": 5,
    },
    "decoder_optimisation": {
        "optimiser": "adamw", "learning_rate": 2e-3, "weight_decay": 0.05, "schedule": "cosine", "warm_up": 20,
        "batch": 32, "epochs": 4,
    },
}  # fmt: skip


class Options(Strict):
    """Options of this method type. A given preset replaces the defaults, and single options replace the preset's.

    Attributes
    ----------
    preset : str
        ``published``: the defaults below; ``small``: for a processor core.
    size : int
        Height and width of the frames, pixels: a multiple of 2 to the power of ``decoder_blocks``, and of 4 x
        ``encoder_stride``.
    encoder_widths : tuple of int
        Channels of the encoder after the convolution over space, over time, of each step in time, and at the end.
    encoder_stride : int
        Stride of the encoder's last convolution.
    decoder_width, decoder_blocks : int
        Channels of the decoder, and number of blocks that double its resolution.
    readout : str
        Layer between voxels and maps: ``dense``, or ``separable`` into a pattern over space and one over channels per
        voxel.
    perceptual_model : str
        Key of ``models`` in the config: a file of VGG16 weights as torchvision names them, or a ViT classifier.
    dropout : float
        Of the encoder's maps.
    cosine : float
        Weight of 1 - cosine in the encoder's loss, next to the mean squared error.
    perceptual, total_variation, smoothness : float
        Weights of the terms of the decoder's loss, next to the mean absolute error.
    perceptual_images : int
        Random images per batch in the perceptual term.
    cycle : float
        Unpaired clips per paired clip in a batch, each with the same weight as a paired clip.
    cycle_noise : float
        Standard deviation of noise that is added to the encoder's responses to unpaired clips, in units of the
        encoder's residual standard deviation per voxel on the held-out movies. 0 as published.
    response_cycle : float
        Weight of the cycle E(D(r)) = r on training responses.
    windows : int
        Unpaired clips from the training movies, per clip duration; 0: none.
    videos : tuple of str
        Folders of further unpaired videos; the workflow rejects one that contains a test stimulus.
    """

    preset: Literal["published", "small"] = "published"
    size: int = Field(112, ge=8)
    encoder_widths: tuple[int, int, int, int] = (32, 256, 128, 64)
    encoder_stride: int = Field(2, ge=1)
    decoder_width: int = Field(64, ge=1)
    decoder_blocks: int = Field(3, ge=1)
    readout: Literal["dense", "separable"] = "dense"
    perceptual_model: str = "vgg16"
    dropout: float = Field(0.5, ge=0, lt=1)
    cosine: float = Field(0.5, ge=0)
    perceptual: float = Field(0.35, ge=0)
    total_variation: float = Field(0.3, ge=0)
    smoothness: float = Field(0.01, ge=0)
    perceptual_images: int = Field(72, ge=1)
    cycle: float = Field(2.0, ge=0)
    cycle_noise: float = Field(0.0, ge=0)
    response_cycle: float = Field(0.0, ge=0)
    windows: int = Field(1, ge=0)
    videos: tuple[str, ...] = ()
    validation: ValidationConfig = ValidationConfig()
    encoder_optimisation: OptimisationConfig = OptimisationConfig(
        learning_rate=1e-3, decay=0.96, batch=64, epochs=50
    )
    decoder_optimisation: OptimisationConfig = OptimisationConfig(
        learning_rate=1e-3, decay=0.98, batch=24, epochs=150
    )

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_preset(cls, values: Any) -> Any:
        return SMALL | values if isinstance(values, dict) and values.get("preset") == "small" else values

    @model_validator(mode="after")
    def _consistent(self) -> "Options":
        for unit in (2**self.decoder_blocks, 4 * self.encoder_stride):
            if self.size % unit:
                raise ValueError(f"size = {self.size}: must be a multiple of {unit}")
        if self.cycle and not self.windows and not self.videos:
            raise ValueError("cycle requires windows of the training movies or videos")
        return self


class Kupershmidt2022(Method):
    """Encoder, then decoder of frames, with a cycle on unpaired video."""

    kind = "kupershmidt2022"
    Options = Options
    reconstruction: ClassVar = "own"
    needs = Needs(models=("clip",))

    @property
    def parts(self) -> tuple[Part, ...]:
        cycle = bool(self.options.cycle)
        needs = Needs(
            frames=True,
            movies=cycle and bool(self.options.windows),
            videos=self.options.videos if cycle else (),
            models=(self.options.perceptual_model,) if self.options.perceptual else (),
        )
        return Part("encoder", needs=Needs(frames=True)), Part("decoder", after=("encoder",), needs=needs)

    def training_memory_mb(self, part: str, size: Size) -> int:
        options = self.options
        clips = size.clips * (1 + options.windows) * size.frames * options.size**2 * 3
        return 2_500 + (2 * clips + 4 * self.weights_bytes(part, size)) // 10**6

    def weights_bytes(self, part: str, size: Size) -> int:
        options, body = self.options, 25_000_000
        width = options.encoder_widths[-1] if part == "encoder" else options.decoder_width
        side = options.size // (
            4 * options.encoder_stride if part == "encoder" else 2**options.decoder_blocks
        )
        return body + 4 * size.voxels * (width * side**2 if options.readout == "dense" else width + side**2)

    @classmethod
    def train(cls, part: str, settings: str, data: TrainingData, job: TrainingJob) -> Trained:
        import numpy as np
        import torch

        from mind_animator.decoders.checkpoint import Checkpoint
        from mind_animator.decoders.fit import fit, split_clips
        from mind_animator.decoders.train import check_finite
        from mind_animator.methods._frames import read_frames

        options = Options.model_validate_json(settings)
        responses = data.responses[0].values
        check_finite([], [responses], {}, data.movies)
        rows, held_out = split_clips(data.movies, options.validation, job.seed)
        frames = read_frames(data, options.size)
        shapes = {"voxels": responses.shape[1], "frames": frames.shape[1]}
        if shapes["frames"] < 2:
            raise InputError(
                f"config.stimuli.frames = {shapes['frames']}: must be at least 2 for kupershmidt2022."
            )
        optimisation = options.encoder_optimisation if part == "encoder" else options.decoder_optimisation
        batches = {"responses": torch.from_numpy(responses), "frames": frames}
        with (
            torch.random.fork_rng(devices=()),
            Checkpoint(job.checkpoint, job.fingerprint, optimisation.checkpoint_interval, job.device) as kept,
        ):
            torch.manual_seed(int(np.random.SeedSequence([job.seed, 1]).generate_state(1)[0]))
            network = (
                build_encoder(options, **shapes) if part == "encoder" else build_decoder(options, **shapes)
            )
            loss = encoder_loss(options)
            if part == "decoder":
                encoder = load(data.weights["encoder"], "encoder").to(job.device).requires_grad_(False)
                loss = decoder_loss(options, data, job, encoder, batches, rows, held_out)
            history = fit(
                network, loss, batches, rows, held_out, optimisation,
                seed=job.seed, device=job.device, checkpoint=kept, logs=job.logs,
            )  # fmt: skip
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
        record = {
            "part": part, "settings": options.model_dump(mode="json"), "shapes": shapes,
            "clips": {"fit": len(rows), "validation": len(held_out)},
            "parameters": sum(parameter.numel() for parameter in network.parameters()), "history": history,
        }  # fmt: skip
        return Trained(weights, record)

    @classmethod
    def predict(
        cls, settings: str, inputs: PredictionInputs, responses: Responses
    ) -> "dict[str, np.ndarray]":
        """``semantic`` (clip, embedding): mean over frames of the CLIP embeddings of the reconstruction."""
        from mind_animator.methods._frames import embed_frames

        return {"semantic": embed_frames(decoded_frames(inputs, responses), inputs)}

    @classmethod
    def reconstruct(
        cls, settings: str, clips: Sequence[str], inputs: ReconstructionInputs
    ) -> "Iterator[tuple[str, np.ndarray | InputError]]":
        frames = decoded_frames(inputs.prediction, inputs.responses)
        yield from zip(inputs.responses.clips, frames, strict=True)


ENTRY = Kupershmidt2022


def build_encoder(options: Options, voxels: int, frames: int) -> "nn.ModuleDict":
    """Frames to responses: convolution over space, over time, one per step in time, and over all steps."""
    from torch import nn

    space, time, step, last = options.encoder_widths
    side = options.size // (4 * options.encoder_stride)
    return nn.ModuleDict({
        "body": nn.Sequential(
            nn.Conv3d(3, space, (1, 3, 3), padding=(0, 1, 1)), nn.ReLU(), nn.MaxPool3d((1, 2, 2)),
            nn.Conv3d(space, time, (5, 1, 1), padding=(2, 0, 0)), nn.ReLU(), nn.MaxPool3d((1, 2, 2)),
            nn.AvgPool3d((2, 1, 1)),
        ),
        "steps": nn.ModuleList(
            nn.Sequential(nn.Conv2d(time, step, 3, padding=1), nn.ReLU(), nn.GroupNorm(max(1, step // 4), step))
            for _ in range(frames // 2)
        ),
        "last": nn.Sequential(
            nn.Conv2d(frames // 2 * step, last, 3, options.encoder_stride, padding=1), nn.ReLU(),
            nn.GroupNorm(max(1, last // 4), last), nn.Dropout(options.dropout),
        ),
        "readout": _readout(options.readout, voxels, last, side, "voxels"),
    })  # fmt: skip


def encode(network: "nn.ModuleDict", frames: "Tensor") -> "Tensor":
    """Responses (clip, voxel) to frames (clip, frame, 3, height, width) in [0, 1]."""
    import torch

    maps = network["body"](frames.transpose(1, 2) - 0.5)
    steps = [layer(maps[:, :, step]) for step, layer in enumerate(network["steps"])]
    maps = network["last"](torch.cat(steps, dim=1)).flatten(2)
    readout = network["readout"]
    if "linear" in readout:
        return readout["linear"](maps.flatten(1))
    return (maps.transpose(1, 2) @ readout["channels"].T * readout["space"].T).sum(1) + readout["bias"]


def build_decoder(options: Options, voxels: int, frames: int) -> "nn.ModuleDict":
    """Responses to frames: blocks of upsampling and convolution; the last convolution returns all frames."""
    from torch import nn

    width, layers = options.decoder_width, []
    for _ in range(options.decoder_blocks):
        layers += [
            nn.Upsample(scale_factor=2, mode="bicubic"),
            nn.ReflectionPad2d(2),
            nn.Conv2d(width, width, 5),
        ]
        layers += [nn.GroupNorm(max(1, width // 2), width), nn.SiLU()]
    layers += [nn.ReflectionPad2d(2), nn.Conv2d(width, 3 * frames, 5)]
    side = options.size // 2**options.decoder_blocks
    readout = _readout(options.readout, voxels, width, side, "maps")
    return nn.ModuleDict({"readout": readout, "body": nn.Sequential(*layers)})


def decode(network: "nn.ModuleDict", responses: "Tensor") -> "Tensor":
    """Frames (clip, frame, 3, height, width) in [0, 1] from responses (clip, voxel)."""
    readout = network["readout"]
    if "linear" in readout:
        maps = readout["linear"](responses).unflatten(1, (network["body"][2].in_channels, -1))
    else:
        maps = (responses[:, None] * readout["channels"].T) @ readout["space"] + readout["bias"]
    side = round(maps.shape[2] ** 0.5)
    return network["body"](maps.unflatten(2, (side, side))).sigmoid().unflatten(1, (-1, 3))


def _readout(kind: str, voxels: int, channels: int, side: int, to: Literal["voxels", "maps"]) -> "nn.Module":
    """Parameters of the layer between voxels and maps (channel, side x side)."""
    import torch
    from torch import nn

    positions = side**2
    if kind == "dense":
        sizes = (channels * positions, voxels) if to == "voxels" else (voxels, channels * positions)
        return nn.ModuleDict({"linear": nn.Linear(*sizes)})
    bias = torch.zeros(voxels) if to == "voxels" else torch.zeros(channels, 1)
    scale = positions**-0.5 if to == "voxels" else voxels**-0.5
    return nn.ParameterDict({
        "channels": torch.randn(voxels, channels) * (channels**-0.5 if to == "voxels" else 1.0),
        "space": torch.randn(voxels, positions) * scale, "bias": bias,
    })  # fmt: skip


def encoder_loss(options: Options) -> "Callable[..., Tensor]":
    """Mean squared error of the responses + ``cosine`` x (1 - cosine)."""
    from torch.nn.functional import cosine_similarity, mse_loss

    from mind_animator.methods._frames import as_images

    def loss(network: Any, batch: "dict[str, Tensor]", rng: Any, epoch: int) -> "Tensor":
        predicted, true = encode(network, as_images(batch["frames"])), batch["responses"]
        return mse_loss(predicted, true) + options.cosine * (1 - cosine_similarity(predicted, true)).mean()

    return loss


def decoder_loss(
    options: Options,
    data: TrainingData,
    job: TrainingJob,
    encoder: "nn.ModuleDict",
    batches: "dict[str, Tensor]",
    rows: "np.ndarray",
    held_out: "np.ndarray",
) -> "Callable[..., Tensor]":
    """Loss of a batch of pairs and, in training, of unpaired clips with the encoder's responses to them."""
    import numpy as np
    import torch
    from torch.nn.functional import cosine_similarity

    from mind_animator.methods._frames import BATCH, as_images
    from mind_animator.models.embed import in_batches

    def respond(frames: "Tensor") -> "Tensor":
        with torch.inference_mode():
            return in_batches(lambda part: encode(encoder, as_images(part.to(job.device))), frames, BATCH)

    features = perceptual_features(data, options, job.device) if options.perceptual else None
    true = batches["frames"]
    step = float(np.mean([(own[1:].int() - own[:-1].int()).abs().float().mean() for own in true[rows]])) / 255
    unpaired = noise = None
    if options.cycle:
        movies = {data.movies[row] for row in held_out}
        unpaired = torch.from_numpy(unpaired_clips(data, options, movies, true.shape[1], job.seed))
        imagined = respond(unpaired).to(job.device)
        unpaired = unpaired.to(job.device)
        if options.cycle_noise:
            residual = batches["responses"][held_out] - respond(true[held_out])
            noise = options.cycle_noise * residual.std(dim=0).to(job.device)

    def terms(frames: "Tensor", expected: "Tensor", rng: Any) -> "Tensor":
        total = (frames - expected).abs().mean()
        rough = frames.diff(dim=-1).abs().mean() + frames.diff(dim=-2).abs().mean()
        total = total + options.total_variation * rough
        total = total + options.smoothness * frames.diff(dim=1).abs().mean() / max(step, 1e-6)
        if features is not None:
            images, targets = frames.flatten(0, 1), expected.flatten(0, 1)
            count = min(options.perceptual_images, len(images))
            chosen = torch.arange(count, device=images.device) * (len(images) // count)
            if rng is not None:
                chosen = torch.randint(len(images), (count,), generator=rng, device=images.device)
            pairs = zip(features(images[chosen]), features(targets[chosen]), strict=True)
            distances = [(1 - cosine_similarity(one, other, dim=1)).mean() for one, other in pairs]
            total = total + options.perceptual * torch.stack(distances).mean()
        return total

    def loss(network: Any, batch: "dict[str, Tensor]", rng: Any, epoch: int) -> "Tensor":
        responses, expected = batch["responses"], as_images(batch["frames"])
        paired = len(responses)
        if rng is not None and unpaired is not None:
            count = round(options.cycle * paired)
            chosen = torch.randint(len(unpaired), (count,), generator=rng, device=unpaired.device)
            own = imagined[chosen]
            if noise is not None:
                own = own + noise * torch.randn(own.shape, generator=rng, device=own.device)
            responses = torch.cat([responses, own])
            expected = torch.cat([expected, as_images(unpaired[chosen])])
        frames = decode(network, responses)
        total = terms(frames, expected, rng)
        if options.response_cycle:
            again = encode(encoder, frames[:paired])
            total = total + options.response_cycle * (again - batch["responses"]).square().mean()
        return total

    return loss


def perceptual_features(
    data: TrainingData, options: Options, device: str
) -> "Callable[[Tensor], list[Tensor]]":
    """Features (image, channel, ...) of images (image, 3, height, width) in [0, 1] at several depths.

    Raises
    ------
    InputError
        If the model is neither a ViT classifier nor a whole set of VGG16 weights.
    """
    import torch
    from safetensors.torch import load_file
    from torch import nn
    from torch.nn.functional import interpolate

    from mind_animator.models.hub import locate
    from mind_animator.models.load import load_vit

    model_id_or_path = data.models[options.perceptual_model]
    found = locate(model_id_or_path, data.lock)
    if "config.json" in found.files:
        model, recipe = load_vit(model_id_or_path, data.lock, device=device)
        mean, std = (torch.tensor(v, device=device).view(3, 1, 1) for v in (recipe.mean, recipe.std))

        def hidden_states(images: "Tensor") -> "list[Tensor]":
            resized = interpolate(images, (recipe.height, recipe.width), mode="bilinear", antialias=True)
            out = model((resized - mean) / std, output_hidden_states=True)
            return [state.transpose(1, 2) for state in out.hidden_states[1:]]

        return hidden_states
    layers, channels, taps = [], 3, []
    for width in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512):
        if not width:  # the end of a block
            taps.append(len(layers) - 1)
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()] if width else [nn.MaxPool2d(2)]
        channels = width or channels
    network, taps = nn.Sequential(*layers), {*taps, len(layers) - 1}
    path = found.folder / found.weights[0]
    stored = load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu")
    own = {k.removeprefix("features."): v for k, v in stored.items() if k.startswith("features.")}
    try:
        network.load_state_dict(own)
    except RuntimeError as error:
        raise InputError(
            f"Expected VGG16 weights (features.0.weight, ...) in {path}, got others: {error}."
        ) from None
    network.requires_grad_(False).eval().to(device)
    mean, std = (
        torch.tensor(v, device=device).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )

    def blocks(images: "Tensor") -> "list[Tensor]":
        values, out = (images - mean) / std, []
        for number, layer in enumerate(network):
            values = layer(values)
            out += [values] if number in taps else []
        return out

    return blocks


def unpaired_clips(
    data: TrainingData, options: Options, excluded: set[str], frames: int, seed: int
) -> "np.ndarray":
    """Clips (clip, frame, size, size, 3) uint8 at random onsets, of the duration and rate of the training clips.

    Parameters
    ----------
    excluded : set of str
        Training movies that are not read: those held out for early stopping.

    Raises
    ------
    InputError
        If there is no unpaired clip.
    """
    import numpy as np

    from mind_animator.artefacts.video import Movie
    from mind_animator.video.decode import read_clips
    from mind_animator.video.sampling import frames_shown_at

    rng = np.random.default_rng([seed, 5])
    duration = data.stimuli.duration if data.stimuli else 2.0
    rate, parts = frames / duration, []

    def onsets(start: float, end: float, per_clip: int) -> "np.ndarray":
        grid = np.arange(int((end - start - duration) * per_clip / duration))
        return start + (grid + rng.random(len(grid))) * duration / per_clip

    def add(count: int, clips: "Iterator[tuple[int, np.ndarray]]") -> None:
        own = dict(clips)  # a clip that is read a second time replaces the first
        parts.append(np.stack([own[row] for row in range(count)]))

    for span in data.stimuli.spans if options.windows else ():
        own = onsets(span.start, span.end, options.windows) if span.movie not in excluded else ()
        if len(own):
            add(len(own), data.stimuli.read(span, own, frames=frames, rate=rate, size=options.size))
    for path in data.videos:
        movie = Movie(path)
        own = onsets(0.0, movie.end, 1)
        if len(own):
            shown = frames_shown_at(movie.starts, own[:, None] + np.arange(frames) / rate)
            add(len(own), read_clips(movie, shown, size=options.size))
    if not parts:
        raise InputError(f"Expected unpaired videos of more than {duration:g} s, found none.")
    print(f"{sum(map(len, parts))} unpaired clips for the cycle.", file=sys.stderr)
    return np.concatenate(parts)


def load(path: Any, part: str) -> "nn.ModuleDict":
    """A trained network, in evaluation mode."""
    from safetensors.torch import load_file

    from mind_animator.artefacts.files import read_json

    record = read_json(path.with_suffix(".json"))
    if record.get("part") != part:
        raise InputError(
            f"Expected the part '{part}' of kupershmidt2022 in {path}, got '{record.get('part')}'."
        )
    options = Options.model_validate(record["settings"])
    network = (build_encoder if part == "encoder" else build_decoder)(options, **record["shapes"])
    network.load_state_dict(load_file(path))
    return network.eval()


def decoded_frames(inputs: PredictionInputs, responses: Responses) -> "np.ndarray":
    """Frames (clip, frame, height, width, 3) uint8."""
    import torch

    from mind_animator.methods._frames import BATCH, as_frames
    from mind_animator.models.embed import in_batches

    network = load(inputs.weights["decoder"], "decoder").to(inputs.device)
    with torch.inference_mode():
        made = in_batches(lambda part: decode(network, part.to(inputs.device)), responses.values, BATCH)
    return as_frames(made)
