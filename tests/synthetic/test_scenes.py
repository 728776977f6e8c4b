"""Scenes: determinism, symmetrical trajectories, independent directions, held-out content, exact flow."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage, stats

from mind_animator.synthetic import scenes


@pytest.fixture(scope="module")
def shots() -> list[scenes.Shot]:
    rng = np.random.default_rng(0)
    return [scenes.sample_shot(rng, 0.0, float(rng.choice([2, 4, 6])), "test") for _ in range(6000)]


def test_a_movie_is_its_seeds():
    assert scenes.sample_movie(3, 60.0) == scenes.sample_movie(3, 60.0)
    assert scenes.sample_movie(3, 60.0) != scenes.sample_movie(4, 60.0)


def test_shots_fill_the_movie_without_gap():
    movie = scenes.sample_movie(5, 120.0)
    assert movie[0].onset == 0 and movie[-1].offset == pytest.approx(120)
    np.testing.assert_allclose([shot.onset for shot in movie[1:]], [shot.offset for shot in movie[:-1]])
    assert min(shot.duration for shot in movie) >= 1 - 1e-9


def test_a_fifth_of_the_cuts_falls_inside_a_clip():
    cuts = np.concatenate([[shot.onset for shot in scenes.sample_movie(seed)[1:]] for seed in range(20)])
    inside = np.abs(cuts / 2 - np.rint(cuts / 2)) > 1e-6
    assert 0.15 < inside.mean() < 0.25


def test_trajectories_are_symmetrical_about_the_mid_position():
    for shot in scenes.sample_movie(1, 60.0):
        for time in (0, 0.3 * shot.duration):
            pair = np.add(scenes.position(shot, time), scenes.position(shot, shot.duration - time)) / 2
            np.testing.assert_allclose(pair, (shot.x, shot.y), atol=1e-12)
        np.testing.assert_allclose(scenes.position(shot, shot.duration / 2), (shot.x, shot.y), atol=1e-12)


def test_the_object_stays_inside_the_frame(shots):
    for shot in shots[:1000]:
        ends = np.array([scenes.position(shot, 0), scenes.position(shot, shot.duration)])
        assert (ends - shot.size / 2).min() >= -1e-9 and (ends + shot.size / 2).max() <= 1 + 1e-9


def test_objects_move_visibly(shots):
    steps = np.array([16 * shot.speed for shot in shots])  # pixels of 64 between frames at 4 Hz
    assert np.mean(steps == 0) == pytest.approx(scenes.STILL_FRACTION, abs=0.02)
    assert steps[steps > 0].min() > 1.1 and steps.max() < 2.6


def test_direction_is_independent_of_noun_scene_position_and_palette(shots):
    octants = np.array([scenes.octant(shot.direction) for shot in shots])
    for name, labels in (("noun", scenes.NOUNS), ("scene", scenes.SCENES)):
        table = np.zeros((len(labels), scenes.OCTANTS))
        np.add.at(table, ([labels.index(getattr(shot, name)) for shot in shots], octants), 1)
        assert stats.chi2_contingency(table).pvalue > 1e-3
    heading = np.array([(np.cos(shot.direction), np.sin(shot.direction)) for shot in shots])
    others = np.array([(shot.x, shot.y, shot.size, *shot.sky, *shot.ground) for shot in shots])
    correlation = np.corrcoef(heading.T, others.T)[:2, 2:]
    assert np.abs(correlation).max() < 4 / np.sqrt(len(shots))


def test_noun_and_scene_together_do_not_determine_the_mean_direction():
    # Each content keeps four octants 90 degrees apart: unit vectors, and those of doubled angles, cancel.
    for noun in scenes.NOUNS:
        for scene in scenes.SCENES:
            for test in (True, False):
                kept = np.array([o for o in range(8) if scenes.held_out(noun, scene, o) == test]) * np.pi / 4
                assert abs(np.exp(1j * kept).sum()) < 1e-12 and abs(np.exp(2j * kept).sum()) < 1e-12


def test_palette_is_independent_of_the_scene(shots):
    for part in ("sky", "ground"):
        colours = np.array([getattr(shot, part) for shot in shots])
        for channel in colours.T:
            groups = [channel[[shot.scene == scene for shot in shots]] for scene in scenes.SCENES]
            assert stats.kruskal(*groups).pvalue > 1e-3


def test_test_movies_hold_new_combinations_only():
    def combinations(combos: str) -> set:
        movies = [scenes.sample_movie((7, seed), combos=combos) for seed in range(12)]
        return {(shot.noun, shot.scene, scenes.octant(shot.direction)) for movie in movies for shot in movie}

    train, test = combinations("train"), combinations("test")
    assert train.isdisjoint(test)
    assert len(train) + len(test) > 0.9 * 12 * 6 * 8


def test_flow_is_the_displacement_of_the_rendered_object():
    shot = replace(
        scenes.sample_still(np.random.default_rng(2)), x=0.5, y=0.5, duration=2.0, speed=0.12, direction=0.7
    )

    def centre(time: float) -> np.ndarray:
        return np.array(ndimage.center_of_mass(scenes.object_alpha(shot, time, 128)))[::-1]

    flow = scenes.flow(shot, 0.5, 0.75, 128)
    inside = scenes.object_alpha(shot, 0.5, 128) > 0.5
    assert (flow[~inside] == 0).all()
    # The centre of mass of a bilinearly shifted image follows the shift but for the rim cut off at 1 / 255.
    np.testing.assert_allclose(flow[inside].mean(0), centre(0.75) - centre(0.5), atol=0.02)
    np.testing.assert_allclose(flow[inside][0], np.multiply(scenes.velocity(shot), 0.25 * 128), rtol=1e-6)


def test_frames_change_only_where_the_object_is():
    shot = scenes.sample_shot(np.random.default_rng(3), 0.0, 4.0)
    frame, background = scenes.render_frame(shot, 1.0, 64), scenes.render_background(shot, 64)
    untouched = scenes.object_alpha(shot, 1.0, 64) == 0
    np.testing.assert_array_equal(frame[untouched], background[untouched])
    assert (frame != background).any()


def test_images_of_different_sizes_show_the_same():
    shot = scenes.sample_still(np.random.default_rng(4))
    large = scenes.render_frame(shot, 0.5, 128).reshape(64, 2, 64, 2, 3).mean((1, 3))
    assert np.abs(large - scenes.render_frame(shot, 0.5, 64)).mean() < 6


def test_shot_at_finds_the_shot_on_the_screen():
    movie = scenes.sample_movie(1, 20.0)
    assert scenes.shot_at(movie, 0.0) is movie[0]
    assert scenes.shot_at(movie, movie[1].onset) is movie[1]
    with pytest.raises(ValueError, match=r"Expected a time in \[0, 20\] s, got 21"):
        scenes.shot_at(movie, 21.0)


def test_captions_name_noun_and_scene():
    shot = replace(scenes.sample_still(np.random.default_rng(5)), noun="elephant", scene="beach")
    assert scenes.caption(shot) == "an elephant on a beach"
    found = {scenes.caption(shot, np.random.default_rng(seed)) for seed in range(40)}
    assert found == {f"{lead}an elephant on a beach" for lead in ("", "an image of ", "there is ")}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"combos": "both"}, "Expected combos 'train', 'test' or 'all', got 'both'"),
        ({"duration": 3.0}, "Expected a duration of whole 2-s clips, got 3.0"),
        ({"duration": 0.0}, "Expected a duration of whole 2-s clips, got 0.0"),
    ],
)
def test_bad_movies_are_refused(arguments, text):
    with pytest.raises(ValueError) as error:
        scenes.sample_movie(0, **arguments)
    assert str(error.value) == text


def test_unknown_images_are_refused():
    shot = scenes.sample_still(np.random.default_rng(6))
    with pytest.raises(ValueError, match=r"Expected the noun to be one of .*, got 'unicorn'"):
        scenes.render_frame(replace(shot, noun="unicorn"), 0.0, 64)
    with pytest.raises(ValueError, match=r"Expected the scene to be one of .*, got 'moon'"):
        scenes.render_frame(replace(shot, scene="moon"), 0.0, 64)
