"""Three submissions, each with a card, validated and merged into one page; the page in a browser."""

import json
import re

import h5py
import numpy as np
import pytest
from browser import act, screenshot
from PIL import Image

from mind_animator.artefacts.arrays import write_arrays
from mind_animator.artefacts.tables import read_table
from mind_animator.cli import _main
from mind_animator.cli.submissions import CARD as HELP
from mind_animator.config.submission import SubmissionConfig
from mind_animator.errors import InputError

CARD = {
    "format": "mind-animator submission 1", "method": "ours", "dataset": "Blobs", "authors": "A. Author, B. Author",
    "code": "https://example.org/ours", "licence": "CC-BY-4.0",
    "training": {"data": ["CC2017"], "pretrained": ["stable-diffusion-v1-5"], "hardware": "1 x A100",
    "gpu_hours": 30.5},
    "seen": {"test_stimuli": False, "test_responses": False, "other_subjects": True, "selected_on_test": False},
}  # fmt: skip
NAMES = [str(number) for number in range(4)]


def gifs(folder, frames):
    folder.mkdir(parents=True)
    for name, clip in zip(NAMES, frames, strict=True):
        images = [Image.fromarray(frame) for frame in clip]
        images[0].save(
            folder / f"{name}.webp", save_all=True, append_images=images[1:], duration=250, lossless=True
        )


@pytest.fixture(scope="module")
def submissions(tmp_path_factory):
    """Clips as files; two subjects as HDF5 in a folder, one of which lacks a clip; one HDF5 file for all."""
    folder = tmp_path_factory.mktemp("submissions")
    rng = np.random.default_rng(0)
    ground_truth = rng.integers(0, 256, (4, 3, 16, 16, 3), dtype=np.uint8)
    gifs(folder / "gt", ground_truth)
    gifs(folder / "ours" / "clips", ground_truth // 2 + 60)
    (folder / "ours" / "card.json").write_text(json.dumps(CARD))
    (folder / "theirs").mkdir()
    seen = {"test_stimuli": True, "test_responses": False, "other_subjects": False, "selected_on_test": True,
            "remarks": "captions of <b>all</b> clips"}  # fmt: skip
    card = CARD | {
        "method": "theirs", "clips": {"1": "one.h5", "2": "two.h5"}, "seen": seen, "code": "javascript:alert(1)",
    }  # fmt: skip
    (folder / "theirs" / "card.json").write_text(json.dumps(card))
    write_arrays(folder / "theirs" / "one.h5", {"frames": 255 - ground_truth}, NAMES)
    write_arrays(folder / "theirs" / "two.h5", {"frames": ground_truth[:3]}, NAMES[:3])
    third = {"card": json.dumps(CARD | {"method": "third", "code": "not released"})}
    write_arrays(folder / "third.h5", {"frames": rng.permutation(ground_truth)}, NAMES, third)
    return folder


def test_the_card_of_the_help_text_is_complete():
    example = HELP[HELP.index("{") : HELP.rindex("}") + 1]
    assert SubmissionConfig.model_validate_json(example).training.gpu_hours == 30


def test_valid_submissions(submissions, capsys):
    _main(["validate-submission", str(submissions / "ours"), str(submissions / "third.h5")])
    shown = capsys.readouterr().out
    assert "the card of 'ours' is complete (Blobs, 1 folder(s) or file(s))" in shown
    assert "ours: 4 of 4 clips can be read." in shown
    assert "Every submission is valid." in shown


def test_a_missing_clip_is_a_fault(submissions, capsys):
    arguments = [
        "validate-submission",
        str(submissions / "theirs"),
        "--ground-truth",
        str(submissions / "gt"),
    ]
    with pytest.raises(InputError, match="Expected submissions without faults, got 1 fault"):
        _main(arguments)
    shown = capsys.readouterr()
    assert "theirs/1: 4 of 4 clips can be read." in shown.out
    assert "theirs/2: no clip for 1 of 4 ground truths: 3" in shown.err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seen": None}, r"card.json: card.seen = null: must be a mapping"),
        ({"colour": "red"}, r"card.colour: is not a known key"),
        (
            {"training": CARD["training"] | {"gpu_hours": -1}},
            r"card.training.gpu_hours = -1: must be at least 0",
        ),
        ({"seen": {"test_stimuli": False}}, r"card.seen.test_responses: is required, found none"),
        ({"format": "2"}, r"card.format = '2': must be 'mind-animator submission 1'"),
        ({"clips": "../elsewhere"}, r"must be inside the submission, got '../elsewhere'"),
        ({"clips": "nowhere"}, r"Expected clips at .*nowhere \(key 'clips' of the card\), found none"),
        ({"method": "a/b"}, r"card.method = 'a/b'"),
        ({"layout": "unknown"}, r"must be a layout or one of \['mind_animator'"),
    ],
)
def test_faults_of_a_card(tmp_path, change, message, capsys):
    (tmp_path / "clips").mkdir()
    (tmp_path / "card.json").write_text(json.dumps(CARD | change))
    with pytest.raises(InputError, match="got 1 fault"):
        _main(["validate-submission", str(tmp_path)])
    assert re.search(message, capsys.readouterr().err)


