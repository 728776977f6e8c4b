"""Simulated subjects: response function, signals of each area, effect of omitted signals, and lag."""

import numpy as np
import pytest
from nilearn.glm.first_level import spm_hrf

from mind_animator.artefacts.cortex import roi_names
from mind_animator.synthetic import scenes, subjects
from mind_animator.synthetic.movies import movie_shots

SHOTS = movie_shots("seg1", 3, 60.0)
NAMES = np.strings.slice(roi_names(), 2, None)


@pytest.fixture(scope="module")
def simulated() -> subjects.SimulatedSubject:
    return subjects.simulate_subject(3, 1)


def test_response_function_is_spm_s():
    step = 0.1
    theirs = spm_hrf(t_r=step, oversampling=1, time_length=32)
    times = np.linspace(0, 32, len(theirs))
    # nilearn starts the response one step late, scales its samples to a sum of 1 and writes .167 for 1 / 6
    shifted = subjects.canonical_response(times - step)
    np.testing.assert_allclose(shifted / shifted.sum(), theirs, atol=1e-5)
    ours = subjects.canonical_response(times)
    assert times[ours.argmax()] == pytest.approx(5.0, abs=0.1)
    assert (subjects.canonical_response(np.array([-1.0, -0.1])) == 0).all()
    assert ours.sum() * times[1] == pytest.approx(1, abs=1e-3)


def test_volumes_are_stamped_at_the_end_of_their_acquisition():
    assert subjects.volume_times(3, 2.0).tolist() == [4, 6, 8]


def test_haemodynamics_equal_a_convolution():
    times = np.arange(0, 60, 0.25) + 0.125
    feature = np.random.default_rng(0).normal(size=(240, 2)).astype(np.float32)
    got = subjects.haemodynamics(times, {"a": feature}, np.array([20.0, 41.5]))["a"]
    for row, moment in enumerate((20.0, 41.5)):
        expected = [
            sum(
                subjects.canonical_response(np.array([moment - t]))[0] * 0.25 * f
                for t, f in zip(times, feature[:, c], strict=True)
            )
            for c in range(2)
        ]
        np.testing.assert_allclose(got[row], expected, atol=1e-5)


def test_an_event_peaks_in_the_volume_that_ccs_lag_keeps():
    """A 2-s clip's response is highest in the volume whose acquisition starts 4 s after the clip's onset."""
    times = np.arange(-12, 492, 0.25) + 0.125
    event = ((times > 100) & (times < 102)).astype(np.float32)[:, None]
    for n_volumes, start in ((245, 2.0), (246, 0.0)):
        volumes = subjects.volume_times(n_volumes, start)
        response = subjects.haemodynamics(times, {"a": event}, volumes)["a"][:, 0]
        starts_of_acquisition = start + 2.0 * np.arange(n_volumes)
        assert starts_of_acquisition[response.argmax()] == 104.0


def test_drive_tells_the_scene():
    times, features = subjects.drive(SHOTS)
    assert times[0] == -11.875
    assert times[-1] == 71.875
    for row in np.flatnonzero((times > 0) & (times < 60))[::17]:
        shot = scenes.shot_at(SHOTS, float(times[row]))
        image = scenes.render_frame(shot, times[row] - shot.onset, subjects.IMAGE).astype(float) / 255
        seen = features["structure"][row].reshape(4, 16, 16)
        np.testing.assert_allclose(seen[0], 2 * image @ [0.299, 0.587, 0.114] - 1, atol=1e-5)
        np.testing.assert_allclose(seen[1], image[..., 0] - image[..., 1], atol=1e-5)
        np.testing.assert_allclose(seen[2], image[..., 2] - image[..., :2].mean(axis=-1), atol=1e-5)
        np.testing.assert_allclose(seen[3], scenes.object_alpha(shot, times[row] - shot.onset, 16), atol=1e-5)
        speed = shot.speed / scenes.SPEED_RANGE[1]
        np.testing.assert_allclose(
            features["motion"][row, :3],
            [speed, speed * np.cos(shot.direction), speed * np.sin(shot.direction)],
            atol=1e-6,
        )
        code = features["semantics"][row]
        assert np.flatnonzero(code).tolist() == [
            scenes.NOUNS.index(shot.noun),
            12 + scenes.SCENES.index(shot.scene),
        ]
    assert (features["motion"][(times < 0) | (times > 60)] == 0).all()  # a frozen frame does not move
    np.testing.assert_array_equal(features["structure"][0], features["structure"][30])


