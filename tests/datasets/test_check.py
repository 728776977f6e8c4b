"""Leaks that were planted, and the table of what is here, missing and wrong."""

import ast
import re

import cv2
import numpy as np
import pandas as pd
import pytest

from mind_animator.artefacts.arrays import write_arrays
from mind_animator.artefacts.tables import write_table
from mind_animator.config.dataset import DatasetConfig
from mind_animator.datasets import available, open_dataset
from mind_animator.datasets.check import check_config, check_files, plan_downloads, summarise
from mind_animator.datasets.download import manifest
from mind_animator.datasets.leaks import Twin, check_leak, check_same_clips, same_clips, thumbnails
from mind_animator.errors import InputError
from mind_animator.provenance import ROOT
from workflow_scripts import check_data, check_splits


def clips(movie, split, file, onsets, duration=2.0):
    names = [f"{movie}-{index:05d}" for index in range(len(onsets))]
    columns = {"clip": names, "segment": movie, "movie": movie, "file": file, "onset": onsets}
    return pd.DataFrame(columns | {"duration": duration, "split": split})


def test_movies_apart_are_no_leak():
    table = pd.concat([clips("a", "train", "a.mp4", [0.0, 2.0]), clips("b", "test", "b.mp4", [0.0, 2.0])])
    before = table.copy()
    check_leak(table)
    check_leak(table, {"a.mp4": "1", "b.mp4": "2"})
    pd.testing.assert_frame_equal(table, before)


@pytest.mark.parametrize(
    ("train", "test", "sums", "message"),
    [
        (
            ("a", "a.mp4", [0.0]),
            ("a", "a.mp4", [60.0]),
            {},
            "Expected movie 'a' in one split, got it in training and test",
        ),
        (("a", "a.mp4", [0.0]), ("b", "a.mp4", [2.0]), {}, "at least 10 s from training clips .* 0 s apart"),
        (("a", "a.mp4", [10.0]), ("b", "a.mp4", [0.0]), {}, "got 'b-00000' and 'a-00000' 8 s apart"),
        (
            ("a", "a.mp4", [0.0]),
            ("b", "copy.mp4", [0.0]),
            {"a.mp4": "x", "copy.mp4": "x"},
            r"0 s apart \(copy\.mp4 and a\.mp4\)",
        ),
    ],
)
def test_planted_leaks_are_caught(train, test, sums, message):
    table = pd.concat([clips(train[0], "train", *train[1:]), clips(test[0], "test", *test[1:])])
    with pytest.raises(InputError, match=message):
        check_leak(table, sums)


def test_the_same_file_far_apart_is_no_leak():
    """HCP's retest movie is in the file of run 1, 27 s after the last training movie."""
    table = pd.concat([clips("a", "train", "a.mp4", [0.0, 2.0]), clips("b", "test", "a.mp4", [14.0])])
    check_leak(table)


@pytest.mark.parametrize("name", ["cc2017", "hcp", "algonauts2021", "bids", "arrays"])
def test_no_data_set_leaks(name, tmp_path):
    dataset = open_dataset(_example(name, tmp_path))
    assert name in available()
    tables = [dataset.clip_table(segment.id) for segment in dataset.segments]
    check_leak(pd.concat(tables))
    for segment, table in zip(dataset.segments, tables, strict=True):
        assert list(table["clip"]) == segment.clips and set(table["split"]) == {segment.split}
        assert list(table.columns) == ["clip", "segment", "movie", "file", "onset", "duration", "split"]
    splits = [segment.split for segment in dataset.segments]
    assert splits == sorted(splits, reverse=True)  # training first


def _example(name, tmp_path):
    import yaml

    from mind_animator.config import load_config
    from mind_animator.provenance import ROOT

    config = load_config(yaml.safe_load((ROOT / f"config/{name}.yaml").read_text())).dataset
    folder = ROOT / config.data_root if name in ("bids", "arrays") else tmp_path
    return config.model_copy(update={"data_root": str(folder)})


def frames_of(rng, count):
    return rng.integers(0, 256, (count, 3, 16, 16, 3), dtype=np.uint8)


