"""The contract of methods: wrong declarations, needs that a data set lacks, windows within runs, spans of movies."""

import ast
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from tiny_demo import ROOT

from mind_animator.artefacts.video import write_mp4
from mind_animator.config.base import Strict
from mind_animator.config.features import FeaturesConfig
from mind_animator.config.methods import MethodConfig
from mind_animator.errors import InputError
from mind_animator.features.base import open_provider
from mind_animator.methods import base
from mind_animator.methods._read import windows_of
from mind_animator.methods.base import (
    Method,
    Needs,
    Part,
    check_features,
    check_needs,
    headline_of,
    open_methods,
)
from mind_animator.video.training import TrainingMovies


class Options(Strict):
    """No options."""


def opened(monkeypatch, **attributes):
    """A method of a type with these attributes, opened as in a config."""

    def work(cls, *arguments):
        raise AssertionError("not called")

    functions = {
        name: classmethod(work) for name in attributes.pop("functions", ("train", "predict", "reconstruct"))
    }
    plain = {"kind": "probe", "Options": Options, "reconstruction": "own", "parts": (Part("net"),)}
    kind = type("Probe", (Method,), {**plain, **functions, **attributes})
    monkeypatch.setattr(base, "open_kind", lambda name, where: kind)
    return open_methods({"probe": MethodConfig(kind="probe")})


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        ({"reconstruction": "pixels"}, r"reconstruction = 'pixels': must be one of \['generator', 'vae', 'own'"),
        ({"functions": ("train", "predict")}, "reconstruction = 'own' requires a method `reconstruct`"),
        ({"reconstruction": "vae"}, "reconstruction = 'vae' excludes a method `reconstruct`"),
        ({"reconstruction": "vae", "functions": ("train",)}, "reconstruction = 'vae' requires a method `predict`"),
        ({"functions": ("predict", "reconstruct")}, r"declares parts \['net'\] but no method `train`"),
        ({"weights": {}}, "declares part 'net', but nothing would train it: nothing reads it"),
        ({"parts": (Part("a", after=("b",)), Part("b"))}, "part 'a' comes after 'b', which is not one of the parts "
                                                          "before it"),
        ({"parts": (Part("a"), Part("a"))}, "part 'a': names must be unique"),
        ({"parts": (Part("a/b"),)}, "part 'a/b': names must be unique and consist of letters"),
        (
            {"parts": (Part("a"), Part("b", trained_on="all", after=("a",)))},
            r"part 'b' \(trained on all\) cannot come after 'a' \(trained on subject\)",
        ),
        (
            {"parts": (Part("a", trained_on="all"), Part("b", trained_on="all_but_one", after=("a",)))},
            r"part 'b' \(trained on all_but_one\) cannot come after 'a' \(trained on all\)",
        ),
        ({"needs": Needs(frames=True)}, r"needs \['frames'\], which only the training of a part can receive"),
        ({"reconstruction": "frames"}, "reconstruction = 'frames' excludes parts and predictions"),
    ],
)  # fmt: skip
def test_a_wrong_declaration_is_one_line(monkeypatch, attributes, text):
    with pytest.raises(InputError, match=text) as caught:
        opened(monkeypatch, **attributes)
    assert "\n" not in str(caught.value) and "methods.probe" in str(caught.value)


def test_parts_of_any_number_and_name(monkeypatch):
    parts = (Part("Backbone_2"), Part("x", trained_on="all_but_one"), Part("z", after=("Backbone_2", "x")))
    method = opened(monkeypatch, parts=parts, weights={"z": "probe"})["probe"]
    assert [part.group("3") for part in method.parts] == ["3", "without3", "3"]
    assert method.part("x").subjects("without3", ("1", "2", "3")) == ["1", "2"]
    assert Part("p", trained_on="all").subjects("pooled", ("1", "2")) == ["1", "2"]
    with pytest.raises(
        InputError, match=r"config.methods.probe: must train part 'motion', trains \['Backbone_2', 'x', 'z'\]"
    ):
        method.part("motion")


