"""Every mistake in a config is one line that names the key."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mind_animator.config import load_config
from mind_animator.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def values() -> dict:
    return yaml.safe_load((ROOT / "config.yaml").read_text())


def test_the_shipped_config_is_valid(values: dict):
    assert load_config(values).dataset.name == "demo"


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("sead", 1, "Expected only known keys, got 'config.sead'"),
        ("seed", "x", "Expected 'config.seed': Input should be a valid integer"),
        ("device", "tpu", "Expected 'config.device': Input should be 'cpu' or 'cuda', got 'tpu'"),
        (
            "stimuli",
            {"frames": 1},
            "Expected 'config.stimuli.frames': Input should be greater than or equal to 2",
        ),
        (
            "fmri",
            {"voxels": {"count": 3, "areas": ["V1"]}},
            "expected exactly one of count, threshold, areas, mask",
        ),
    ],
)
def test_mistakes_name_the_key(values: dict, key: str, value: object, text: str):
    values[key] = value
    with pytest.raises(InputError) as caught:
        load_config(values)
    assert text in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_section_is_named(values: dict):
    del values["dataset"]
    with pytest.raises(InputError, match=r"Expected a value for 'config\.dataset', found none"):
        load_config(values)


def test_nothing_that_the_snakefile_imports_imports_torch():
    code = (
        "import sys\n"
        "import mind_animator.config, mind_animator.datasets, mind_animator.methods, mind_animator.provenance\n"
        "from mind_animator.datasets.base import available\n"
        "import importlib\n"
        "for name in available(): importlib.import_module(f'mind_animator.datasets.{name}')\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'nilearn', 'sklearn'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