def test_a_movie_under_another_name_is_found_by_its_images(rng):
    train, test = frames_of(rng, 30), frames_of(rng, 20)
    test[5:9] = train[11:15]
    noisy = np.clip(test.astype(int) + rng.integers(-2, 3, test.shape), 0, 255).astype(
        np.uint8
    )  # another encoding
    small = [np.stack([thumbnails(clip) for clip in side]) for side in (train, noisy)]
    assert same_clips(*small) == [Twin(5 + k, 11 + k, k + 1) for k in range(4)]
    table = [
        clips("a", "train", "a.mp4", 2.0 * np.arange(30)),
        clips("b", "test", "b.mp4", 2.0 * np.arange(20)),
    ]
    with pytest.raises(
        InputError, match=r"got the same images in 'b-00005' \(test, b\) and 'a-00011' \(training, a\)"
    ):
        check_same_clips(same_clips(*small), *table)
    check_same_clips([Twin(5, 11, 1), Twin(7, 20, 1)], *table)  # listed in a table, not refused
    singles = pd.concat([clips(f"v{k}", "test", f"v{k}.mp4", [0.0]) for k in range(20)])
    with pytest.raises(InputError, match="got the same images in 'v5-00000'"):
        check_same_clips([Twin(5, 11, 1)], table[0], singles)


