"""FID."""

from collections.abc import Callable

import numpy as np

from mind_animator.errors import InputError
from mind_animator.metrics.base import Network
from mind_animator.metrics.frechet import FrechetDistance

_BATCH = 8


def _load(model_id_or_path: str, lock: str, device: str) -> Callable[[np.ndarray], np.ndarray]:
    """Inception-v3 as a TorchScript file: its last pooled features of frames, (clip, frame, 2048) float32."""
    import torch

    from mind_animator.models.hub import locate

    found = locate(model_id_or_path, lock)
    path = found.folder / found.files[0]
    try:
        network = torch.jit.load(path, map_location=device).eval()
    except RuntimeError as error:
        raise InputError(
            f"Expected a TorchScript file at {path}, got: {str(error).splitlines()[0]}."
        ) from None

    @torch.inference_mode()
    def features(clips: np.ndarray) -> np.ndarray:
        flat = torch.from_numpy(np.ascontiguousarray(clips.reshape(-1, *clips.shape[2:]))).permute(0, 3, 1, 2)
        parts = [
            network(flat[start : start + _BATCH].to(device), return_features=True).float().cpu()
            for start in range(0, len(flat), _BATCH)
        ]
        return torch.cat(parts).reshape(*clips.shape[:2], -1).numpy()

    return features


class Fid(FrechetDistance):
    """Fréchet Inception distance between the frames of the reconstructions and those of the ground truths.

    With means m and covariances S of the Inception-v3 features of all frames::

        |m_t - m_p|^2 + tr(S_t + S_p - 2 (S_t S_p)^(1/2))

    A score of the set: it depends on the number of frames, and the frames of a clip are not independent, so
    that it is biased upwards for test sets of this field. The table states the distance between two random
    halves of the ground truth beside it. It does not compare a clip with its own ground truth: `mismatched`
    scores as the method does.

    Range: >= 0, lower is better.

    References
    ----------
    Heusel et al. (2017), "GANs trained by a two time-scale update rule converge to a local Nash equilibrium", NeurIPS.
    """

    name, label, order, enough, what = "fid", "FID", 60, 10_000, "frames"
    inputs = (Network("inception", "inception", "inception-2015-12-05.pth", _load),)