def dataset(**attributes):
    segment = SimpleNamespace(id="seg1", split="train")
    table = pd.DataFrame({"file": "a.mp4", "onset": [0.0, 2.0, 4.0]})
    plain = {
        "name": "probe data", "has_stimuli": True, "has_rois": True, "rois_of": "fs_LR_32k", "tr": 2.0,
        "segments": (segment,), "subjects": ("1", "2"), "stimulus_files": lambda segment: ["a.mp4"],
        "response_files": lambda subject, segment: ["run"], "clip_table": lambda segment: table,
    }  # fmt: skip
    return SimpleNamespace(**{**plain, **attributes})


@pytest.mark.parametrize(
    ("needs", "attributes", "text"),
    [
        (
            {"frames": True},
            {"has_stimuli": False},
            "needs frames of the training clips, which data set probe data",
        ),
        ({"movies": True}, {"stimulus_files": lambda segment: []}, "needs whole training movies, which"),
        (
            {"repeats": True},
            {"response_files": lambda *_: []},
            "needs single repeats of training runs, which",
        ),
        ({"voxels": ("rois",)}, {"has_rois": False}, "needs area names of the voxels, which"),
        ({"voxels": ("coordinates",)}, {"rois_of": "none"}, "needs coordinates of the voxels, which"),
        ({"window": (0, 1)}, {"tr": 1.5}, r"needs a window of volumes \(a clip at every volume\), which"),
        ({"models": ("vgg16",)}, {}, "needs config.models.vgg16, found none"),
        ({"videos": ("nowhere",)}, {}, "needs unpaired videos in a folder nowhere, found none"),
    ],
)
def test_a_need_that_the_data_set_lacks_is_one_line(monkeypatch, needs, attributes, text):
    methods = opened(monkeypatch, parts=(Part("net", needs=Needs(**needs)),))
    with pytest.raises(InputError, match=f"methods.probe: part 'net' {text}"):
        check_needs(methods, dataset(**attributes), {"vit": "folder"})
    if not needs.keys() & {"models", "videos"}:
        check_needs(methods, dataset(), {})


def test_one_subject_cannot_be_held_out(monkeypatch):
    methods = opened(monkeypatch, parts=(Part("net", trained_on="all_but_one"),))
    check_needs(methods, dataset(), {})
    with pytest.raises(
        InputError, match="part 'net' is trained on all subjects but one, and there is only one"
    ):
        check_needs(methods, dataset(subjects=("1",)), {})


def test_a_need_that_no_provider_computes_is_named(monkeypatch):
    providers = {"image": open_provider("image", FeaturesConfig())}
    methods = opened(monkeypatch, parts=(Part("net", needs=Needs(features={"depth": "image"})),))
    with pytest.raises(
        InputError, match=r"part 'net' needs the array 'depth' of the feature provider 'image', which"
    ):
        check_features(methods, providers)
    with pytest.raises(
        InputError, match=r"Expected a feature provider of \[.*'image', .*'text'\] \(features\), got 'sound'"
    ):
        open_provider("sound", FeaturesConfig())


def test_the_headline_is_named_where_it_is_not_plain(monkeypatch):
    methods = open_methods({"a": MethodConfig(kind="ridge"), "flat": MethodConfig(kind="flat_mean")})
    assert headline_of(methods, None) == "a"
    methods = open_methods({"a": MethodConfig(kind="ridge"), "b": MethodConfig(kind="ridge")})
    assert headline_of(methods, "b") == "b"
    with pytest.raises(
        InputError, match=r"config.report.headline: is required with several methods, one of \['a', 'b'\]"
    ):
        headline_of(methods, None)


