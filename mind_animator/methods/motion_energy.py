"""Motion-energy encoding, ranking of a library of clips by likelihood, and averaging (after Nishimoto et al. 2011).

Published: luminance Gabor features with 6,555 filters (`mind_animator.features.motion_energy`), one linear encoding
model per voxel with several delays, the 2,000 voxels of the best cross-validated accuracy, a Gaussian likelihood
with residual covariance that is shrunk towards a multiple of the identity (.3 to .9, by identification accuracy on
left-out training data), a flat prior over a library of clips, and the average of the 100 best clips.

Different or guessed here: ridge regression instead of L1 regression; delays are the volumes after the clip's lag
that `window` names; voxels are not restricted to V1 to V3; the number of averaged clips is selected by the squared
error of left-out training movies; retrieval uses the mean embedding of the averaged clips.

Left out: the library of 18 million seconds of web video. The default library is the training clips. A folder of
videos replaces it (`library`); the workflow refuses a folder that contains a test movie. Voxels, penalties,
covariance, shrinkage and number of clips depend on training movies only; every residual is out of fold.

`encoding.json` reports on left-out training movies how much of the variance of the images the average explains, and
the ceiling of the library: the same for the average of the library's clips that are nearest in pixels.

References
----------
Nishimoto, Vu, Naselaris, Benjamini, Yu & Gallant (2011), "Reconstructing visual experiences from brain activity
evoked by natural movies", Current Biology 21.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, NonNegativeInt, PositiveFloat

from mind_animator.config.base import Strict
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
    import numpy as np
    from torch import Tensor

# Height and width at which reconstructions of left-out movies are compared, pixels.
_COMPARED = 16


class Options(Strict):
    """Options of this method type.

    Attributes
    ----------
    window : tuple of int
        Volumes before and after the volume of the clip whose responses are modelled.
    n_voxels : int
        Responses (voxel x volume) with the best out-of-fold accuracy that enter the likelihood.
    n_averaged : tuple of int
        Numbers of library clips to try for the average.
    shrinkage : tuple of float
        Weights, in (0, 1], of the identity in the residual covariance to try.
    alphas : tuple of float
        Penalties to try for every voxel, in units of the mean eigenvalue of the kernel.
    size : int
        Height and width of the frames of the library, pixels.
    library : str, optional
        Folder of videos; None: the training clips.
    library_rate : float
        Frames per second at which the videos are sampled (``stimuli.rate``).
    library_filters : dict
        For a folder, the options of the filters (``features.options.motion_energy``).
    """

    window: tuple[NonNegativeInt, NonNegativeInt] = (0, 1)
    n_voxels: int = Field(2000, ge=2)
    n_averaged: tuple[int, ...] = Field((1, 3, 10, 30, 100, 300), min_length=1)
    shrinkage: tuple[float, ...] = Field((0.05, 0.1, 0.3, 0.5, 0.7, 0.9), min_length=1)
    alphas: tuple[PositiveFloat, ...] = Field(
        (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3), min_length=1
    )
    size: int = Field(64, ge=16)
    library: str | None = None
    library_rate: float = Field(4.0, gt=0)
    library_filters: dict[str, Any] = Field(default_factory=dict)


class MotionEnergy(Method):
    """Encoding models of motion energy, inverted by ranking a library of clips."""

    kind = "motion_energy"
    Options = Options
    reconstruction: ClassVar = "own"

    @property
    def parts(self) -> tuple[Part, ...]:
        energy, folder = {"motion_energy": "motion_energy"}, self.options.library
        library = (
            Needs(features=energy, frames=True, videos=(folder,), models=("clip",))
            if folder
            else Needs(features=energy | {"clip_embedding_text": "text"}, frames=True)
        )
        encoding = Needs(features=energy, frames=True, window=self.options.window)
        return (
            Part("library", trained_on="all", needs=library),
            Part("encoding", after=("library",), needs=encoding),
        )

    @property
    def needs(self) -> Needs:
        return Needs(window=self.options.window)

    def training_memory_mb(self, part: str, size: Size) -> int:
        """Library of frames; features; responses of all volumes and their residuals by penalty; distances."""
        frames = size.clips * size.frames * self.options.size**2 * 3
        responses = 4 * size.clips * size.voxels * (1 + sum(self.options.window))
        fixed = 4 * size.clips * (7_000 + 8 * self.options.n_voxels) + 8 * size.clips**2
        return round(1_000 + 1.2 * (2 * frames + (8 + len(self.options.alphas)) * responses + fixed) / 1e6)

    def weights_bytes(self, part: str, size: Size) -> int:
        if part == "library":
            return size.clips * (size.frames * self.options.size**2 * 3 + 4 * 7_000)
        return 4 * self.options.n_voxels * (size.clips + self.options.n_voxels)

    @classmethod
    def train(cls, part: str, settings: str, data: TrainingData, job: TrainingJob) -> Trained:
        options = Options.model_validate_json(settings)
        return (_train_library if part == "library" else _train_encoding)(options, data, job)

    @classmethod
    def predict(
        cls, settings: str, inputs: PredictionInputs, responses: Responses
    ) -> "dict[str, np.ndarray]":
        """``semantic`` (clip, embedding), and ``library_rows`` (clip, n), the clips that are averaged."""
        import torch
        from safetensors import safe_open
        from safetensors.torch import load_file

        from mind_animator.artefacts.files import read_json

        model, path = load_file(inputs.weights["encoding"]), inputs.weights["encoding"]
        observed = _flat(responses)[:, model["chosen"].numpy()] @ model["rotation"].numpy()
        distances = _distances(torch.from_numpy(observed), model["library"])
        count = read_json(path.with_suffix(".json"))["n_averaged"]
        rows = distances.topk(count, largest=False).indices.sort(dim=1).values
        with safe_open(inputs.weights["library"], "pt") as file:
            embedding = file.get_tensor("embedding")
        return {"semantic": embedding[rows].mean(1).numpy(), "library_rows": rows.float().numpy()}

    @classmethod
    def reconstruct(
        cls, settings: str, clips: Sequence[str], inputs: ReconstructionInputs
    ) -> "Iterator[tuple[str, np.ndarray]]":
        """The average of the library's clips."""
        import numpy as np
        from safetensors import safe_open

        with safe_open(inputs.prediction.weights["library"], "np") as file:
            frames = file.get_tensor("frames")
        for clip, rows in zip(clips, inputs.predictions["library_rows"], strict=True):
            yield clip, np.rint(frames[rows.astype(int)].mean(0)).astype(np.uint8)