def test_no_motion_holds_a_shot_still_at_its_middle():
    times, features = subjects.drive(SHOTS, "no_motion")
    assert (features["motion"] == 0).all()
    for shot in SHOTS:
        rows = (times > shot.onset) & (times < shot.offset)
        np.testing.assert_array_equal(
            features["structure"][rows], features["structure"][rows][:1].repeat(rows.sum(), 0)
        )
        middle = scenes.render_frame(shot, shot.duration / 2, 16).astype(np.float32) / 255
        np.testing.assert_allclose(
            features["structure"][rows][0].reshape(4, 16, 16)[1], middle[..., 0] - middle[..., 1], atol=1e-6
        )
    _, full = subjects.drive(SHOTS)
    np.testing.assert_array_equal(features["semantics"], full["semantics"])


def test_none_has_no_signal(simulated):
    times, features = subjects.drive(SHOTS, "none")
    assert all((feature == 0).all() for feature in features.values())
    convolved = subjects.haemodynamics(times, features, subjects.volume_times(35, 2.0))
    assert (subjects.responses(simulated, convolved) == 0).all()
    with pytest.raises(
        ValueError, match=r"^Expected the signal to be one of \('full', 'no_motion', 'none'\), got 'half'\.$"
    ):
        subjects.drive(SHOTS, "half")


def test_features_drive_the_rois_that_are_planted_for_them(simulated):
    for name, rois in subjects.PLANTED.items():
        driven = np.abs(simulated.weights[name]).sum(axis=0) > 0
        np.testing.assert_array_equal(driven, np.isin(NAMES[simulated.rows], rois), err_msg=name)
    assert set(subjects.PLANTED["structure"]) & set(subjects.PLANTED["motion"]) == {"V1"}


def test_fields_look_at_the_other_half_of_the_image(simulated):
    middles = (np.arange(16) + 0.5) / 16
    full = roi_names()[simulated.rows]
    for side, low, high in (("L", 0.4, 1.0), ("R", 0.0, 0.6)):
        columns = full == f"{side}_V1"
        field = np.abs(simulated.weights["structure"][:, columns]).reshape(4, 16, 16, -1).sum(axis=(0, 1))
        centre = (field * middles[:, None]).sum(axis=0) / field.sum(axis=0)
        assert low <= centre.min()
        assert centre.max() <= high
        assert centre.std() > 0.1


def test_subjects_differ_and_seeds_repeat(simulated):
    again, other = subjects.simulate_subject(3, 1), subjects.simulate_subject(3, 2)
    for name in subjects.PLANTED:
        np.testing.assert_array_equal(again.weights[name], simulated.weights[name])
        used = np.abs(simulated.weights[name]).sum(axis=0) > 0
        r = np.corrcoef(simulated.weights[name][:, used].ravel(), other.weights[name][:, used].ravel())[0, 1]
        assert abs(r) < 0.5, name


def test_a_run_is_signal_noise_and_drift_around_a_baseline(simulated):
    signal = np.zeros((len(simulated.rows), 120), np.float32)
    signal[:, 60] = 40
    kept = signal.copy()
    run = subjects.simulate_run(simulated, signal, 1.0, np.random.default_rng(0))
    np.testing.assert_array_equal(signal, kept)
    assert run.shape == (91_282, 120)
    assert run.dtype == np.float32
    jump = run[:, 60] - (run[:, 59] + run[:, 61]) / 2
    driven = np.isin(np.arange(91_282), simulated.rows)
    assert jump[driven].min() > 30 * subjects.UNIT  # 40 planted, noise of the difference about 1.2
    assert np.abs(jump[~driven]).max() < 10 * subjects.UNIT
    assert run.mean() == pytest.approx(subjects.BASELINE, rel=0.01)
    other = subjects.simulate_run(simulated, signal, 1.0, np.random.default_rng(1))
    assert not np.allclose(run, other)


def test_noise_is_autocorrelated_with_deviation_one():
    matrix = subjects._autoregression(400, 0.35)
    noise = matrix @ np.random.default_rng(0).standard_normal((400, 3000), np.float32)
    assert noise.std() == pytest.approx(1, abs=0.01)
    assert noise[0].std() == pytest.approx(1, abs=0.05)
    assert np.mean(noise[1:] * noise[:-1]) == pytest.approx(0.35, abs=0.01)
    assert np.mean(noise[2:] * noise[:-2]) == pytest.approx(0.35**2, abs=0.01)