def drifting(start: float, n_clips: int) -> np.ndarray:
    """Thumbnails of clips of 2 s, 8 frames each, of a movie of drifting textures with a new one every 3 s."""

    def frame(t):
        shot = int(t // 3)
        texture = np.random.default_rng(shot).integers(0, 255, (6, 10, 3), np.uint8)
        wide = cv2.resize(texture, (160, 96), interpolation=cv2.INTER_CUBIC)
        return wide[16:80, (x := int(20 * (t - 3 * shot))) : x + 64]

    times = start + 2.0 * np.arange(n_clips)[:, None] + (np.arange(8) + 0.5) / 4
    return np.stack([thumbnails(np.stack([frame(t) for t in clip])) for clip in times])


@pytest.mark.parametrize("overlap", [0.0, 3.0, 9.0, 10.0, 10.4, 19.5, 20.1])
def test_runs_that_overlap_are_refused_wherever_clips_begin(overlap):
    """The end of the training movie is shown again at the start of the test movie (Budapest 10 s, Raiders 20 s)."""
    found = same_clips(drifting(0, 30), drifting(60 - overlap, 20))
    assert len(found) == int(overlap / 2)
    table = (
        clips("a", "train", "a.mp4", 2.0 * np.arange(30)),
        clips("b", "test", "b.mp4", 2.0 * np.arange(20)),
    )
    if not overlap:
        check_same_clips(found, *table)
        return
    with pytest.raises(
        InputError, match=r"got the same images in 'b-00000' .*: put both movies into one split"
    ):
        check_same_clips(found, *table)


def test_black_clips_count_for_nothing():
    black = np.zeros((4, 192), np.float32)
    assert same_clips(black, black) == []


def test_the_script_catches_a_leak_planted_in_a_study(tmp_path, rng):
    frames = {"a": frames_of(rng, 8), "b": frames_of(rng, 6)}
    paths = {}
    for name, split in (("a", "train"), ("b", "test")):
        table = clips(name, split, f"{name}.mp4", 2.0 * np.arange(len(frames[name])))
        write_table(tmp_path / f"{name}.tsv", table)
        paths[name] = table
    for planted in (False, True):
        if planted:
            frames["b"][1:5] = frames["a"][2:6]
        for name in frames:
            write_arrays(tmp_path / f"{name}.h5", {"frames": frames[name]}, list(paths[name]["clip"]))
        arguments = ["--table", str(tmp_path / "splits.tsv")]
        arguments += ["--tables", *(str(tmp_path / f"{n}.tsv") for n in frames)]
        arguments += ["--frames", *(str(tmp_path / f"{n}.h5") for n in frames)]
        if planted:
            with pytest.raises(InputError, match="same images in 'b-00001'"):
                check_splits.main(arguments)
        else:
            check_splits.main(arguments)
            table = pd.read_csv(tmp_path / "splits.tsv", sep="\t")
            assert table["movie"].tolist() == ["a", "b"] and table["twins"].tolist() == [0, 0]


@pytest.fixture
def half_a_study(tmp_path, rng):
    """Of an arrays study: one movie is whole, one broken, one subject is there, one is not."""
    table = pd.concat([clips("a", "train", "a.mp4", [0.0]), clips("b", "test", "b.mp4", [0.0])])
    table.drop(columns=["clip", "segment"]).to_csv(tmp_path / "clips.tsv", sep="\t", index=False)
    from mind_animator.artefacts.video import write_mp4

    write_mp4(tmp_path / "stimuli/a.mp4", rng.integers(0, 256, (8, 16, 16, 3), dtype=np.uint8), 4)
    (tmp_path / "stimuli/b.mp4").write_bytes(b"not a movie")
    np.save(tmp_path / "sub-01.npy", np.zeros((2, 3)))
    return DatasetConfig(
        name="arrays", data_root=str(tmp_path), subjects=("01", "02"), options={"clips": "clips.tsv"}
    )


def test_check_data_tells_file_by_file(half_a_study, tmp_path, capsys):
    dataset = open_dataset(half_a_study)
    table = check_files(dataset).set_index("file")
    assert table["state"].to_dict() == {
        "stimuli/a.mp4": "here", "stimuli/b.mp4": "wrong", "sub-01.npy": "here", "sub-02.npy": "missing",
    }  # fmt: skip
    assert table.loc["stimuli/a.mp4", "note"] == "seconds 2, frames 8, fps 4"
    assert table.loc["stimuli/b.mp4", "note"].startswith("no readable movie")
    assert summarise(table) == "4 files: 2 here, 1 missing, 1 wrong"
    arguments = ["--dataset", half_a_study.model_dump_json(), "--table", str(tmp_path / "files.tsv")]
    assert check_data.main(arguments) == 1
    assert "4 files: 2 here, 1 missing, 1 wrong" in capsys.readouterr().out
    assert len(pd.read_csv(tmp_path / "files.tsv", sep="\t")) == 4
    with pytest.raises(
        InputError, match=r"Expected .*stimuli/b\.mp4, got: wrong, .*`snakemake check_data` lists them"
    ):
        check_data.main(["--dataset", half_a_study.model_dump_json(), "--require"])


def test_the_manifest_states_what_changed_and_what_nothing_vouches_for(half_a_study, tmp_path):
    manifest.record(tmp_path, manifest.Entry("sub-01.npy", 99, "0" * 64, "unverified", "somewhere"))
    table = check_files(open_dataset(half_a_study))
    row = table.set_index("file").loc["sub-01.npy"]
    size = (tmp_path / "sub-01.npy").stat().st_size
    assert (row["state"], row["checked_by"]) == ("wrong", "unverified")
    assert row["note"] == f"expected 99 bytes (manifest), got {size}"
    assert summarise(table).endswith("; 1 unverified")


def test_files_of_the_lab_are_never_planned_for_download(half_a_study, tmp_path):
    plan = plan_downloads(open_dataset(half_a_study))
    assert plan.by_hand == (tmp_path / "sub-02.npy",) and not plan.files and not plan.zips


def test_nothing_of_a_data_set_is_known_outside_its_adapter_and_table():
    """Names of data sets and of where they lie: in no code but the adapters', the table's and the synthetic
    data set's."""
    known = re.compile(
        r"cc2017|\bhcp\b|algonauts|bold_?moments|purr\b|openneuro|utqde|connectome|tfmri|video_fmri"
    )
    package = ROOT / "mind_animator"
    code = [path for path in package.rglob("*.py") if not {"datasets", "synthetic"} & set(path.parts)]
    code += [path for path in (ROOT / "workflow_scripts").glob("*.py") if path.name != "simulate_runs.py"]
    code = [path for path in code if path.name != "submissions.py"]  # the example of a card names a data set
    for path in code:
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node):
                node.body = node.body[1:] or [ast.Pass()]
        text = re.sub(r"hcp.utils", "", ast.unparse(tree).lower())
        assert not known.search(text), (path, known.search(text))
    for path in [ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")]:
        lines = path.read_text().lower().splitlines()
        text = "\n".join(line.partition("#")[0] for line in lines)
        assert path.name == "synthetic.smk" or not known.search(text), (path, known.search(text))


def test_a_mask_that_is_neither_flags_nor_indices_is_found_before_any_work(tmp_path):
    import yaml

    from mind_animator.config import load_config

    values = yaml.safe_load((ROOT / "config/arrays.yaml").read_text())
    values["fmri"]["voxels"] = {"mask": str(tmp_path / "mask.npy")}
    config = load_config(values)
    dataset = open_dataset(config.dataset)
    np.save(tmp_path / "mask.npy", np.array([2, 0, 2, 0]))
    with pytest.raises(
        InputError, match=r"^Expected each index once, got 2 repeated .*config\.fmri\.voxels\.mask"
    ):
        check_config(dataset, config)
    for good in (np.array([0, 1, 1, 0], np.uint8), np.array([5, 3]), np.array([True, False])):
        np.save(tmp_path / "mask.npy", good)
        check_config(dataset, config)
