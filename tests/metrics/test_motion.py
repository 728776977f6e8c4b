"""Flow metrics against OpenCV, plain loops and known motion."""

import cv2
import numpy as np
import pytest

from mind_animator.metrics import motion


def drifting(seed: int, step: tuple[float, float], n_frames: int = 4, size: int = 64) -> np.ndarray:
    """A smooth texture that moves by ``step`` (x, y) pixels a frame."""
    generator = np.random.default_rng(seed)
    field = cv2.GaussianBlur(generator.standard_normal((size + 64, size + 64, 3)), (0, 0), 4)
    field = (255 * (field - field.min()) / np.ptp(field)).astype(np.uint8)
    frames = []
    for t in range(n_frames):
        shift = np.float64([[1, 0, t * step[0] - 32], [0, 1, t * step[1] - 32]])
        frames.append(cv2.warpAffine(field, shift, (size, size), flags=cv2.INTER_CUBIC))
    return np.stack(frames)


def plain_flow(first: np.ndarray, second: np.ndarray, code: int) -> np.ndarray:
    greys = [cv2.cvtColor(frame, code) for frame in (first, second)]
    return cv2.calcOpticalFlowFarneback(
        *greys, None, pyr_scale=0.5, levels=3, winsize=15, iterations=3, poly_n=5, poly_sigma=1.2, flags=0
    )


@pytest.mark.parametrize(
    ("metric", "code"), [(motion.epe, cv2.COLOR_RGB2GRAY), (motion.epe_published, cv2.COLOR_BGR2GRAY)]
)
def test_epe_is_the_mean_distance_of_flow_vectors(metric, code: int) -> None:
    ground_truth = np.stack([drifting(0, (1, 0)), drifting(1, (0, 2))])
    prediction = np.stack([drifting(2, (0, 1)), drifting(3, (-1, 1))])
    values = metric(ground_truth, prediction)
    for t, p, value in zip(ground_truth, prediction, values, strict=True):
        errors = [
            np.linalg.norm(
                plain_flow(t[k], t[k + 1], code).astype(float) - plain_flow(p[k], p[k + 1], code), axis=-1
            )
            for k in range(3)
        ]
        # float32 differences and roots: relative error of a few 2^-24
        np.testing.assert_allclose(value, np.mean(errors), rtol=1e-6)


def test_epe_of_a_clip_with_itself_is_zero_and_batches_do_not_matter() -> None:
    clips = np.stack([drifting(0, (1, 0)), drifting(1, (0, 2))])
    np.testing.assert_array_equal(motion.epe(clips, clips), [0, 0])
    other = clips[::-1].copy()
    np.testing.assert_array_equal(motion.epe(clips, other)[1], motion.epe(clips[1], other[1]))


@pytest.mark.parametrize("step", [(2.0, 0.0), (0.0, -1.0), (-1.5, 1.0)])
def test_mean_flow_finds_a_known_drift(step: tuple[float, float]) -> None:
    flow = motion.flows(drifting(0, step))
    assert flow.shape == (3, 64, 64, 2) and flow.dtype == np.float32
    inner = motion.mean_flow(flow[:, 16:48, 16:48])
    np.testing.assert_allclose(inner, step, atol=0.15)
    assert motion.flow_cosine(motion.mean_flow(flow), np.array(step)) > 0.97
    np.testing.assert_allclose(motion.mean_speed(flow[:, 16:48, 16:48]), np.hypot(*step), atol=0.2)


def test_frozen_prediction_has_relative_error_one() -> None:
    ground_truth = drifting(0, (2, 1))
    frozen = np.repeat(drifting(1, (1, 1))[:1], 4, axis=0)
    flow, still = motion.flows(ground_truth), motion.flows(frozen)
    assert np.abs(still).max() == 0
    assert motion.epe_relative(motion.epe_of_flows(flow, still), motion.mean_speed(flow)) == 1
    np.testing.assert_allclose(motion.epe_of_flows(flow, still), motion.mean_speed(flow), rtol=1e-12)
    assert np.isnan(motion.epe_relative(motion.epe_of_flows(still, flow), motion.mean_speed(still)))


