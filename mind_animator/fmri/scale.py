"""Scaling of responses to mean 0 and standard deviation 1 per voxel."""

import numpy as np


def fit_scale(responses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (ddof 0; 1 for constant voxels) of every voxel over the available clips.

    Parameters
    ----------
    responses : ndarray (clip, voxel)
        A clip that is NaN in every voxel is missing and does not affect the result.

    Returns
    -------
    mean, deviation : ndarray (voxel,) float64
    """
    present = ~np.isnan(responses[:, 0]) if responses.shape[1] else np.ones(len(responses), bool)
    if not present.all():
        responses = responses[present]
    count, mean = len(responses), responses.mean(axis=0, dtype=np.float64)
    square = np.zeros_like(mean)
    for rows in _rows(count):
        square += ((responses[rows] - mean) ** 2).sum(axis=0)
    deviation = np.sqrt(square / count)
    constant = deviation <= np.abs(mean) * 4 * np.finfo(responses.dtype).eps
    return mean, np.where(constant, 1.0, deviation)


def apply_scale(responses: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """``(responses - mean) / deviation`` as float32; missing clips stay NaN."""
    scaled = np.empty(responses.shape, np.float32)
    for rows in _rows(len(responses)):
        scaled[rows] = (responses[rows] - mean) / deviation
    return scaled


def _rows(count: int) -> list[slice]:
    """Process clips in chunks, so that float64 intermediates stay in the cache."""
    return [slice(start, start + 16) for start in range(0, count, 16)]


def scale_splits(
    responses: np.ndarray, is_train: np.ndarray, scaling: str = "train"
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Scale training and test clips.

    Parameters
    ----------
    responses : ndarray (clip, voxel)
        A clip that is NaN in every voxel is missing: it does not affect the result and stays NaN.
    is_train : ndarray (clip,) bool
    scaling : str
        ``train``: the mean and standard deviation of the training clips are used for all clips. ``released_code``: each
        split is scaled by its own mean and standard deviation, as in the published code of Mind-Animator; the scaled
        response to a test clip then depends on the other test clips.

    Returns
    -------
    scaled : ndarray (clip, voxel) float32
    train, test : (mean, deviation), each (voxel,) float64
        Mean and standard deviation that were applied to each split.
    """
    if scaling not in ("train", "released_code"):
        raise ValueError(f"Expected scaling 'train' or 'released_code', got {scaling!r}.")
    if not is_train.any() and scaling == "train":
        raise ValueError("Expected training clips to fit the scale on, got none.")
    own = scaling == "released_code" and not is_train.all()
    for split, mask in (("training", is_train), ("test", ~is_train)):
        if mask.any() and np.isnan(responses[mask][:, :1]).all():
            raise ValueError(f"Expected responses to {split} clips, got none.")
    of_train, of_test = _selection(is_train), _selection(~is_train)
    train = fit_scale(responses[of_train if is_train.any() else of_test])
    test = fit_scale(responses[of_test]) if own else train
    scaled = apply_scale(responses, *train)
    if own:
        scaled[of_test] = apply_scale(responses[of_test], *test)
    return scaled, train, test


def _selection(mask: np.ndarray) -> slice | np.ndarray:
    """The same clips as a slice, which requires no copy, if they are contiguous."""
    indices = np.flatnonzero(mask)
    if len(indices) and indices[-1] - indices[0] == len(indices) - 1:
        return slice(int(indices[0]), int(indices[-1]) + 1)
    return mask
