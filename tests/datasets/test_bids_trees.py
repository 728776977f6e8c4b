"""Trees as they are published: inheritance, names of other pipelines and versions, texts, parts that are absent."""

import os
import re

import numpy as np
import pytest
from bids_study import ROWS, SPACE, opened, segments_of, volumes_of, write_run

from mind_animator.config.fmri import FmriConfig, VoxelsConfig
from mind_animator.datasets.check import check_before_downloads, check_files, plan_downloads
from mind_animator.datasets.preprocess import preprocess_subject
from mind_animator.errors import InputError

EVENTS = b"onset\tduration\tstim_file\n10\t20\ta.mp4\n40\t20\tb.mp4\n70\t20\tt.mp4\n"
SEGMENTS = [("a", "train", 10), ("b", "train", 10), ("t", "test", 10)]


@pytest.mark.parametrize(
    "level",
    [
        "task-movie_events.tsv",
        "sub-01/sub-01_task-movie_events.tsv",
        "sub-01/func/sub-01_task-movie_events.tsv",
    ],
)
def test_events_are_inherited_from_higher_folders(tmp_path, level):
    write_run(tmp_path, rows=None)
    (tmp_path / level).write_bytes(EVENTS)
    dataset = opened(tmp_path)
    assert segments_of(dataset) == SEGMENTS
    assert volumes_of(dataset) == list(range(7, 17))
    assert tmp_path / level in dataset.response_files("01", "a")


@pytest.mark.parametrize(
    "names",
    [
        {"derived": "sub-01/func/sub-01_task-movie_run-01"},
        {"confounds": "regressors"},
        {"ending": ".nii"},
        {"desc": "denoised"},
        {"desc": "optcom"},
    ],
)
def test_names_of_other_versions_and_pipelines(tmp_path, names):
    write_run(tmp_path, **names)
    dataset = opened(tmp_path, confounds=["motion", "wm_csf"], desc=names.get("desc", "preproc"))
    assert all(path.exists() for path in dataset.response_files("01", "a"))
    assert volumes_of(dataset) == list(range(7, 17))


def test_several_tasks_by_list_or_pattern(tmp_path):
    write_run(tmp_path, rows=[(10.0, 20.0, "train/a.mp4")], stem="sub-01/func/sub-01_task-train_run-1")
    write_run(tmp_path, rows=[(10.0, 20.0, "test/a.mp4")], stem="sub-01/func/sub-01_task-test_run-1")
    for task in (["train", "test"], "t*"):
        dataset = opened(tmp_path, task=task, test=["test/*"])
        assert segments_of(dataset) == [("train_a", "train", 10), ("test_a", "test", 10)]
    with pytest.raises(
        InputError, match=r"^Expected runs of task \['t\(est'\] .*tasks there: \['test', 'train'\]"
    ):
        opened(tmp_path, task="t(est", test=["test/*"])


def test_movies_named_by_the_task_or_another_column(tmp_path):
    for task in ("bourne01", "bourne02", "wolf01"):
        write_run(tmp_path, rows=None, stem=f"sub-01/func/sub-01_task-{task}")
        (tmp_path / f"task-{task}_events.tsv").write_text("onset\tduration\n10\t20\n")
    (tmp_path / "stimuli").mkdir()
    (tmp_path / "stimuli/wolf01.mkv").write_bytes(b"")
    dataset = opened(tmp_path, task="*", movie="task", test="wolf*")
    assert segments_of(dataset) == [
        ("bourne01", "train", 10),
        ("bourne02", "train", 10),
        ("wolf01", "test", 10),
    ]
    assert dataset.stimulus_files("wolf01") == [tmp_path / "stimuli/wolf01.mkv"]
    write_run(tmp_path / "b", rows=EVENTS.replace(b"stim_file", b"trial_type"))
    assert segments_of(opened(tmp_path / "b", movie="trial_type")) == SEGMENTS
    with pytest.raises(
        InputError, match=r"Expected column 'stim_file' in .*dataset\.options\.movie names the column"
    ):
        opened(tmp_path / "b")


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbf" + EVENTS,
        EVENTS.replace(b"\n", b"\r\n"),
        EVENTS.replace(b"\n", b"\r"),
        EVENTS.decode().encode("utf-16"),
        EVENTS.replace(b"a.mp4", b"stimuli/a.mp4 "),
        EVENTS.replace(b"stim_file\n", b"stim_file \n0\t5\tN/A\n0\t0\t\n\t\t\n"),
    ],
)
def test_texts_of_any_editor(tmp_path, text):
    write_run(tmp_path, rows=text)
    dataset = opened(tmp_path)
    assert segments_of(dataset) == SEGMENTS
    assert volumes_of(dataset) == list(range(7, 17))


