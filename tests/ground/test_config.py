"""Every mistake in a config is one line that names the key."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import Field, ValidationError

from mind_animator.config import load_config
from mind_animator.config.base import Strict, explain, in_file
from mind_animator.config.stimuli import StimuliConfig
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
        ("sead", 1, "config.sead: is not a known key."),
        ("seed", "x", "config.seed = 'x': must be an integer."),
        ("device", "tpu", "config.device = 'tpu': must be 'cpu' or 'cuda'."),
        (
            "stimuli",
            {"frames": 1},
            "config.stimuli.frames = 1: must be at least 2.",
        ),
        (
            "fmri",
            {"voxels": {"count": 3, "rois": ["V1"]}},
            "must contain exactly one of count, threshold, rois, mask",
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
    with pytest.raises(InputError, match=r"config\.dataset: is required, found none"):
        load_config(values)


@pytest.mark.parametrize("name", ["cc2017", "hcp", "algonauts2021", "bids", "arrays"])
def test_the_config_of_a_data_set_holds_what_differs(name: str):
    """Few lines, and no value that is the default already."""
    text = (ROOT / "config" / f"{name}.yaml").read_text()
    assert len(text.splitlines()) <= 36
    values = yaml.safe_load(text)
    config = load_config(values)
    for section, own in values.items():
        default = type(config).model_fields[section].default
        if isinstance(default, Strict):
            chosen = getattr(config, section)
            assert not [key for key in own if getattr(chosen, key) == getattr(default, key)], section


class Settings(Strict):
    count: int = Field(3, ge=2, le=9, multiple_of=1)
    ratio: float = Field(0.5, gt=0, lt=1, allow_inf_nan=False)
    on: bool = False
    name: str = Field("abc", min_length=2, max_length=4, pattern="[a-z]+")
    sizes: tuple[int, ...] = Field((1,), min_length=1, max_length=2)
    of: dict[str, int] = Field(default_factory=dict)
    inner: StimuliConfig = StimuliConfig()
    files: tuple[Path, ...] = ()


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"count": 10}, "config.count = 10: must be at most 9."),
        ({"count": 1}, "config.count = 1: must be at least 2."),
        ({"count": 2.5}, "config.count = 2.5: must be an integer."),
        ({"count": None}, "config.count = null: must be an integer."),
        ({"count": True, "ratio": 2, "on": 3}, "config.count = true: must be at least 2; 2 more."),
        ({"ratio": 0}, "config.ratio = 0: must be greater than 0."),
        ({"ratio": 1.5}, "config.ratio = 1.5: must be less than 1."),
        ({"ratio": "half"}, "config.ratio = 'half': must be a number."),
        ({"ratio": float("nan")}, "config.ratio = nan: must be a finite number."),
        ({"on": "maybe"}, "config.on = 'maybe': must be true or false."),
        ({"name": 1}, "config.name = 1: must be text."),
        ({"name": "a"}, "config.name = 'a': must have at least 2 characters."),
        ({"name": "abcde"}, "config.name = 'abcde': must have at most 4 characters."),
        ({"name": "12"}, "config.name = '12': must match the pattern [a-z]+."),
        ({"sizes": 3}, "config.sizes = 3: must be a list."),
        ({"sizes": []}, "config.sizes = []: must have at least 1 values, has 0."),
        ({"sizes": [1, "x"]}, "config.sizes.1 = 'x': must be an integer."),
        ({"of": [1]}, "config.of = [1]: must be a mapping of keys to values."),
        ({"inner": 3}, "config.inner = 3: must be a mapping of keys to values."),
        ({"files": [7]}, "config.files.0 = 7: must be a path."),
        ({"inner": {"sise": 3}}, "config.inner.sise: is not a known key."),
        ({"depth": 600}, "config.depth: is not a known key: it is now called 'strength'."),
    ],
)
def test_every_kind_of_fault_is_in_plain_words(values: dict, text: str):
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(values)
    assert explain(caught.value) == text


def test_a_fault_between_two_keys_names_one_of_them(values: dict):
    for reconstruction, text in (
        ({"strength": 0.02}, "strength = 0.02: must be 0, or large enough for num_inference_steps and "),
        (
            {"first_pass": {"strength": 1}},
            "first_pass.strength = 1: must be below 1 with num_inversion_steps > 0",
        ),
    ):
        with pytest.raises(InputError) as caught:
            load_config(values | {"reconstruction": reconstruction})
        assert str(caught.value).startswith(f"config.reconstruction.{text}") and len(str(caught.value)) > 130
    with pytest.raises(InputError, match=r"^config\.report\.headline = 'x': must be one of the methods "):
        load_config(values | {"report": {"headline": "x"}})


def test_the_file_is_named_where_it_is_known():
    fault = InputError("config.seed = -1: must be at least 0.")
    assert in_file(fault, ["my.yaml"]) == "config.seed = -1: must be at least 0 (my.yaml)."
    assert in_file(InputError("Expected 2 files."), ["my.yaml"]) == "Expected 2 files."


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