def test_relative_error_of_a_set_is_a_ratio_of_means_that_still_clips_do_not_rule() -> None:
    errors, speeds = np.array([3.0, 4.0, 2.0, 1.0]), np.array([2.0, 4.0, 1e-6, 0.0])
    values = motion.epe_relative(errors, speeds)
    np.testing.assert_array_equal(values, [1.5, 1, 2 / 1e-6, np.nan])
    moving = speeds > 0
    score = np.average(values[moving], weights=speeds[moving])
    np.testing.assert_allclose(score, errors[:3].sum() / speeds[:3].sum(), rtol=1e-14)
    # a plain mean would be a third of the almost still clip's ratio; weighted, it adds no more than its error
    assert values[moving].mean() > 6e5
    assert abs(score - errors[:2].sum() / speeds[:2].sum()) < errors[2] / speeds[:2].sum()
    np.testing.assert_array_equal(motion.epe_relative(2 * errors, 2 * speeds), values)  # no unit


def test_flow_cosine_is_zero_without_direction() -> None:
    vectors = np.array([[3.0, 4.0], [0.0, 0.0], [-4.0, 3.0], [-3.0, -4.0]])
    np.testing.assert_allclose(motion.flow_cosine(vectors[0], vectors), [1, 0, 0, -1], atol=1e-15)


def test_mean_flow_is_the_plain_mean() -> None:
    flow = np.random.default_rng(0).standard_normal((2, 3, 6, 5, 2)).astype(np.float32)
    expected = [[clip[..., axis].astype(float).mean() for axis in range(2)] for clip in flow]
    np.testing.assert_allclose(motion.mean_flow(flow), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("grey", ["rgb", "published"])
def test_every_shuffle_is_a_look_up(grey: str) -> None:
    ground_truth, prediction = drifting(0, (1, 1), size=32), drifting(1, (2, 0), size=32)
    flow = motion.flows(ground_truth, grey=grey)
    table = motion.shuffle_epe_table(flow, prediction, grey=grey)
    assert table.shape == (3, 4, 4)
    orders = np.array([[0, 1, 2, 3], [3, 1, 0, 2], [1, 0, 3, 2]])
    expected = [motion.epe_of_flows(flow, motion.flows(prediction[order], grey=grey)) for order in orders]
    # the table averages float32 magnitudes frame by frame in float64
    np.testing.assert_allclose(motion.shuffled_epe(table, orders), expected, rtol=1e-12)


def test_inputs_stay_as_they_are() -> None:
    ground_truth, prediction = drifting(0, (1, 1), size=32), drifting(1, (2, 0), size=32)
    copies = ground_truth.copy(), prediction.copy()
    for array in (ground_truth, prediction):
        array.setflags(write=False)
    motion.epe(ground_truth, prediction)
    motion.epe_published(ground_truth, prediction)
    motion.shuffle_epe_table(motion.flows(ground_truth), prediction)
    np.testing.assert_array_equal(ground_truth, copies[0])
    np.testing.assert_array_equal(prediction, copies[1])


def test_errors_say_what_was_expected_and_found() -> None:
    clip = drifting(0, (1, 1), size=16)
    cases = {
        "Expected clips of at least 2 frame(s), none of them empty, got (1, 16, 16, 3).": lambda: motion.epe(
            clip[:1], clip[:1]
        ),
        "Expected ground truth and prediction of one shape, got (4, 16, 16, 3) and (3, 16, 16, 3).": lambda: (
            motion.epe(clip, clip[:3])
        ),
        "Expected two flows (..., frame - 1, height, width, 2) of one shape, got (4, 16, 16, 3) and "
        "(4, 16, 16, 3).": lambda: motion.epe_of_flows(clip, clip),
        "Expected the ground truth's flow (3, 16, 16, 2), got (2, 16, 16, 2).": lambda: (
            motion.shuffle_epe_table(motion.flows(clip)[:2], clip)
        ),
        "Expected a grey of rgb or published, got 'luma'.": lambda: motion.flows(clip, grey="luma"),
    }
    for text, call in cases.items():
        with pytest.raises(ValueError) as error:
            call()
        assert str(error.value) == text


def test_equal_frames_do_not_move_except_as_published() -> None:
    still = np.repeat(drifting(1, (1, 1))[:1], 3, axis=0)
    assert not motion.flows(still).any()
    published = motion.flows(still, grey="published")
    np.testing.assert_array_equal(published[0], plain_flow(still[0], still[1], cv2.COLOR_BGR2GRAY))
    # the same pair once more is not computed once more
    late = np.concatenate([drifting(0, (1, 1))[:2], still])
    expected = [plain_flow(late[k], late[k + 1], cv2.COLOR_BGR2GRAY) for k in range(4)]
    np.testing.assert_array_equal(motion.flows(late, grey="published"), expected)
