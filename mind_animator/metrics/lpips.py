"""LPIPS."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from mind_animator.errors import InputError
from mind_animator.metrics.base import Description, Metric, Network

BACKBONE, HEADS = "alexnet-owt-7be5be79.pth", "alex.pth"
# of AlexNet's convolutions: key, stride, padding, and whether a 3 x 3 maximum of stride 2 comes before
_LAYERS = ((0, 4, 2, False), (3, 1, 2, True), (6, 1, 1, True), (8, 1, 1, False), (10, 1, 1, False))
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_BATCH = 8


def _load(model_id_or_path: str, lock: str, device: str) -> Callable[[np.ndarray], np.ndarray]:
    """Features whose squared Euclidean distance is LPIPS, (clip, frame, feature) float32."""
    import torch

    folder = Path(model_id_or_path)
    for name in (BACKBONE, HEADS):
        if not (folder / name).is_file():
            raise InputError(
                f"Expected a folder with {BACKBONE} (torchvision) and {HEADS} (lpips, weights/v0.1) at "
                f"'{model_id_or_path}', found no {name}."
            )
    backbone, heads = (
        torch.load(folder / name, map_location=device, weights_only=True) for name in (BACKBONE, HEADS)
    )
    try:
        weights = [
            (backbone[f"features.{key}.weight"], backbone[f"features.{key}.bias"]) for key, *_ in _LAYERS
        ]
        heads = [heads[f"lin{index}.model.1.weight"] for index in range(len(_LAYERS))]
    except KeyError as error:
        raise InputError(f"Expected AlexNet and LPIPS weights in {folder}, found no {error}.") from None
    if any((head < 0).any() for head in heads):
        raise InputError(f"Expected LPIPS weights of at least 0 in {folder / HEADS}, got negative ones.")
    shift, scale = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (_SHIFT, _SCALE))

    @torch.inference_mode()
    def embedded(images: torch.Tensor) -> torch.Tensor:
        hidden = (images.float() / 127.5 - 1 - shift) / scale
        found = []
        for (weight, bias), head, (_, stride, padding, pooled) in zip(weights, heads, _LAYERS, strict=True):
            if pooled:
                hidden = torch.nn.functional.max_pool2d(hidden, 3, 2)
            hidden = torch.relu(torch.nn.functional.conv2d(hidden, weight, bias, stride, padding))
            unit = hidden / (hidden.square().sum(1, keepdim=True).sqrt() + 1e-10)
            found.append((unit * (head / hidden[0, 0].numel()).sqrt()).flatten(1))
        return torch.cat(found, 1)

    def features(clips: np.ndarray) -> np.ndarray:
        flat = torch.from_numpy(np.ascontiguousarray(clips.reshape(-1, *clips.shape[2:]))).permute(0, 3, 1, 2)
        parts = [
            embedded(flat[start : start + _BATCH].to(device)).cpu() for start in range(0, len(flat), _BATCH)
        ]
        return torch.cat(parts).reshape(*clips.shape[:2], -1).numpy()

    return features


class Lpips(Metric):
    """Learned perceptual image patch similarity of frames (LPIPS v0.1, AlexNet): a distance.

    With the activations a_l of layer l at unit length over channels, (height, width, channel), and weights w_l::

        sum over l of mean over pixels of sum over channels of w_l (a_l,t - a_l,p)^2

    The score of a clip is the mean over its frames.

    Range: >= 0, lower is more similar; 0 for equal frames.

    References
    ----------
    Zhang, Isola, Efros, Shechtman & Wang (2018), "The unreasonable effectiveness of deep features as a perceptual
    metric", CVPR.
    """

    name, label = "lpips", "LPIPS"
    low, higher_is_better, published, order, standard, paired = 0, False, True, 35, False, False
    inputs = (Network("lpips", "lpips", BACKBONE, _load, stored=False),)

    def compare(self, ground_truth: Description, prediction: Description) -> np.ndarray:
        """Distance of each frame, (frame,) float64."""
        difference = ground_truth["lpips"] - prediction["lpips"]
        return np.einsum("fd,fd->f", difference, difference, dtype=np.float64)