def test_a_window_stays_within_its_run():
    """Against a loop over clips: two runs of one segment, one clip without a response, shuffled rows."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({
        "segment": "s", "file": ["a"] * 5 + ["b"] * 4, "onset": [*(2.0 * np.arange(5)), *(2.0 * np.arange(4))],
    }).sample(frac=1, random_state=1).reset_index(drop=True)  # fmt: skip
    values = rng.normal(size=(9, 3)).astype(np.float32)
    present = ~((table["file"] == "a") & (table["onset"] == 4.0)).to_numpy()
    window, in_run = windows_of(values, present, table, (1, 2), 2.0)
    row_of = {
        (f, o): row
        for row, (f, o) in enumerate(zip(table["file"], table["onset"], strict=True))
        if present[row]
    }
    for (file, onset), row in row_of.items():
        for column, offset in enumerate((-1, 0, 1, 2)):
            exact = row_of.get((file, onset + 2.0 * offset))
            assert in_run[row, column] == (exact is not None)
            if exact is not None:
                np.testing.assert_array_equal(window[row, column], values[exact])
        for column in (2, 3):  # outward: the volume before is repeated
            if not in_run[row, column]:
                np.testing.assert_array_equal(window[row, column], window[row, column - 1])
        if not in_run[row, 0]:
            np.testing.assert_array_equal(window[row, 0], values[row])
    with pytest.raises(InputError, match=r"Expected clips at a distance of one volume \(1.5 s\)"):
        windows_of(values, present, table, (0, 1), 1.5)


def test_only_the_time_of_training_clips_can_be_read(tmp_path):
    frames = (np.arange(40)[:, None, None, None] * 6 + np.zeros((1, 16, 16, 3))).astype(np.uint8)
    write_mp4(tmp_path / "m.mp4", iter(frames), 4)
    # training clips from 0 to 4 s and from 6 to 8 s; what lies between and after is not theirs
    table = pd.DataFrame({"movie": "m", "file": "m.mp4", "onset": [0.0, 2.0, 6.0], "duration": 2.0})
    movies = TrainingMovies(table, [tmp_path / "m.mp4"])
    assert [(span.start, span.end) for span in movies.spans] == [(0.0, 4.0), (6.0, 8.0)]
    first = movies.spans[0]
    read = dict(movies.read(first, [1.0, 0.25], frames=4, rate=4.0, size=8))
    assert read[0].shape == (4, 8, 8, 3)
    for row, onset in enumerate((1.0, 0.25)):
        expected = 6 * (onset * 4 + np.arange(4))
        assert np.abs(read[row].mean(axis=(1, 2, 3)) - expected).max() < 3  # a lossy file
    for span, onset in ((first, 3.5), (first, -0.5), (movies.spans[1], 7.5), (first, 4.5)):
        with pytest.raises(InputError, match="Expected samples of 1 s between"):
            list(movies.read(span, [onset], frames=4, rate=4.0, size=8))


def texts_of(path):
    """Texts in the code of a file, without docstrings: what it could compare a method type with, or show."""
    if path.suffix != ".py":  # Snakemake files and templates
        return path.read_text().splitlines()
    tree = ast.parse(path.read_text())
    scopes = [n for n in ast.walk(tree) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)]
    documentation = {id(n.body[0].value) for n in scopes if n.body and isinstance(n.body[0], ast.Expr)}
    constants = (n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str))
    return [n.value for n in constants if id(n) not in documentation]


def test_no_file_but_a_method_s_own_names_it():
    """Rules, scripts and package ask a method what it offers. Only the default configuration may name methods."""
    # also names of the package, a place of frames, published layouts of files, an interpolation, a feature of clips,
    # an estimator
    others = {"mind_animator", "folder", "neuroclips", "mind_video", "bilinear", "motion_energy", "ridge"}
    kinds = set(base.available()) - others
    word = re.compile(rf"(?<![\w./])({'|'.join(sorted(kinds))})(?![\w./-]| regression| models)")
    paths = [
        ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk"), *(ROOT / "workflow_scripts").glob("*.py"),
        *(ROOT / "mind_animator").rglob("*.py"), *(ROOT / "mind_animator").rglob("*.j2"),
    ]  # fmt: skip
    named = {
        str(path.relative_to(ROOT))
        for path in paths
        if path.parent != ROOT / "mind_animator/methods" and any(map(word.search, texts_of(path)))
    }
    assert named == {"mind_animator/config/__init__.py"}
    own = re.compile(
        r"(kind|name) (==|!=|in) [\"'(\[{]*(mind_animator|neuroclips|mind_video|motion_energy)\b"
    )
    assert [path for path in paths if own.search(path.read_text())] == []