def test_a_text_that_is_not_utf8_as_published(published_data):
    """ds001545: the last line of sub-16's events ends in bytes that are no UTF-8."""
    root = published_data / "cases/ds001545"
    with pytest.raises(UnicodeDecodeError):
        next((root / "sub-16/func").iterdir()).read_text(encoding="utf-8")
    dataset = opened(
        root, subjects=("16",), tr=1.5, clip_seconds=1.5, offset="cumulative", test=["cond2_run_01_450s"]
    )
    assert segments_of(dataset)[-1] == ("cond2_run_01_450s", "test", 60)
    with pytest.raises(
        InputError, match=r"^Expected dataset\.options\.offset, since sub-01 has several rows"
    ):
        opened(root, subjects=("01",), tr=1.5, clip_seconds=1.5, test=["cond1_run-03.mp4"])


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (b"10\t20", b"10,0\t20", r"Expected seconds in column 'onset', line 2 of .*, got '10,0'"),
        (b"10\t20", b"10\tinf", r"Expected seconds in column 'duration', line 2 of .*, got 'inf'"),
        (b"10\t20", b"10\t0", r"Expected a positive duration in line 2 of .*, got 0\."),
        (
            b"a.mp4",
            b"/a.mp4",
            r"Expected a path inside the stimuli folder in line 2 of .*, got '/a\.mp4'",
        ),
        (b"\t", b"  ", r"Expected column 'onset' in .*, got \['onset  duration  stim_file'\]"),
    ],
)
def test_rows_that_cannot_be_used_are_named(tmp_path, before, after, message):
    write_run(tmp_path, rows=EVENTS.replace(before, after))
    with pytest.raises(InputError, match=message):
        opened(tmp_path)


def test_only_the_chosen_subjects_runs_and_movies_matter(tmp_path):
    write_run(tmp_path)
    write_run(tmp_path, "02", rows=[(10.0, 20.0, "c.mp4"), (70.0, 20.0, "t.mp4")])
    write_run(tmp_path, "03", rows=b"onset\tduration\n1\t2\n")
    assert segments_of(opened(tmp_path, subjects=("01",))) == SEGMENTS
    both = opened(tmp_path, subjects=("01", "sub-02"))
    assert segments_of(both) == [*SEGMENTS[:2], ("c", "train", 10), SEGMENTS[2]]
    assert both.response_files("02", "a") == []
    with pytest.raises(InputError, match=r"Expected column 'stim_file' in .*sub-03"):
        opened(tmp_path)
    write_run(tmp_path, rows=b"broken", stem="sub-01/func/sub-01_task-movie_run-2")
    assert segments_of(opened(tmp_path, subjects=("01",), runs="*run-1")) == SEGMENTS
    assert (
        segments_of(opened(tmp_path, subjects=("01",), runs="*run-1", movies=["a*", "t*"])) == SEGMENTS[::2]
    )
    with pytest.raises(InputError, match=r"Expected movies to test on that sub-01 saw, got none"):
        opened(tmp_path, subjects=("01", "02"), runs="*run-1", test=["c.mp4"])


