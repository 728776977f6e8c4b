"""Every script's options are its function's parameters: described, read as typed, and passed by its rule."""

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest
from tiny_demo import ROOT

from mind_animator.config.base import Strict
from mind_animator.errors import InputError
from workflow_scripts.stages import (
    Device,
    Input,
    Inputs,
    Options,
    Output,
    Param,
    Threads,
    Wildcard,
    command,
    describe,
    options_of,
)

SCRIPTS = sorted(
    path.stem
    for path in (ROOT / "workflow_scripts").glob("*.py")
    if path.stem != "stages" and "from workflow_scripts.stages import" in path.read_text()
)


class Sizes(Strict):
    width: int = 3


def example(
    *,
    frames: Inputs,
    mask: Input | None = None,
    sizes: Param[Sizes],
    subject: Wildcard[str],
    lag: Param[float] = 4.0,
    cortex: Param[bool] = False,
    device: Param[Device] = "cpu",
    videos: Param[dict[str, list[Path]]] = {},  # noqa: B006
    threads: Threads = 1,
    draws: int = 200,
    page: Output,
) -> None:
    """
    Parameters
    ----------
    frames, page
        Files.
    lag : float
        Delay of the response
        in seconds.
    draws
        Number of pairings, 100% of them.

    Returns
    -------
    None
        Not an option.
    """
    RECEIVED.update(locals())


RECEIVED: dict = {}
GIVEN = ["--frames", "a b.h5", "c.h5", "--sizes", '{"width": 5}', "--subject", "01", "--page", "p.html"]


def test_values_have_the_annotated_types():
    command(example)([*GIVEN, "--cortex", "--videos", "a/1=x.h5", "a/1=y.h5", "b/1=z=1.h5", "--lag", "2"])
    assert RECEIVED["frames"] == [Path("a b.h5"), Path("c.h5")] and RECEIVED["sizes"] == Sizes(width=5)
    assert RECEIVED["subject"] == "01" and RECEIVED["lag"] == 2.0 and RECEIVED["cortex"] is True
    assert RECEIVED["videos"] == {"a/1": [Path("x.h5"), Path("y.h5")], "b/1": [Path("z=1.h5")]}
    assert (RECEIVED["mask"], RECEIVED["device"], RECEIVED["draws"]) == (None, "cpu", 200)
    # what the workflow passes for an empty field
    command(example)([*GIVEN, "--mask", "--cortex", "False", "--videos", "--device"])
    assert RECEIVED["mask"] is None and RECEIVED["cortex"] is False and RECEIVED["videos"] == {}
    assert RECEIVED["device"] == "cpu"


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (["--lag", "x"], "--lag = 'x': must be a number."),
        (["--device", "tpu"], "--device = 'tpu': must be 'cpu' or 'cuda'."),
        (["--sizes", '{"width": "x"}'], "--sizes.width = 'x': must be an integer."),
        (["--videos", "a"], "--videos = 'a': must be LABEL=VALUE with its own label, found no '='."),
    ],
)
def test_a_wrong_value_names_its_option(wrong: list[str], text: str):
    with pytest.raises(InputError) as caught:
        command(example)([*GIVEN, *wrong])
    assert str(caught.value) == text


def test_the_help_shows_the_docstring_and_the_defaults(capsys):
    with pytest.raises(SystemExit):
        command(example)(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    for part in ("Delay of the response in seconds (default: 4.0)", "Number of pairings, 100% of them (default: 200)",
                 "--frames PATH [PATH ...] Files (required)", "[--device [{cpu,cuda}]]", "LABEL=PATH"):  # fmt: skip
        assert part in text, part


def test_the_rules_read_a_script_without_importing_it(tmp_path: Path):
    (tmp_path / "example.py").write_text("import nothing_of_this_name\n\n" + inspect.getsource(example))
    sources = options_of(tmp_path / "example.py")
    assert sources == {
        "frames": "input", "mask": "input", "sizes": "params", "subject": "wildcards", "lag": "params",
        "cortex": "params", "device": "params", "videos": "params", "threads": "threads", "page": "output",
    }  # fmt: skip


def test_no_script_builds_a_parser_by_hand():
    """Each script states its options in the signature of its function."""
    folder = ROOT / "workflow_scripts"
    by_hand = [path.stem for path in folder.glob("*.py") if re.search("argparse", path.read_text())]
    assert by_hand == ["stages"]
    others = {path.stem for path in folder.glob("*.py")} - set(SCRIPTS)
    assert others == {"stages"}


def test_options_in_common_are_fields_of_one_class(tmp_path: Path):
    (tmp_path / "invert_latents.py").write_text((ROOT / "workflow_scripts/invert_latents.py").read_text())
    sources = options_of(tmp_path / "invert_latents.py")
    assert sources["predictions"] == "input" and sources["shard"] == "wildcards" and "given" not in sources
    assert sources["tokens"] == sources["device"] == "params" and sources["noise"] == "output"


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_option_is_described(name: str, capsys):
    """A help text of its own for each option and for nothing else, and a default or "required"."""
    module = importlib.import_module(f"workflow_scripts.{name}")
    hints = get_type_hints(function := getattr(module, name))
    groups = [hint for hint in hints.values() if inspect.isclass(hint) and issubclass(hint, Options)]
    documented = []
    for documentation in (*(group.__doc__ for group in groups), function.__doc__):
        section = inspect.cleandoc(documentation).partition("----------\n")[2]
        documented += re.findall(r"^(\w[\w, ]*)(?: :.*)?$", section, re.M)
    parameters = describe(function)
    assert [one for entry in documented for one in entry.split(", ")] == list(parameters)
    with pytest.raises(SystemExit):
        module.main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert text.count("(required)") + text.count("(default: ") >= len(parameters)


def test_rules_and_scripts_agree():
    """The dry run writes out every command of the demo; a field that a rule lacks would stop it."""
    command = [sys.executable, "-m", "snakemake", "-n", "-p", "--cores", "2", "--nolock", "--forceall", "--", "all",
               "demo_controls", "check_data", "plan"]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    written = set(re.findall(r"python -m workflow_scripts\.(\w+)", done.stdout + done.stderr))
    assert {"make_movie", "caption_clips", "train_part", "test_methods", "make_report"} <= written
