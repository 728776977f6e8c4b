"""Captions that were there already: published HDF5 files and tables."""

import csv
import json

import h5py
import pandas as pd
import pytest

from mind_animator.artefacts.tables import read_table, write_table
from mind_animator.captions.tables import captions_of, read_captions, read_ready_captions
from mind_animator.config.captions import CaptionsConfig
from mind_animator.config.dataset import DatasetConfig
from mind_animator.datasets import open_dataset
from mind_animator.errors import InputError
from workflow_scripts.read_captions import main

ORDER = {"train": ["a-00000", "a-00001", "b-00000"], "test": ["t-00000"]}


def _hdf5(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file.create_dataset(name, data=values, dtype=h5py.string_dtype())
    return path


@pytest.mark.parametrize(
    ("dataset", "files", "counts"),
    [
        ("cc2017", ["CC2017_Train_captions.h5", "CC2017_Test_captions.h5"], (4320, 1200)),
        ("hcp", ["HCP_captions.h5"], (3040, 0)),
        ("algonauts2021", ["Algonauts2021_captions.h5"], (1000, 0)),
    ],
)
def test_published_captions_name_every_clip(dataset, files, counts, published_data, tmp_path):
    opened = open_dataset(DatasetConfig(name=dataset, data_root=str(tmp_path)))
    order = opened.caption_order()
    assert sum(map(len, order.values())) == sum(counts)
    paths = [published_data / "captions" / name for name in files]
    captions = read_ready_captions(paths, order)
    clips = [clip for segment in opened.segments for clip in segment.clips]
    assert set(captions) == set(clips)
    assert all(captions.values())
    if dataset == "cc2017":
        assert captions["test1-00001"] == "a bee on a pink flower"
        assert captions["seg1-00000"] == "a woman picking up a dog's poop"
        out = tmp_path / "clips.tsv"
        settings = json.dumps({"name": dataset, "data_root": str(tmp_path)})
        shard = ["--shard", "04300", "--n-clips", "30", "--captions", str(out)]
        main(["--dataset", settings, "--ready", *map(str, paths), *shard])
        table = read_table(out, columns=("clip", "caption"))
        assert table["clip"].tolist() == clips[4300:4330]
        assert table["caption"].tolist() == [captions[clip] for clip in clips[4300:4330]]


def test_arrays_without_names_follow_the_data_sets_order(tmp_path):
    train = _hdf5(tmp_path / "train.h5", Train_captions=["1", "2", "3"])
    test = _hdf5(tmp_path / "test.h5", Test_captions=["4"])
    every = _hdf5(tmp_path / "all.h5", Captions=["1", "2", "3", "4"])
    split = read_ready_captions([train, test], ORDER)
    assert (
        split
        == read_ready_captions([every], ORDER)
        == {"a-00000": "1", "a-00001": "2", "b-00000": "3", "t-00000": "4"}
    )
    # a clip shown twice keeps its first caption
    again = {"train": ["a", "r", "b", "r"], "test": []}
    assert read_ready_captions([every], again) == {"a": "1", "r": "2", "b": "3"}


def test_named_captions(tmp_path):
    named = _hdf5(tmp_path / "named.h5", clip=["t-00000", "a-00001"], caption=["x", "y"])
    table = tmp_path / "more.tsv"
    # words that a table reader takes for missing values stay words
    write_table(table, pd.DataFrame({"clip": ["b-00000", "a-00000"], "caption": ["NA", "a null"]}))
    captions = read_ready_captions([named, table], ORDER)
    assert captions == {"t-00000": "x", "a-00001": "y", "b-00000": "NA", "a-00000": "a null"}
    assert captions_of(captions, ["b-00000", "t-00000"], "here") == ["NA", "x"]
    with pytest.raises(
        InputError, match=r"Expected a caption of every clip in here, found none of 1 clip\(s\): 'z'"
    ):
        captions_of(captions, ["z", "t-00000"], "here")


def test_faults_are_named(tmp_path):
    with pytest.raises(InputError, match=r"Expected 3 captions in 'Train_captions' of .*train.h5, got 2"):
        read_ready_captions([_hdf5(tmp_path / "train.h5", Train_captions=["1", "2"])], ORDER)
    with pytest.raises(InputError, match=r"Expected 4 or 3 captions in 'Captions' of .*all.h5, got 1"):
        read_ready_captions([_hdf5(tmp_path / "all.h5", Captions=["1"])], ORDER)
    with pytest.raises(InputError, match=r"or one of captions, in .*two.h5, got \['x', 'y'\]"):
        read_ready_captions([_hdf5(tmp_path / "two.h5", x=["1"], y=["2"])], ORDER)
    with pytest.raises(InputError, match=r"Expected captions in a .tsv or .h5 file, got captions.txt"):
        read_ready_captions(["captions.txt"], ORDER)
    twice = tmp_path / "twice.tsv"
    write_table(twice, pd.DataFrame({"clip": ["a", "a"], "caption": ["x", "y"]}))
    with pytest.raises(InputError, match=r"Expected each clip once in .*twice.tsv, got 'a' twice"):
        read_captions([twice])
    with pytest.raises(InputError, match=r"Expected column 'caption' in .*short.tsv"):
        write_table(tmp_path / "short.tsv", pd.DataFrame({"clip": ["a"]}))
        read_captions([tmp_path / "short.tsv"])


def test_one_file_or_several_in_the_config():
    assert CaptionsConfig(ready="a.h5").ready == ("a.h5",)
    assert CaptionsConfig(ready=["a.h5", "b.h5"]).ready == ("a.h5", "b.h5")
    assert CaptionsConfig().ready == ()


@pytest.fixture(scope="session")
def cases(published_data):
    folder = published_data / "cases" / "captions"
    if not folder.is_dir():
        pytest.skip("the examples of faulty caption files are absent")
    return folder


@pytest.mark.parametrize("name", ["bom", "crlf"])
def test_byte_order_mark_and_windows_line_ends(cases, name):
    assert read_ready_captions([cases / f"{name}.tsv"], ORDER) == {"a": "x", "b": "y", "c": "z"}


def test_words_and_quotation_marks_are_text(cases):
    assert read_ready_captions([cases / "na.tsv"], ORDER) == {"a": "nan", "b": "None", "c": "NA"}
    found = read_ready_captions([cases / "quote_unbalanced.tsv"], ORDER)
    assert found == {"a": '"hello, he says', "b": "a man", "c": 'a dog says "yes"'}


def test_a_tab_inside_a_caption_is_named(cases):
    with pytest.raises(InputError, match=r"tab_in_caption.tsv, line 2: expected 2 fields .*, got 3"):
        read_ready_captions([cases / "tab_in_caption.tsv"], ORDER)


def test_bytes_in_hdf5_are_utf8(cases, tmp_path):
    order = {"train": ["a", "b", "c"], "test": []}
    found = read_ready_captions([cases / "bytes_utf8.h5"], order)
    assert found == {"a": "a man", "b": "a caf\u00e9", "c": "a dog"}
    for values, message in (
        ([1, 2, 3], "Expected a list of texts in 'captions' of .*int64"),
        ([b"a", b"caf\xe9", b"b"], r"Expected UTF-8 texts in 'captions' of .*, got b'caf\\xe9' at index 1"),
        ([[b"a"], [b"b"], [b"c"]], r"Expected a list of texts in 'captions' of .* of shape \(3, 1\)"),
    ):
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file["captions"] = values
        with pytest.raises(InputError, match=message):
            read_ready_captions([tmp_path / "x.h5"], order)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_group("captions")
    with pytest.raises(InputError, match="or one of captions"):
        read_ready_captions([tmp_path / "x.h5"], order)


TEXTS = ["nan", "NA", '"all of it"', 'a "part" of it', '"', '""', "caf\u00e9, \u2028 and more", "'x'", "1"]


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, None])
def test_captions_survive_every_writer(tmp_path, quoting):
    """Python's csv writer with and without quotes everywhere, and lines joined by tabs."""
    rows = [("clip", "caption"), *((f"c{index}", text) for index, text in enumerate(TEXTS))]
    with open(tmp_path / "x.tsv", "w", newline="") as stream:
        if quoting is None:
            stream.write("\n".join("\t".join(row) for row in rows))
        else:
            csv.writer(stream, delimiter="\t", quoting=quoting).writerows(rows)
    assert list(read_captions([tmp_path / "x.tsv"]).values()) == TEXTS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("clip\tcaption\na\tcaf\u00e9\n".encode("latin-1"), r"Expected UTF-8 text in .*byte 0xe9 in line 2"),
        ("clip\tcaption\na\tx\n".encode("utf-16"), r"Expected UTF-8 text in .*, got UTF-16"),
        ("clip\tcaption\na\tx\n".encode("utf-16-le"), r"got zero bytes"),
        (b"clip\tcaption\na\t \n", r"Expected a caption of clip 'a' in .*, got an empty text"),
        (b"clip\tcaption\n\tx\n", r"Expected a clip's name for every caption in .*\('x'\)"),
        (b"clip\tcaption\tclip\na\tx\tb\n", r"Expected different names of columns in .*, got 'clip' twice"),
        (b"", r"got an empty file"),
    ],
)
def test_files_that_cannot_be_captions(tmp_path, content, message):
    (tmp_path / "x.tsv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_ready_captions([tmp_path / "x.tsv"], ORDER)


def test_white_space_becomes_blanks_and_two_files_never_contradict(tmp_path):
    named = _hdf5(tmp_path / "named.h5", clip=["a", "b"], caption=["one\ttwo\nthree ", "x"])
    assert read_ready_captions([named], ORDER) == {"a": "one two three", "b": "x"}
    (tmp_path / "x.tsv").write_text("clip\tcaption\nb\tanother\n")
    with pytest.raises(InputError, match=r"Expected each clip in one caption file, got 'b' in .*x.tsv, too"):
        read_ready_captions([named, tmp_path / "x.tsv"], ORDER)


def test_a_tables_text_columns_stay_text(tmp_path):
    write_table(tmp_path / "x.tsv", pd.DataFrame({"clip": ["nan", "b"], "value": [float("nan"), 1.0]}))
    table = read_table(tmp_path / "x.tsv")
    assert table["clip"].tolist() == ["nan", "b"]
    assert table["value"].isna().tolist() == [True, False]
