"""Preprocessed responses: every format and order of axes, what is missing, the published mirror."""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
import torch
from safetensors.numpy import save_file

from mind_animator.artefacts.foreign import read_foreign
from mind_animator.config import load_config
from mind_animator.config.dataset import DatasetConfig
from mind_animator.config.fmri import FmriConfig
from mind_animator.datasets import open_dataset
from mind_animator.datasets.check import check_config
from mind_animator.errors import InputError
from workflow_scripts import preprocess_subject

N_TRAIN, N_TEST, VOXELS = 14, 6, 5


@pytest.fixture
def lab(tmp_path, rng):
    """20 clips whose splits are interleaved in the table; responses say which row they are."""
    rows = []
    for index in range(N_TRAIN + N_TEST):
        test = index % 10 in (3, 4, 5)
        rows.append({"split": "test" if test else "train", "movie": f"m{index // 10}{'t' if test else ''}"})
    table = pd.DataFrame(rows)
    table["caption"] = [f"clip {index}" for index in range(len(table))]
    table.to_csv(tmp_path / "clips.tsv", sep="\t", index=False)
    responses = rng.standard_normal((len(table), VOXELS)).astype(np.float32)
    return tmp_path, table, responses


def opened(root, subjects=("01",), **options):
    options = {"clips": "clips.tsv"} | options
    return open_dataset(DatasetConfig(name="arrays", data_root=str(root), subjects=subjects, options=options))


def writers(root, array):
    """The same array in every format: (pattern of dataset.options.responses, how to write it)."""
    return {
        "sub-{subject}.npy": lambda: np.save(root / "sub-01.npy", array),
        "sub-{subject}.npz": lambda: np.savez(root / "sub-01.npz", x=array),
        "all.npz::sub{subject}": lambda: np.savez(root / "all.npz", sub01=array, sub02=array),
        "sub-{subject}.h5": lambda: _hdf5(root / "sub-01.h5", x=array),
        "all.h5::fmri/sub{subject}": lambda: _hdf5(root / "all.h5", **{"fmri/sub01": array}),
        "sub-{subject}.mat": lambda: scipy.io.savemat(root / "sub-01.mat", {"x": array}),
        "sub-{subject}.safetensors": lambda: save_file({"x": array}, root / "sub-01.safetensors"),
        "sub-{subject}.pt": lambda: torch.save(torch.from_numpy(array), root / "sub-01.pt"),
        "sub-{subject}.pth::x": lambda: torch.save(
            {"x": torch.from_numpy(array), "y": 1}, root / "sub-01.pth"
        ),
    }


