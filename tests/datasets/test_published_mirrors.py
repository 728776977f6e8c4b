"""The published mirrors of CC2017, in their layout and small: from a server to clips, captions and responses.

The real files were not available: the files built here follow `archives.yaml` and the presets of the adapter.
"""

import hashlib
import io
import json

import numpy as np
import pytest
import torch
import yaml
from download.servers import Fault, http_site

from mind_animator.artefacts.arrays import read_arrays
from mind_animator.artefacts.tables import read_table
from mind_animator.artefacts.video import write_mp4
from mind_animator.config.dataset import DatasetConfig
from mind_animator.datasets import archives, open_dataset
from mind_animator.datasets.check import plan_downloads
from mind_animator.datasets.download import read_manifest
from mind_animator.errors import InputError
from workflow_scripts import fetch_archive, fetch_listing, preprocess_subject, read_captions, segment_movie

VOXELS, FEATURES = 12, 4
TRAIN, TEST, REPEATS = 4320, 1200, 10
THREE_A_SECOND = json.dumps({"frames": 6, "rate": 3, "size": 32})
FOUR_A_SECOND = json.dumps({"frames": 8, "rate": 4, "size": 32})


def saved(content) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def grey_of(index: np.ndarray) -> np.ndarray:
    """Grey level that distinguishes a clip from its 199 neighbours."""
    return (index % 200 + 20).astype(np.uint8)


@pytest.fixture(scope="module")
def neuroclips():
    """The hub's files of one subject: test responses keep ten repeats on axis 1, channels come before rows."""
    rng = np.random.default_rng(7)
    weights = rng.standard_normal((FEATURES, VOXELS))
    files, shown = {}, {}
    for split, count in (("train", TRAIN), ("test", TEST)):
        shown[split] = rng.standard_normal((count, FEATURES))
        clean = shown[split] @ weights
        noise = rng.standard_normal((count, *([REPEATS] if split == "test" else []), VOXELS))
        values = (clean[:, None] if split == "test" else clean) + noise
        files[f"subj01_{split}_fmri.pt"] = saved(torch.from_numpy((values + 3).astype(np.float32)))
        grey = torch.from_numpy(grey_of(np.arange(count)))
        frames = grey[:, None, None, None, None].expand(count, 6, 3, 4, 4).clone()
        frames[:, :, 1] = 7  # the second channel differs from the others
        files[f"GT_{split}_3fps.pt"] = saved(frames)
        files[f"GT_{split}_caption.pt"] = saved([f"{split} clip {k}" for k in range(count)])
    return files, shown, weights


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Function that sets the address of the hub's files."""

    def rewrite(url: str) -> None:
        content = yaml.safe_load(archives.TABLE.read_text())
        content["sources"]["neuroclips"]["archives"]["file"]["urls"] = [f"{url}/{{path}}"]
        path = tmp_path / "archives.yaml"
        path.write_text(yaml.safe_dump(content))
        monkeypatch.setattr(archives, "TABLE", path)
        archives.describe.cache_clear()

    yield rewrite
    archives.describe.cache_clear()


def preprocessed(arguments: list[str], folder, subject: str, **settings):
    outputs = {"responses": "h5", "maps": "h5", "voxels": "tsv", "quality": "tsv"}
    outputs = [word for key, kind in outputs.items() for word in (f"--{key}", str(folder / f"{key}.{kind}"))]
    given = json.dumps({"voxels": {"all": True}, "lag": 0} | settings)
    preprocess_subject.main([*arguments, "--subject", subject, "--settings", given, *outputs])
    clips, arrays = read_arrays(folder / "responses.h5", ["responses", "half_1", "half_2"])
    return clips, arrays, read_table(folder / "quality.tsv", ("run", "reliability_selected"))


def cut(arguments: list[str], folder, segment: str, settings: str):
    outputs = ["--frames", str(folder / f"{segment}.h5"), "--table", str(folder / f"{segment}.tsv")]
    segment_movie.main([*arguments, "--segment", segment, "--settings", settings, *outputs])
    return read_arrays(folder / f"{segment}.h5", ["frames"])[1]["frames"], read_table(
        folder / f"{segment}.tsv"
    )