def test_no_card(tmp_path, capsys):
    (tmp_path / "x").mkdir()
    write_arrays(tmp_path / "x.h5", {"frames": np.zeros((1, 1, 16, 16, 3), np.uint8)}, ["0"])
    (tmp_path / "y.h5").write_bytes((tmp_path / "x.h5").read_bytes())
    with h5py.File(tmp_path / "y.h5", "a") as file:
        file.attrs["card"] = "{"
    with pytest.raises(InputError, match="got 3 fault"):
        _main(["validate-submission", *(str(tmp_path / name) for name in ("x", "x.h5", "y.h5"))])
    shown = capsys.readouterr().err
    assert (
        "Expected a JSON file at" in shown
        and "text attribute 'card' of" in shown
        and "got Expecting" in shown
    )


@pytest.fixture(scope="module")
def page(submissions):
    _main(
        ["leaderboard", *(str(submissions / name) for name in ("ours", "theirs", "third.h5")), "--ground-truth",
         str(submissions / "gt"), "--no-models", "--permutations", "99", "--videos", "1",
         "--out", str(submissions / "board")]
    )  # fmt: skip
    return submissions / "board" / "index.html"


def test_one_page_of_three_submissions(page):
    summary = read_table(page.parent / "summary.tsv")
    assert set(summary["dataset"]) == {"Blobs"}
    rows = summary.set_index(["method", "subject", "metric"])
    assert rows.loc[("theirs", "2", "ssim"), ["mean", "n_clips", "n_expected"]].tolist() == [1, 3, 4]
    assert rows.loc[("ours", "all", "ssim"), "n_clips"] == 4
    assert "theirs" in page.read_text() and "<b>all</b>" not in page.read_text()


def test_a_visitor_reads_the_cards_and_compares_methods(page):
    found = act(
        page,
        """
        const text = node => node.textContent.replaceAll("\\u200b", "");
        const choose = (id, value) => { const menu = document.getElementById(id); menu.value = value;
          menu.dispatchEvent(new Event("change")); };
        choose("subject", "pooled");
        const rows = [...document.getElementById("submissions").tBodies[0].rows];
        return {
          title: document.title,
          methods: [...document.getElementById("scores").tBodies[0].rows].map(row => text(row.cells[0].firstChild)),
          cards: rows.map(row => [...row.cells].map(text)),
          marks: rows.map(row => [...row.querySelectorAll(".warn")].map(text)),
          links: rows.map(row => [...row.querySelectorAll("a")].map(link => link.href)),
          subjects: [...document.getElementById("subject").options].map(option => option.value),
        };
        """,
    )
    assert found["title"] == "Blobs: a leaderboard"
    assert [card[0] for card in found["cards"]] == ["ours", "theirs", "third"]
    assert found["cards"][0][4] == "30.5 GPU h, 1 x A100"
    assert found["marks"] == [[], ["test stimuli", "selected on test scores"], []]
    assert found["links"] == [["https://example.org/ours"], [], []]  # a script is no link
    assert "captions of <b>all</b> clips" in found["cards"][1][5]
    assert "nothing of the test set; other subjects" in found["cards"][0][5]
    assert found["subjects"][0] == "pooled" and {"1", "2", "all"} <= set(found["subjects"])
    # those without stated subjects are listed next to the pooled ones
    assert {"ours", "theirs", "third", "flat_mean"} <= set(found["methods"])
    assert len(found["methods"]) == len(set(found["methods"]))


@pytest.mark.parametrize("width", [1300, 390])
def test_the_page_fits(page, width, tmp_path):
    capture = page.parent / f"board-{width}.png"
    screenshot(page, capture, width, height=1500)
    image = np.asarray(Image.open(capture).convert("RGB"))
    assert image.shape[1] >= width
    overflow = act(
        page, "return document.documentElement.scrollWidth - document.documentElement.clientWidth;", width
    )
    assert overflow <= 0


def test_submissions_must_compare(submissions, tmp_path):
    (tmp_path / "clips").mkdir()
    (tmp_path / "card.json").write_text(json.dumps(CARD))
    arguments = ["leaderboard", str(submissions / "ours"), str(tmp_path), "--ground-truth", str(submissions / "gt"),
                 "--out", str(tmp_path / "out")]  # fmt: skip
    with pytest.raises(InputError, match="Expected different methods in submissions, got 'ours' twice"):
        _main(arguments)
    (tmp_path / "card.json").write_text(json.dumps(CARD | {"method": "x", "dataset": "HCP"}))
    with pytest.raises(InputError, match="Expected submissions to one data set, got 'Blobs' and 'HCP'"):
        _main(arguments)
