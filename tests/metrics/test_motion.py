"""Flow metrics against OpenCV, plain loops and known motion."""

import cv2
import numpy as np
import pytest

from mind_animator.metrics import flow as motion
from mind_animator.metrics.epe import Epe
from mind_animator.metrics.epe_published import EpePublished
from mind_animator.metrics.epe_relative import EpeRelative
from mind_animator.metrics.flow_cosine import FlowCosine


def drifting(seed: int, step: tuple[float, float], n_frames: int = 4, size: int = 64) -> np.ndarray:
    """A smooth texture that moves by ``step`` (x, y) pixels per frame."""
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
    ("metric", "code"), [(Epe(), cv2.COLOR_RGB2GRAY), (EpePublished(), cv2.COLOR_BGR2GRAY)]
)
def test_epe_is_the_mean_distance_of_flow_vectors(metric, code: int) -> None:
    ground_truth = np.stack([drifting(0, (1, 0)), drifting(1, (0, 2))])
    prediction = np.stack([drifting(2, (0, 1)), drifting(3, (-1, 1))])
    for t, p in zip(ground_truth, prediction, strict=True):
        errors = [
            np.linalg.norm(
                plain_flow(t[k], t[k + 1], code).astype(float) - plain_flow(p[k], p[k + 1], code), axis=-1
            )
            for k in range(3)
        ]
        # float32 differences and roots: relative error of a few 2^-24
        np.testing.assert_allclose(metric(t, p), np.mean(errors), rtol=1e-6)
        np.testing.assert_allclose(metric.frame_values(t, p), np.mean(errors, axis=(1, 2)), rtol=1e-6)


def test_epe_of_a_clip_with_itself_is_zero_and_many_equal_one_by_one() -> None:
    clips = np.stack([drifting(0, (1, 0)), drifting(1, (0, 2))])
    assert Epe()(clips[0], clips[0]) == 0
    described = [Epe().describe(motion.flows(clip)) for clip in clips]
    many = Epe().compare_many(described[0], described)
    assert many.tolist() == [0, Epe()(clips[0], clips[1])]


@pytest.mark.parametrize("step", [(2.0, 0.0), (0.0, -1.0), (-1.5, 1.0)])
def test_mean_flow_finds_a_known_drift(step: tuple[float, float]) -> None:
    flow = motion.flows(drifting(0, step))
    assert flow.shape == (3, 64, 64, 2) and flow.dtype == np.float32
    inner = motion.mean_flow(flow[:, 16:48, 16:48])
    np.testing.assert_allclose(inner, step, atol=0.15)
    assert cosine(motion.mean_flow(flow), np.array(step)) > 0.97
    np.testing.assert_allclose(motion.speeds(flow[:, 16:48, 16:48]).mean(), np.hypot(*step), atol=0.2)


def test_frozen_prediction_has_relative_error_one() -> None:
    ground_truth = drifting(0, (2, 1))
    frozen = np.repeat(drifting(1, (1, 1))[:1], 4, axis=0)
    flow = motion.flows(ground_truth)
    assert np.abs(motion.flows(frozen)).max() == 0
    assert EpeRelative()(ground_truth, frozen) == pytest.approx(1, rel=1e-12)
    assert Epe()(ground_truth, frozen) == pytest.approx(motion.speeds(flow).mean(), rel=1e-12)
    assert np.isnan(EpeRelative()(frozen, ground_truth))


def test_relative_error_of_a_set_is_a_ratio_of_means_that_still_clips_do_not_rule() -> None:
    """Clips of 1 x 1 pixels whose flow is along x: their error and speed can be chosen."""
    errors, speeds = np.array([3.0, 4.0, 2.0, 1.0]), np.array([2.0, 4.0, 2.0**-20, 0.0])
    metric = EpeRelative()

    def flow(speed: float) -> np.ndarray:
        return np.array([speed, 0], np.float32).reshape(1, 1, 1, 2)

    def scored(factor: float) -> tuple[np.ndarray, np.ndarray]:
        own = [metric.describe(flow(factor * speed)) for speed in speeds]
        other = [metric.describe(flow(factor * (s + e))) for s, e in zip(speeds, errors, strict=True)]
        values = [metric.compare(t, p) for t, p in zip(own, other, strict=True)]
        return np.array(values), np.array([metric.weight(t) for t in own])

    values, weights = scored(1)
    np.testing.assert_array_equal(values, [1.5, 1, 2 * 2.0**20, np.nan])
    np.testing.assert_array_equal(weights, speeds)
    moving = speeds > 0
    score = np.average(values[moving], weights=weights[moving])
    np.testing.assert_allclose(score, errors[:3].sum() / speeds[:3].sum(), rtol=1e-14)
    # a plain mean would be a third of the almost still clip's ratio; weighted, it adds no more than its error
    assert values[moving].mean() > 6e5
    assert abs(score - errors[:2].sum() / speeds[:2].sum()) < errors[2] / speeds[:2].sum()
    np.testing.assert_array_equal(scored(2)[0], values)  # no unit


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    return FlowCosine().compare({"mean_flow": first}, {"mean_flow": second})