def test_neuroclips_from_the_hub_to_clips_and_responses(tmp_path, neuroclips, table):
    files, shown, weights = neuroclips
    config = DatasetConfig(
        name="arrays", data_root=str(tmp_path / "data"), subjects=("1",), options={"preset": "neuroclips"}
    )
    arguments = ["--dataset", config.model_dump_json()]
    with http_site(files={f"/{name}": body for name, body in files.items()}) as site:
        table(site.url)
        expected = plan_downloads(open_dataset(config)).files
        assert {archive.file for archive in expected} == set(files)
        for archive in expected:
            # the hub states a SHA-256; one file is cut, and one comes with a wrong byte first
            site.headers = {"X-Linked-Etag": f'"{hashlib.sha256(files[archive.file]).hexdigest()}"'}
            kind = {"subj01_test_fmri.pt": "cut", "GT_test_caption.pt": "flip"}.get(archive.file)
            site.faults = [Fault(kind, at=len(files[archive.file]) // 2)] if kind else []
            file = str(tmp_path / "data" / archive.file)
            fetch_archive.main([*arguments, "--archive", archive.name, "--file", file])
    assert {entry.checked_by for entry in read_manifest(tmp_path / "data").values()} == {"sha256"}
    assert not plan_downloads(open_dataset(config)).files

    clips, arrays, quality = preprocessed(arguments, tmp_path, "1")
    segments = [*(f"seg{n}" for n in range(1, 19)), *(f"test{n}" for n in range(1, 6))]
    assert clips == [f"{segment}-{k:05d}" for segment in segments for k in range(240)]
    # scaled by training clips alone: the files' mean of 3 goes, and test clips keep what is their own
    responses = arrays["responses"]
    np.testing.assert_allclose(responses[:TRAIN].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(responses[:TRAIN].std(axis=0), 1, atol=1e-5)
    assert (np.abs(responses[TRAIN:].std(axis=0) - 1) > 0.05).any()
    for rows, features in ((slice(0, TRAIN), shown["train"]), (slice(TRAIN, None), shown["test"])):
        signal = features @ weights
        own = np.array([np.corrcoef(signal[:, v], responses[rows, v])[0, 1] for v in range(VOXELS)])
        late = np.corrcoef(np.roll(signal, 1, axis=0)[:, 0], responses[rows, 0])[0, 1]
        assert own.mean() > 0.6 and abs(late) < 0.1  # whole clips, neither shifted nor in another order
    # ten repeats apart: halves of five each, and a ceiling
    np.testing.assert_allclose(
        (arrays["half_1"] + arrays["half_2"])[TRAIN:] / 2, responses[TRAIN:], atol=1e-5
    )
    assert np.isnan(arrays["half_1"][:TRAIN]).all()
    of_test = quality[quality["split"] == "test"]
    assert len(of_test) == 5 * REPEATS and (of_test["reliability_selected"] > 0.3).all()

    for segment, first in (("seg18", 17 * 240), ("test5", 4 * 240)):
        frames, rows = cut(arguments, tmp_path, segment, THREE_A_SECOND)
        expected = grey_of(first + np.arange(240))  # file index 0 is the first clip
        assert frames.shape == (240, 6, 32, 32, 3)
        assert np.array_equal(
            frames[..., 0], np.broadcast_to(expected[:, None, None, None], frames.shape[:4])
        )
        assert (frames[..., 1] == 7).all()
        assert set(rows["split"]) == {"test" if segment == "test5" else "train"}
    shard = ["--shard", str(TRAIN), "--n-clips", str(TEST)]
    read_captions.main([*arguments, *shard, "--captions", str(tmp_path / "captions.tsv")])
    captions = read_table(tmp_path / "captions.tsv", ("clip", "caption"))
    assert captions["clip"].iloc[[0, -1]].tolist() == ["test1-00000", "test5-00239"]
    assert captions["caption"].iloc[[0, -1]].tolist() == ["test clip 0", "test clip 1199"]


def test_a_mirror_of_another_shape_is_reported(tmp_path, neuroclips):
    """Repeats averaged already, clips missing, code in place of arrays: one line each, and nothing is written."""
    options = {"preset": "neuroclips"}
    config = DatasetConfig(name="arrays", data_root=str(tmp_path), subjects=("1",), options=options)
    arguments = ["--dataset", config.model_dump_json()]
    for name, body in neuroclips[0].items():
        (tmp_path / name).write_bytes(body)
    test = tmp_path / "subj01_test_fmri.pt"
    for content, text in (
        (
            saved(torch.zeros(1200, 5)),
            r"Expected axes 'clip repeat voxel' in .*test_fmri\.pt, got shape \(1200, 5\)",
        ),
        (saved(torch.zeros(1190, 10, 5)), r"Expected 1200 clips \(the table's\) in .*, got 1190"),
        (saved(http_site), r"Expected arrays in .*test_fmri\.pt, got UnpicklingError"),
        (neuroclips[0][test.name][:-3000], r"Expected arrays in .*test_fmri\.pt"),
    ):
        test.write_bytes(content)
        with pytest.raises(InputError, match=text):
            preprocessed(arguments, tmp_path / "out", "1")
    assert not (tmp_path / "out" / "responses.h5").exists()


def test_mind_animators_test_set_from_osf_to_clips_and_responses(tmp_path):
    """Movies of 2 s numbered from 1, responses as they were scaled; OSF lists folders, in pages, with SHA-256."""
    options = {"preset": "mind_animator"}
    config = DatasetConfig(name="arrays", data_root=str(tmp_path / "data"), subjects=("2",), options=options)
    arguments = ["--dataset", config.model_dump_json()]
    dataset = open_dataset(config)
    rng = np.random.default_rng(5)
    values = rng.standard_normal((TEST, 4500)).astype(np.float32)
    values = (values - values.mean(axis=0)) / values.std(axis=0)  # by the test clips' own, as published
    stream = io.BytesIO()
    np.save(stream, values)
    movies = []
    for k in range(10):  # this number of different ones is enough to verify their order
        write_mp4(
            tmp_path / "movie.mp4", (np.full((32, 32, 3), 20 + 20 * k, np.uint8) for _ in range(60)), 30
        )
        movies.append((tmp_path / "movie.mp4").read_bytes())
    bodies = {}
    for archive in dataset.archives():
        file = archive.file
        if file.endswith(".npy"):
            bodies[file] = stream.getvalue()
        elif "/test4_" in file:
            bodies[file] = movies[int(file.rsplit("_", 1)[1].removesuffix(".mp4")) % 10]
        else:  # four of five movies are here already: fewer to fetch
            (dataset.root / file).parent.mkdir(parents=True, exist_ok=True)
            (dataset.root / file).write_bytes(movies[0])
    assert len(bodies) == 241
    with http_site(files={f"/d/{n}": body for n, body in enumerate(bodies.values())}) as site:
        site.files |= listing(site.url, bodies)
        fetch_listing.main([*arguments, "--listing", f"{site.url}/root", "--at-once", "8"])
    checks = {entry.checked_by for entry in read_manifest(tmp_path / "data").values()}
    assert checks == {"sha256"} and not plan_downloads(open_dataset(config)).files

    frames, rows = cut(arguments, tmp_path, "test4", FOUR_A_SECOND)
    assert rows["file"].iloc[0].endswith("/test4_1.mp4") and (rows["split"] == "test").all()
    grey = 20 + 20 * (np.arange(1, 241) % 10)
    assert frames.shape == (240, 8, 32, 32, 3) and np.abs(frames.mean(axis=(1, 2, 3, 4)) - grey).max() < 3
    with pytest.raises(InputError, match=r"got test clips only: fmri\.scaling released_code"):
        preprocessed(arguments, tmp_path, "2")
    clips, arrays, _ = preprocessed(arguments, tmp_path, "2", scaling="released_code")
    assert clips == [f"test{n}-{k:05d}" for n in range(1, 6) for k in range(240)]
    np.testing.assert_allclose(arrays["responses"], values, atol=1e-5)
    assert np.isnan(arrays["half_1"]).all()  # repeats were averaged: no ceiling can be estimated


def listing(url: str, bodies: dict[str, bytes]) -> dict[str, bytes]:
    """OSF's answers: a root that holds one folder, whose files come in pages of 100."""
    items = [
        {
            "attributes": {
                "kind": "file", "materialized_path": f"/{file}", "size": len(body),
                "extra": {"hashes": {"md5": hashlib.md5(body).hexdigest(), "sha256": hashlib.sha256(body).hexdigest()}},
            },
            "links": {"download": f"{url}/d/{n}"},
        }
        for n, (file, body) in enumerate(bodies.items())
    ]  # fmt: skip
    pages = [items[start : start + 100] for start in range(0, len(items), 100)]
    folder = {
        "attributes": {"kind": "folder", "name": "Testset_of_Preprocessed_datasets"},
        "relationships": {"files": {"links": {"related": {"href": f"{url}/page0"}}}},
    }
    answers = {"/root": {"data": [folder], "links": {"next": None}}}
    for n, page in enumerate(pages):
        following = f"{url}/page{n + 1}" if n + 1 < len(pages) else None
        answers[f"/page{n}"] = {"data": page, "links": {"next": following}}
    return {file: json.dumps(answer).encode() for file, answer in answers.items()}