def test_a_movie_that_a_subject_did_not_see_is_missing_for_that_subject(tmp_path, rng):
    rows = {"01": ROWS, "02": ((10.0, 20.0, "c.mp4"), *ROWS[1:])}
    for subject, shown in rows.items():
        for run in (1, 2):
            series = 100 + 5 * rng.standard_normal((60, 120))
            stem = f"sub-{subject}/func/sub-{subject}_task-movie_run-{run}"
            write_run(tmp_path, subject, series, rows=shown, stem=stem)
    dataset = opened(tmp_path, offset="start", confounds=["motion", "wm_csf"])
    assert [segment.id for segment in dataset.segments] == ["a", "b", "c", "t"]
    settings = FmriConfig(detrend_order=1, voxels=VoxelsConfig(count=20))
    for subject, absent in (("01", 2), ("02", 0)):
        made = preprocess_subject(dataset, subject, settings)
        present = np.ones((4, 10), bool)
        present[absent] = False
        assert made.present.tolist() == present.ravel().tolist()
        trained = made.responses[:30][made.present[:30]]
        np.testing.assert_allclose(trained.std(axis=0), 1, atol=1e-4)
        assert [row["note"] for row in made.quality if row["note"]] == [
            "the subject has no run of this segment"
        ]


def test_short_movies_are_packed(tmp_path):
    """Videos of one clip, shown in any order and number: a segment of many clips, not a segment each."""
    rows = [(4.0 + 4 * k, 2.0, f"{(7 * k) % 12:02d}.mp4") for k in range(24)]
    write_run(tmp_path, rows=rows[:22])
    dataset = opened(tmp_path, offset="start", test=["1?.mp4"])
    assert segments_of(dataset) == [("trainpack000", "train", 10), ("testpack000", "test", 2)]
    assert dataset.clip_table("trainpack000")["movie"].tolist() == [f"{k:02d}.mp4" for k in range(10)]
    first = {name: round((4 + onset) / 2) for onset, _, name in reversed(rows[:12])}
    assert volumes_of(dataset, "trainpack000") == [first[f"{k:02d}.mp4"] for k in range(10)]
    later = {name: round((4 + onset) / 2) for onset, _, name in rows[12:22]}
    expected = [later.get(f"{k:02d}.mp4") for k in range(10)]
    assert None in expected
    assert volumes_of(dataset, "trainpack000", repeat=1) == expected


def test_clones_without_content_name_the_command(tmp_path):
    """git-annex links that lead nowhere, and pointers in place of content: one line, for `download` too."""
    write_run(tmp_path)
    (tmp_path / "stimuli").mkdir()
    for name in "abt":
        os.symlink(
            "../.git/annex/objects/Aa/Bb/MD5E-s9--1.mp4/MD5E-s9--1.mp4", tmp_path / f"stimuli/{name}.mp4"
        )
    bold = opened(tmp_path).response_files("01", "a")[0]
    bold.unlink()
    os.symlink("../../../../.git/annex/objects/Aa/Bb/MD5E-s9--1.nii.gz/MD5E-s9--1.nii.gz", bold)
    dataset = opened(tmp_path)
    with pytest.raises(
        InputError, match=rf"but its content is not here: run `datalad get '{re.escape(str(bold))}'`"
    ):
        next(dataset.runs("01", "a", FmriConfig()))
    plan = plan_downloads(dataset)
    assert len(plan.by_hand) == 4
    with pytest.raises(
        InputError, match=r"Expected .*a\.mp4, but its content is not here: run `datalad get .*4 such"
    ):
        check_before_downloads(dataset, plan.by_hand)
    bold.unlink()
    bold.write_text("/annex/objects/MD5E-s9--1.nii.gz\n")
    table = check_files(opened(tmp_path)).set_index("file")
    assert table.loc[str(bold.relative_to(tmp_path)), "note"].startswith(
        "its content is not here: run `datalad get"
    )


def test_broken_images_are_one_line(tmp_path):
    write_run(tmp_path)
    bold = (
        tmp_path
        / f"derivatives/fmriprep/sub-01/func/sub-01_task-movie_run-1_space-{SPACE}_desc-preproc_bold.nii.gz"
    )
    bold.write_bytes(bold.read_bytes()[: bold.stat().st_size // 2])
    with pytest.raises(InputError, match=r"^Expected a whole NIfTI file at .*_bold\.nii\.gz, got"):
        next(opened(tmp_path).runs("01", "a", FmriConfig()))
