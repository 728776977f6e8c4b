"""The synthetic data set has the layout of CC2017 with its own paths and counts."""

from pathlib import Path

import pytest

from mind_animator.config.dataset import DatasetConfig
from mind_animator.datasets import open_dataset
from mind_animator.datasets.demo import Demo
from mind_animator.errors import InputError


def opened(**options) -> Demo:
    dataset = open_dataset(DatasetConfig(name="demo", data_root="data/demo", options=options))
    assert isinstance(dataset, Demo)
    return dataset


def test_defaults_have_both_kinds_of_run():
    dataset = opened()
    assert [(s.id, s.split) for s in dataset.segments] == [(f"seg{i}", "train") for i in range(1, 9)] + [
        ("test2", "test")
    ]
    assert dataset.subjects == ("1", "2")
    assert sum(s.n_clips for s in dataset.segments if s.split == "test") >= 240
    assert len(dataset.response_files("1", "seg1")) == 2
    assert len(dataset.response_files("1", "test2")) == 6


def test_test_movies_are_in_order():
    assert [s.id for s in opened(test_movies=5, train_movies=2).segments] == [
        "seg1", "seg2", "test1", "test2", "test3", "test4", "test5",
    ]  # fmt: skip


def test_simulated_subjects_share_movies_and_nothing_else():
    full, none = opened(), opened(signal="none")
    assert full.stimulus_files("seg1") == none.stimulus_files("seg1")
    assert full.response_files("1", "seg1")[0] == Path(
        "data/demo/full/video_fmri_dataset/subject1/fmri/seg1/cifti/seg1_1_Atlas.dtseries.nii"
    )
    assert not set(full.response_files("1", "seg1")) & set(none.response_files("1", "seg1"))


def test_patterns_of_the_rules_are_the_files_of_the_adapter():
    dataset = opened()
    for repeat, path in enumerate(dataset.response_files("2", "test2"), start=1):
        assert dataset.run_pattern(repeat).format(number="2", signal="full", segment="test2") == str(path)


def test_the_delayed_run_is_there_too():
    third = open_dataset(
        DatasetConfig(name="demo", data_root="d", subjects=("3",), options={"repeats_test": 10})
    )
    assert len(third.response_files("3", "test2")) == 9


def test_shorter_movies_keep_the_timing_of_the_published_ones():
    short = opened(clips=20)
    assert [s.n_clips for s in short.segments] == [20] * 9
    assert short.clip_table("test2")["onset"].tolist() == [2.0 * index for index in range(20)]
    assert short._kept_volumes(Path("a"), "seg1", 4.0) == slice(1, 21)  # recorded from 2 s on
    assert short._kept_volumes(Path("a"), "test2", 4.0) == slice(2, 22)


def test_a_subject_may_name_its_signal():
    dataset = opened(signal="no_motion")
    other = open_dataset(DatasetConfig(name="demo", data_root="data/demo", subjects=("1", "1none", "2full")))
    assert other.subjects == ("1", "1none", "2full")
    assert "/none/video_fmri_dataset/subject1/" in str(other.response_files("1none", "seg1")[0])
    assert "/full/video_fmri_dataset/subject2/" in str(other.response_files("2full", "test2")[0])
    assert dataset.simulated_subject("2") == ("2", "no_motion")
    assert other.simulated_subject("1nomotion") == ("1", "no_motion")
    assert (dataset.subject_with("1", "no_motion"), dataset.subject_with("1", "none")) == ("1", "1none")
    with pytest.raises(
        InputError,
        match=r"^config\.dataset\.subjects = '1half': must be one of \['1', .* alone or followed by",
    ):
        open_dataset(DatasetConfig(name="demo", data_root="d", subjects=("1half",)))


def test_bad_options():
    for options, text in (
        ({"signal": "half"}, r"dataset\.options\.signal"),
        ({"train_movies": 19}, r"dataset\.options\.train_movies"),
        ({"clips": 9}, r"dataset\.options\.clips"),
        ({"noise": 0}, r"dataset\.options\.noise"),
        ({"movies": 3}, r"dataset\.options\.movies: is not a known key"),
    ):
        with pytest.raises(InputError, match=text):
            opened(**options)
    with pytest.raises(ValueError, match=r"^Expected the kind 'cifti'"):
        opened().run_files("1", "seg1", "mni")