def _hdf5(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


FORMATS = list(writers(Path(), np.zeros(1)))


@pytest.mark.parametrize("pattern", FORMATS)
def test_every_format_gives_the_tables_rows_in_segments(lab, pattern):
    root, table, responses = lab
    writers(root, responses)[pattern]()
    dataset = opened(root, responses=pattern)
    for segment in dataset.segments:
        (values,) = dataset.responses("01", segment.id, FmriConfig())
        rows = [int(text.split()[1]) for text in _captions(dataset, segment)]
        assert np.array_equal(values, responses[rows])
        assert set(table["split"].iloc[rows]) == {segment.split}
    assert sum(segment.n_clips for segment in dataset.segments) == len(table)
    assert [path.exists() for path in dataset.sources()] == [True]


def _captions(dataset, segment):
    captions = dataset.captions().set_index("clip")["caption"]
    return list(captions[segment.clips])


def test_matlab_7_3_has_its_axes_turned_back(lab):
    root, _, responses = lab
    with h5py.File(root / "sub-01.mat", "w") as file:
        file["x"] = responses.T
    assert np.array_equal(read_foreign(root / "sub-01.mat"), responses)


@pytest.mark.parametrize("axes", ["clip repeat voxel", "repeat clip voxel", "voxel repeat clip"])
def test_repeats_apart_are_repeats(lab, axes, rng):
    root, table, _ = lab
    whole = rng.standard_normal((len(table), 3, VOXELS)).astype(np.float32)
    order = [("clip", "repeat", "voxel").index(axis) for axis in axes.split()]
    np.save(root / "sub-01.npy", whole.transpose(order))
    dataset = opened(root, axes=axes)
    segment = dataset.segments[-1]
    rows = [int(text.split()[1]) for text in _captions(dataset, segment)]
    runs = list(dataset.runs("01", segment.id, FmriConfig()))
    assert [run.name for run in runs] == ["sub-01.npy_1", "sub-01.npy_2", "sub-01.npy_3"]
    for repeat, run in enumerate(runs):
        assert np.array_equal(run.values, whole[rows, repeat])


@pytest.mark.parametrize("chosen", [[0, 2, 3], None])
def test_a_repeat_that_does_not_agree_is_distinguished_from_the_others(lab, chosen, rng):
    """Of three, in training and test clips; voxel 3 is constant in one of them."""
    root, table, signal = lab
    whole = (signal[:, None] + 0.5 * rng.standard_normal((len(table), 3, VOXELS))).astype(np.float32)
    whole[:, 1] = rng.standard_normal(signal.shape)
    whole[:, 2, 3] = 1
    np.save(root / "sub-01.npy", whole)
    np.save(root / "mask.npy", np.array(chosen or [0]))
    dataset = opened(root, axes="clip repeat voxel")
    voxels = {"mask": str(root / "mask.npy")} if chosen else {"all": True}
    out = {"responses": "h5", "maps": "h5", "voxels": "tsv", "quality": "tsv"}
    settings = FmriConfig.model_validate({"voxels": voxels}).model_dump_json()
    arguments = ["--dataset", dataset.config.model_dump_json(), "--subject", "01", "--settings", settings]
    preprocess_subject.main(arguments + [f"--{key}={root / key}.{kind}" for key, kind in out.items()])
    quality = pd.read_table(root / "quality.tsv")
    by_hand = []
    for segment in dataset.segments:
        rows = [int(text.split()[1]) for text in _captions(dataset, segment)]
        pairs = [np.corrcoef(whole[rows, :, v].T) for v in chosen or range(VOXELS) if v != 3]
        agreement = (np.sum(pairs, axis=2) - 1) / 2  # (voxel, repeat)
        by_hand += [(r.mean(), np.sqrt(np.maximum(r, 0)).mean()) for r in agreement.T]
    found = quality[["reliability_selected", "noise_ceiling_selected"]]
    np.testing.assert_allclose(found, by_hand, atol=1e-5)
    first, second, third = quality.groupby("run")["reliability_selected"].mean()
    assert second + 0.2 < min(first, third)


def test_memory_is_asked_for_by_what_is_held(lab):
    dataset = opened(lab[0])
    dataset.n_voxels = 10**6
    assert dataset.memory_mb(False) == 1_500 + 4 * N_TRAIN
    assert dataset.memory_mb(True) == 1_500 + 8 * N_TRAIN + 16 * N_TEST
    runs_in_files = open_dataset(DatasetConfig(name="cc2017", data_root=str(lab[0])))
    assert runs_in_files.memory_mb(False) == 1_500


def test_a_file_a_split_counts_from_its_own_start(lab):
    root, table, responses = lab
    for split in ("train", "test"):
        np.save(root / f"01_{split}.npy", responses[(table["split"] == split).to_numpy()])
    dataset = opened(root, responses="{subject}_{split}.npy")
    for segment in dataset.segments:
        rows = [int(text.split()[1]) for text in _captions(dataset, segment)]
        (values,) = dataset.responses("01", segment.id, FmriConfig())
        assert np.array_equal(values, responses[rows])


def test_missing_volumes_and_voxels_are_handled_and_reported(lab, capsys):
    root, _, responses = lab
    responses = responses.copy()
    responses[0] = np.nan  # a clip without a volume
    responses[2, 3] = np.inf  # a voxel that lacks a value
    np.save(root / "sub-01.npy", responses)
    (values,) = opened(root).responses("01", "train000", FmriConfig())
    assert np.isnan(values[0]).all() and np.isfinite(values[1:]).all()
    assert (values[1:, 3] == 0).all() and (values[1:, 2] != 0).all()
    assert "1 of 5 voxels lack values; they are left out" in capsys.readouterr().err


def test_what_is_missing_is_left_out_and_reported(lab):
    root, table, _ = lab
    dataset = opened(root)
    assert dataset.has_captions and not dataset.has_stimuli
    assert dataset.stimulus_files("train000") == [] and dataset.frames("train000") is None
    movies = table.drop(columns="caption").assign(file="a.mp4", onset=0.0, duration=2.0)
    movies.to_csv(root / "clips.tsv", sep="\t", index=False)
    dataset = opened(root)
    assert dataset.has_stimuli and not dataset.has_captions
    assert dataset.stimulus_files("train000") == [root / "stimuli/a.mp4"]
    with pytest.raises(InputError, match="Expected captions to come with data set arrays"):
        dataset.captions()
    movies.drop(columns=["file", "onset", "duration"]).to_csv(root / "clips.tsv", sep="\t", index=False)
    config = {"results": "r", "seed": 1, "dataset": {"name": "arrays", "data_root": "."}, "methods": {}}
    check_config(opened(root), load_config(config | {"features": {"ready": {"text": "text.npy"}}}))
    with pytest.raises(InputError, match=r"Expected movies, frames, captions .* or embeddings"):
        check_config(opened(root), load_config(config))


@pytest.mark.parametrize("kind", ["uint8", "unit", "float255"])
def test_ready_frames_come_in_one_order(lab, rng, kind):
    root, table, _ = lab
    frames = rng.integers(0, 256, (len(table), 4, 6, 8, 3), dtype=np.uint8)
    stored = {
        "uint8": frames,
        "unit": frames.astype(np.float32) / 255,
        "float255": frames.astype(np.float32),
    }[kind]
    np.save(root / "frames.npy", stored.transpose(0, 1, 4, 2, 3))
    dataset = opened(root, frames="frames.npy", frame_axes="clip frame channel height width")
    segment = dataset.segments[0]
    rows = [int(text.split()[1]) for text in _captions(dataset, segment)]
    assert np.array_equal(dataset.frames(segment.id), frames[rows])
    assert dataset.stimulus_files(segment.id) == [root / "frames.npy"]


def test_the_published_mirror_of_neuroclips_is_a_preset(tmp_path):
    """Its DAG needs no data; its files (small here) come back by split, with ten repeats of test clips."""
    dataset = opened(tmp_path, subjects=("2",), clips=None, preset="neuroclips")
    assert [s.id for s in dataset.segments] == [
        *(f"seg{n}" for n in range(1, 19)),
        *(f"test{n}" for n in range(1, 6)),
    ]
    assert sum(segment.n_clips for segment in dataset.segments) == 5520
    urls = [archive.urls[0] for archive in dataset.archives()]
    stem = "https://huggingface.co/datasets/gongzx/cc2017_dataset/resolve/a82b9e20e98710f18913a10c0a5bf5f19a6e4000"
    names = ["GT_train_3fps.pt", "GT_test_3fps.pt", "GT_train_caption.pt", "GT_test_caption.pt"]
    assert set(urls) == {f"{stem}/{name}" for name in [*names, "subj02_train_fmri.pt", "subj02_test_fmri.pt"]}
    torch.save(
        torch.arange(1200.0)[:, None, None].expand(1200, 10, 2).clone(), tmp_path / "subj02_test_fmri.pt"
    )
    runs = list(dataset.runs("2", "test3", FmriConfig()))
    assert len(runs) == 10 and runs[0].values[:, 0].tolist() == list(range(480, 720))
    torch.save(torch.zeros(1200, 6, 3, 4, 4, dtype=torch.uint8), tmp_path / "GT_test_3fps.pt")
    assert dataset.frames("test1").shape == (240, 6, 4, 4, 3)
    for split, count in (("train", 4320), ("test", 1200)):
        torch.save([f"{split} {n}" for n in range(count)], tmp_path / f"GT_{split}_caption.pt")
    captions = dataset.captions()
    assert captions["caption"].iloc[[0, 4319, 4320, 5519]].tolist() == [
        "train 0",
        "train 4319",
        "test 0",
        "test 1199",
    ]


def test_the_published_test_set_of_mind_animator_is_a_preset(tmp_path):
    """1,200 movies of 2 s and the masked responses in their order; no clip to train on."""
    dataset = opened(tmp_path, subjects=("3",), clips=None, preset="mind_animator")
    assert [(s.id, s.split, s.n_clips) for s in dataset.segments] == [
        (f"test{n}", "test", 240) for n in range(1, 6)
    ]
    table = dataset.clip_table("test4")
    movies = tmp_path / "Testset_of_Preprocessed_datasets/CC2017/stimuli_clips/Test"
    assert table["file"].iloc[[0, 239]].tolist() == [str(movies / f"test4_{n}.mp4") for n in (1, 240)]
    assert (table["onset"] == 0).all() and (table["duration"] == 2).all()
    (file,) = dataset.response_files("3", "test4")
    file.parent.mkdir(parents=True)
    np.save(file, np.arange(1200.0)[:, None] * np.ones(4500))
    (values,) = dataset.responses("3", "test4", FmriConfig())
    assert values[:, 7].tolist() == list(range(720, 960))


def test_a_torch_file_with_code_is_refused(lab):
    root, _, _ = lab
    torch.save(Path, root / "sub-01.pt")
    with pytest.raises(InputError, match=r"Expected arrays in .*sub-01\.pt, got UnpicklingError"):
        next(opened(root, responses="sub-{subject}.pt").responses("01", "train000", FmriConfig()))
    np.save(root / "sub-01.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(InputError, match="was saved with Python objects"):
        next(opened(root).responses("01", "train000", FmriConfig()))


def test_a_test_movie_in_training_is_reported(lab):
    root, table, _ = lab
    table.assign(movie="same").to_csv(root / "clips.tsv", sep="\t", index=False)
    with pytest.raises(InputError, match="Expected movie 'same' in one split, got it in both"):
        opened(root)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"clips": None},
            "Expected dataset.options.clips to name a table of clips, or a preset, got neither",
        ),
        ({"clips": "none.tsv"}, r"Expected the table of clips at .*none\.tsv, found none"),
        (
            {"axes": "clip time"},
            "Expected dataset.options.axes of 'clip' or 'volume', .* got 'clip time'",
        ),
        (
            {"responses": "{run}.npy"},
            r"Expected only \{subject\}, \{split\}, \{segment\} in braces, got '\{run\}\.npy'",
        ),
        ({"responses": "absent.npy"}, r"Expected an array at .*absent\.npy, found none"),
        ({"responses": "a.csv"}, r"Expected a file of type \.npy, \.npz, .*, got .*a\.csv"),
        (
            {"responses": "two.npz"},
            r"Expected one array in .*two\.npz, got \['a', 'b'\]: write two\.npz::name",
        ),
        ({"responses": "two.npz::c"}, r"Expected an array 'c' in .*two\.npz, got \['a', 'b'\]"),
        ({"responses": "short.npy"}, r"Expected 20 clips \(the table's\) in .*short\.npy, got 7"),
        ({"responses": "flat.npy"}, r"Expected axes 'clip voxel' in .*flat\.npy, got shape \(20,\)"),
    ],
)
def test_faults_are_reported(lab, options, message):
    root, _, responses = lab
    np.savez(root / "two.npz", a=responses, b=responses)
    np.save(root / "short.npy", responses[:7])
    np.save(root / "flat.npy", responses[:, 0])
    with pytest.raises(InputError, match=message):
        next(opened(root, **options).responses("01", "train000", FmriConfig()))


def test_subjects_must_be_named(lab):
    with pytest.raises(InputError, match="Expected dataset\\.subjects to name the subjects"):
        opened(lab[0], subjects=())


def test_the_docs_example_is_a_whole_table():
    example = Path(__file__).resolve().parents[2] / "docs/examples/arrays"
    dataset = opened(example)
    assert [(s.id, s.split, s.n_clips) for s in dataset.segments] == [
        ("train000", "train", 60),
        ("test000", "test", 20),
    ]
    assert dataset.has_captions and dataset.has_stimuli
