"""The data set of docs/adapters.md, as it is printed there; what is no adapter."""

import re

import numpy as np
import pytest

from mind_animator import datasets
from mind_animator.config.dataset import DatasetConfig
from mind_animator.config.fmri import FmriConfig, VoxelsConfig
from mind_animator.datasets import available, open_dataset
from mind_animator.datasets.preprocess import preprocess_subject
from mind_animator.errors import InputError
from mind_animator.provenance import ROOT


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """The documented module in a folder of its own, and data in which voxel j has an impulse in volume j."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/adapters.md").read_text(), re.S)
    (tmp_path / "adapters").mkdir()
    (tmp_path / "adapters/lab.py").write_text(code)
    (tmp_path / "adapters/lab_helpers.py").write_text("raise RuntimeError('a helper is not imported')\n")
    monkeypatch.setattr(datasets, "__path__", [*datasets.__path__, str(tmp_path / "adapters")])
    monkeypatch.delitem(__import__("sys").modules, "mind_animator.datasets.lab", raising=False)
    for segment, n_volumes in (("forest", 40), ("beach", 22)):
        series = np.full((n_volumes, 40), 100.0)
        series[np.arange(min(n_volumes, 40)), np.arange(min(n_volumes, 40))] += 50
        np.save(tmp_path / f"sub-01_{segment}.npy", series)
    return tmp_path


def opened(root, **others):
    return open_dataset(DatasetConfig(name="lab", data_root=str(root), subjects=("01",), **others))


def test_the_documented_adapter_reads_its_data(lab):
    assert "lab" in available()
    assert not {"lab_helpers", "tree", "preprocess", "averages", "check", "base"} & set(available())
    settings = FmriConfig(detrend_order=0, lag=4.0, voxels=VoxelsConfig(count=None, all=True))
    made = preprocess_subject(opened(lab), "01", settings)
    assert made.responses.shape == (50, 40)
    # clips of the length of a volume, two volumes later; the last two test clips are after the end of their run
    assert made.responses[:30].argmax(axis=1).tolist() == list(range(2, 32))
    assert np.flatnonzero(~made.present).tolist() == []
    np.save(lab / "sub-01_beach.npy", np.load(lab / "sub-01_beach.npy")[:20])
    made = preprocess_subject(opened(lab), "01", settings)
    assert np.flatnonzero(~made.present).tolist() == [48, 49]
    assert [row["missing_clips"] for row in made.quality] == [0, 2]


def test_faults_of_an_adapters_settings_and_files_are_one_line(lab):
    with pytest.raises(InputError, match=r"dataset\.options\.clip_second: is not a known key"):
        opened(lab, options={"clip_second": 2})
    (lab / "sub-01_forest.npy").unlink()
    with pytest.raises(InputError, match=r"^Expected a run at .*sub-01_forest\.npy, found none"):
        preprocess_subject(opened(lab), "01", FmriConfig())