def test_flow_cosine_is_zero_without_direction() -> None:
    vectors = np.array([[3.0, 4.0], [0.0, 0.0], [-4.0, 3.0], [-3.0, -4.0]])
    np.testing.assert_allclose([cosine(vectors[0], v) for v in vectors], [1, 0, 0, -1], atol=1e-15)


def test_mean_flow_is_the_plain_mean() -> None:
    flow = np.random.default_rng(0).standard_normal((3, 6, 5, 2)).astype(np.float32)
    expected = [flow[..., axis].astype(float).mean() for axis in range(2)]
    np.testing.assert_allclose(motion.mean_flow(flow), expected, rtol=1e-12, atol=1e-12)


def errors(ground_truth: np.ndarray, prediction: np.ndarray) -> float:
    return float(motion.end_point_errors(ground_truth, prediction).mean())


@pytest.mark.parametrize("grey", ["rgb", "published"])
def test_every_shuffle_is_a_look_up(grey: str) -> None:
    ground_truth, prediction = drifting(0, (1, 1), size=32), drifting(1, (2, 0), size=32)
    flow = motion.flows(ground_truth, grey=grey)
    table = motion.shuffle_table(flow, prediction, grey=grey)
    assert table.shape == (3, 4, 4)
    orders = np.array([[0, 1, 2, 3], [3, 1, 0, 2], [1, 0, 3, 2]])
    expected = [errors(flow, motion.flows(prediction[order], grey=grey)) for order in orders]
    # the table averages float32 magnitudes frame by frame in float64
    np.testing.assert_allclose(motion.shuffled_errors(table, orders), expected, rtol=1e-12)


def test_inputs_stay_as_they_are() -> None:
    ground_truth, prediction = drifting(0, (1, 1), size=32), drifting(1, (2, 0), size=32)
    copies = ground_truth.copy(), prediction.copy()
    for array in (ground_truth, prediction):
        array.setflags(write=False)
    for metric in (Epe(), EpePublished(), EpeRelative(), FlowCosine()):
        metric(ground_truth, prediction)
    motion.shuffle_table(motion.flows(ground_truth), prediction)
    np.testing.assert_array_equal(ground_truth, copies[0])
    np.testing.assert_array_equal(prediction, copies[1])


def test_errors_say_what_was_expected_and_found() -> None:
    clip = drifting(0, (1, 1), size=16)
    cases = {
        "optical flow needs at least 2 frames, got 1": lambda: Epe()(clip[:1], clip[:1]),
        "Expected ground truth and prediction of one shape, got (4, 16, 16, 3) and (3, 16, 16, 3).": lambda: (
            Epe()(clip, clip[:3])
        ),
        "Expected two flows (frame - 1, height, width, 2) of one shape, got (4, 16, 16, 3) and "
        "(4, 16, 16, 3).": lambda: errors(clip, clip),
        "Expected the flow of the ground truth (3, 16, 16, 2), got (2, 16, 16, 2).": lambda: (
            motion.shuffle_table(motion.flows(clip)[:2], clip)
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


def test_fidelity_of_known_flows() -> None:
    """Constant flows per clip: half the speed, the opposite direction, and a frozen clip."""
    velocity = np.array([[2.0, 0.0], [0.0, -1.0], [1.0, 1.0]])
    ground_truth = np.broadcast_to(velocity[:, None, None, None], (3, 2, 4, 4, 2)).astype(np.float32)

    def fidelity(factor: np.ndarray) -> dict[str, float]:
        return motion.motion_fidelity(ground_truth, ground_truth * factor[:, None, None, None, None])

    half = fidelity(np.array([0.5, 0.5, 0.5], np.float32))
    assert half == pytest.approx(
        {"cosine": 1.0, "cosine_se": 0.0, "slope": 0.5, "epe_relative": 0.5, "speed_ratio": 0.5}, abs=1e-6
    )
    mixed = fidelity(np.array([-1.0, 1.0, 0.0], np.float32))
    assert mixed["cosine"] == pytest.approx(0.0, abs=1e-6)
    assert mixed["cosine_se"] == pytest.approx(1 / 3**0.5, rel=1e-6)  # cosines -1, 1, 0: deviation 1
    assert mixed["slope"] == pytest.approx((-4 + 1) / 7, rel=1e-6)
    assert mixed["epe_relative"] == pytest.approx((4 + 2**0.5) / (3 + 2**0.5), rel=1e-6)
    assert fidelity(np.zeros(3, np.float32))["epe_relative"] == pytest.approx(1.0)
