"""Published definitions on published reconstructions, against values of an independent script.

The values were made with scikit-image 0.26 and OpenCV 5.0 from the gifs as they are; all 8 frames, hue 6.
"""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from mind_animator.metrics.registry import find_metric

# clip: SSIM, PSNR, hue (published), EPE (published), EPE (RGB2GRAY)
REFERENCE = {
    "1-1": (0.68185, 13.5298, 0.59627, 7.9755, 7.5742),
    "1-2": (0.53996, 10.9012, 0.83756, 7.9376, 7.5018),
    "1-3": (0.22332, 10.1579, 0.88561, 11.5220, 11.3213),
    "1-4": (0.23804, 9.3360, 0.72541, 12.4578, 12.6285),
    "1-5": (0.23992, 9.3865, 0.83549, 14.5438, 14.4589),
    "2-1": (0.43198, 13.1491, 0.82394, 6.4628, 6.5926),
    "2-2": (0.24063, 8.1268, 0.88920, 9.0720, 9.6615),
    "2-3": (0.58559, 11.5020, 0.94538, 6.5105, 6.5448),
    "2-4": (0.28943, 10.7286, 0.74771, 8.0212, 7.5865),
    "2-5": (0.57208, 12.2894, 0.44953, 3.0257, 3.0401),
    "3-1": (0.48711, 10.9507, 0.52811, 5.9772, 5.6485),
    "3-2": (0.16599, 10.2314, 0.86350, 8.4409, 8.3403),
    "3-3": (0.10389, 9.5806, 0.91614, 6.8319, 6.8138),
    "3-4": (0.17805, 8.7442, 0.71927, 15.4076, 14.7796),
    "3-5": (0.40885, 10.0943, 0.65369, 5.4220, 5.3485),
}


@pytest.fixture(scope="module")
def clips(published_data: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Ground truth and prediction of each clip, (8, 512, 512, 3): a grid with 2 black pixels around and between."""
    pairs = {}
    for name in REFERENCE:
        with Image.open(published_data / "reconstructions" / "mind_animator" / f"{name}.gif") as gif:
            grid = np.stack([np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(gif)])
        assert grid.shape == (8, 516, 1030, 3)
        pairs[name] = grid[:, 2:514, 2:514], grid[:, 2:514, 516:1028]
    return pairs


@pytest.mark.parametrize(("column", "metric"), [(0, "ssim"), (1, "psnr"), (2, "hue_cos_published")])
def test_pixel_metrics(column: int, metric: str, clips) -> None:
    values = {name: find_metric(metric)(*pair) for name, pair in clips.items()}
    expected = {name: row[column] for name, row in REFERENCE.items()}
    assert values == pytest.approx(expected, abs=1e-4)


# flow takes 2 s per clip: all clips for the published definition, three for ours (its table is in the docs)
@pytest.mark.parametrize(
    ("column", "metric", "names"),
    [(3, "epe_published", tuple(REFERENCE)), (4, "epe", ("1-1", "2-2", "3-4"))],
)
def test_motion_metrics(column: int, metric: str, names, clips) -> None:
    values = {name: find_metric(metric)(*clips[name]) for name in names}
    expected = {name: REFERENCE[name][column] for name in names}
    assert values == pytest.approx(expected, abs=1e-4)