ENTRY = MotionEnergy


def _train_library(options: Options, data: TrainingData, job: TrainingJob) -> Trained:
    """Frames, motion energy and embedding of every clip of the library."""
    import numpy as np

    if options.library is None:
        frames = np.stack([_sized(data.frames.read(clip, "frames"), options.size) for clip in data.clips])
        energy, embedding = data.targets["motion_energy"], data.targets["clip_embedding_text"]
        movies = list(data.movies)
    else:
        frames, energy, embedding = _read_videos(options, data, job.device)
        movies = [""] * len(frames)
    weights = {"frames": frames, "motion_energy": energy, "embedding": embedding}
    return Trained(weights, {"movies": movies, "clips": len(frames), "history": []})


def _read_videos(
    options: Options, data: TrainingData, device: str
) -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
    """Consecutive clips of the videos, as long as the training clips."""
    import numpy as np

    from mind_animator.artefacts.video import Movie
    from mind_animator.features.motion_energy import Options as Filters
    from mind_animator.features.motion_energy import motion_energy
    from mind_animator.models.embed import embed_images
    from mind_animator.models.load import load_clip
    from mind_animator.video.decode import read_clips
    from mind_animator.video.sampling import frames_shown_at

    filters, first = (
        Filters.model_validate(options.library_filters),
        data.frames.read(data.clips[0], "frames"),
    )
    expected = data.targets["motion_energy"][0]
    found = motion_energy(first[None], filters)[0]
    if found.shape != expected.shape or not np.allclose(found, expected, rtol=1e-2, atol=1e-2):
        raise InputError(
            f"methods.*.options.library_filters = {options.library_filters}: must be equal to "
            "config.features.options.motion_energy, from which the features of the training clips were computed."
        )
    count, side = len(first), max(first.shape[1], options.size)
    frames, energy, middle = [], [], []
    for path in data.videos:
        movie = Movie(path)
        length = count / options.library_rate
        onsets = np.arange(int(movie.end / length + 1e-6)) * length
        indices = frames_shown_at(movie.starts, onsets[:, None] + np.arange(count) / options.library_rate)
        for _, shown in read_clips(movie, indices, size=side):
            frames.append(_sized(shown, options.size))
            energy.append(motion_energy(shown[None], filters)[0])
            middle.append(shown[count // 2])
    if not frames:
        raise InputError(
            f"methods.*.options.library = {options.library}: must contain a video of at least one clip "
            f"({count / options.library_rate:g} s), found none in {len(data.videos)} files."
        )
    clip = load_clip(data.models["clip"], data.lock, device=device)
    return np.stack(frames), np.stack(energy), embed_images(clip, np.stack(middle), 64).numpy()


def _train_encoding(options: Options, data: TrainingData, job: TrainingJob) -> Trained:
    """Encoding models of the best voxels, and everything that ranks the library's clips by the likelihood."""
    import numpy as np
    import torch
    from safetensors.torch import load_file

    from mind_animator.artefacts.files import read_json
    from mind_animator.decoders.ridge import decompose, decompose_features, search_penalties
    from mind_animator.decoders.train import check_finite

    observed = torch.from_numpy(_flat(data.responses[0])).to(job.device)
    check_finite(["motion_energy"], [data.responses[0].values], data.targets, data.movies)
    library = load_file(data.weights["library"])
    movies, shown = (
        np.asarray(data.movies),
        np.asarray(read_json(data.weights["library"].with_suffix(".json"))["movies"]),
    )
    energy = torch.from_numpy(data.targets["motion_energy"]).to(observed)
    centre, scale = energy.mean(0), energy.std(0).clamp(min=1e-6)
    energy, candidates = (energy - centre) / scale, (library["motion_energy"].to(observed) - centre) / scale
    kernel = (decompose_features if energy.shape[1] < len(energy) else decompose)(energy)
    residuals, errors_of = [], []  # by penalty: out-of-fold residuals, and their squares by movie
    names = np.unique(movies)
    for penalty in options.alphas:
        *_, found = search_penalties(kernel, observed, data.movies, [penalty])
        residuals.append(found.residual)
        errors_of.append(torch.stack([found.residual[movies == m].square().sum(0) for m in names]))
    squares = (observed - observed.mean(0)).square()
    penalties = torch.tensor(options.alphas, device=observed.device)

    def fitted(rows: "np.ndarray") -> "tuple[Tensor, ...]":
        """The best voxels, their residuals, and their predicted responses to all training clips and to the library,
        from the clips of some whole movies alone."""
        used = np.isin(names, movies[rows])
        least, picked = torch.stack([error[used].sum(0) for error in errors_of]).min(0)
        r2 = 1 - least / squares[rows].sum(0).clamp(min=1e-6)
        voxels = r2.topk(min(options.n_voxels, len(r2))).indices.sort().values
        picked, seen = picked[voxels], observed[rows][:, voxels]
        residual = torch.empty_like(seen)
        for number, every in enumerate(residuals):
            residual[:, picked == number] = every[rows][:, voxels[picked == number]]
        mean_x, mean_y = energy[rows].mean(0), seen.mean(0)
        own = (decompose_features if energy.shape[1] < len(rows) else decompose)(energy[rows])
        shrunk = own.values[:, None] + penalties[picked] * own.unit
        slope = (energy[rows] - mean_x).T @ (own.vectors @ ((own.vectors.T @ (seen - mean_y)) / shrunk))
        return voxels, residual, (energy - mean_x) @ slope + mean_y, (candidates - mean_x) @ slope + mean_y

    # shrinkage and number of clips from movies that are left out of penalties, voxels, models, covariance and library
    small = torch.from_numpy(_thumbnails([data.frames.read(clip, "frames") for clip in data.clips]))
    images = small if options.library is None else torch.from_numpy(_thumbnails(library["frames"].numpy()))
    counts = sorted({n for n in options.n_averaged if n <= min(np.sum(shown != m) for m in names)})
    if not counts or len(names) < 2:
        raise InputError(
            f"methods.*.options.n_averaged = {list(options.n_averaged)}: the least must be at most the number of "
            "library clips outside one movie, and there must be at least 2 training movies."
        )
    identified = np.zeros(len(options.shrinkage))
    errors = np.zeros((len(options.shrinkage), len(counts)))
    ceiling, blank = np.zeros(len(counts)), 0.0
    for movie in names:
        own, rest = np.flatnonzero(movies == movie), np.flatnonzero(movies != movie)
        usable = np.flatnonzero(shown != movie)
        voxels, residual, to_clips, to_library = fitted(rest)
        values, vectors = _covariance(residual)
        ground_truth = small[own]
        blank += float((ground_truth - images[usable].mean(0)).square().sum())
        ceiling += _errors(torch.cdist(ground_truth, images[usable]), images[usable], ground_truth, counts)
        rotated = [array @ vectors for array in (observed[own][:, voxels], to_clips[own], to_library[usable])]
        for row, amount in enumerate(options.shrinkage):
            weight = _precision(values, amount).sqrt()
            seen, same, others = (array * weight for array in rotated)
            near = _distances(seen, same)
            identified[row] += float(
                (near > near.diagonal()[:, None]).double().sum(1).sum() / (len(near) - 1)
            )
            errors[row] += _errors(_distances(seen, others), images[usable], ground_truth, counts)
    best = int(identified.argmax())
    count = counts[int(errors[best].argmin())]
    chosen, residual, _, to_library = fitted(np.arange(len(movies)))
    values, vectors = _covariance(residual)
    rotation = vectors * _precision(values, options.shrinkage[best]).sqrt()
    weights = {"chosen": chosen, "rotation": rotation, "library": to_library @ rotation}
    record = {
        "n_averaged": count,
        "shrinkage": options.shrinkage[best],
        "identification_accuracy": float(identified[best]) / len(movies),
        "image_r2": 1 - float(errors[best].min()) / blank,
        "image_r2_library_ceiling": 1 - float(ceiling.min()) / blank,
        "image_r2_by_n_averaged": {str(n): 1 - float(e) / blank for n, e in zip(counts, errors[best], strict=True)},
        "history": [],
    }  # fmt: skip
    return Trained({name: tensor.cpu().contiguous() for name, tensor in weights.items()}, record)


def _flat(responses: Responses) -> "np.ndarray":
    """Responses (clip, volume x voxel)."""
    values = responses.values if responses.window is None else responses.window
    return values.reshape(len(values), -1)


def _sized(frames: "np.ndarray", size: int) -> "np.ndarray":
    import numpy as np

    from mind_animator.video.decode import resize_frame

    return np.stack([resize_frame(frame, size) for frame in frames])


def _thumbnails(clips: "Sequence[np.ndarray]") -> "np.ndarray":
    """Mean frame of each clip (clip, value), float32, in [0, 1]."""
    import numpy as np

    means = (np.rint(frames.mean(0)).astype(np.uint8) for frames in clips)
    return np.stack([_sized(mean[None], _COMPARED).ravel() / np.float32(255) for mean in means])


def _covariance(residual: "Tensor") -> "tuple[Tensor, Tensor]":
    """Eigenvalues and eigenvectors of the covariance of residuals (clip, voxel)."""
    import torch

    values, vectors = torch.linalg.eigh(residual.T @ residual / len(residual))
    return values.clamp(min=0), vectors


def _precision(values: "Tensor", amount: float) -> "Tensor":
    """Inverse eigenvalues of the covariance, shrunk by ``amount`` towards its mean variance times the identity."""
    return 1 / ((1 - amount) * values + amount * values.mean()).clamp(min=1e-12)


def _distances(observed: "Tensor", predicted: "Tensor") -> "Tensor":
    """Squared distance (clip, library clip) of whitened responses (clip, k) and (library clip, k): -2 log likelihood,
    apart from a constant."""
    squares = observed.square().sum(1)[:, None] + predicted.square().sum(1)
    return squares - 2 * observed @ predicted.T


def _errors(distances: "Tensor", images: "Tensor", ground_truth: "Tensor", counts: list[int]) -> "np.ndarray":
    """Squared error of the average of the nearest images, by their number, summed over clips."""
    import numpy as np

    order = distances.topk(counts[-1], largest=False, sorted=True).indices.cpu()
    sums = np.zeros(len(counts))
    for own, rows in zip(ground_truth, order, strict=True):
        running = images[rows].cumsum(0)
        sums += [float((running[n - 1] / n - own).square().sum()) for n in counts]
    return sums
