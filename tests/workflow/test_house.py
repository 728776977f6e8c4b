"""The house is kept: import contracts, formats, lint, and a dry run of the demo."""

import configparser
import re
import resource
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ["config.yaml", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "config").glob("*.yaml"))]


def run(*command: str) -> subprocess.CompletedProcess:
    program = Path(sys.executable).with_name(command[0])
    return subprocess.run(
        [str(program) if program.exists() else shutil.which(command[0]), *command[1:]],
        cwd=ROOT, capture_output=True, text=True, timeout=600,
    )  # fmt: skip


@pytest.mark.parametrize(
    "command",
    [
        ("lint-imports",),
        ("ruff", "check", "."),
        ("ruff", "format", "--check", "."),
        ("snakefmt", "--check", "Snakefile", "rules"),
    ],
    ids=lambda command: " ".join(command),
)
def test_checks_pass(command: tuple[str, ...]):
    done = run(*command)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.mark.parametrize("config", CONFIGS)
def test_the_workflow_s_linter_has_no_remark(config: str):
    whole = "results:" in (ROOT / config).read_text()  # else it is laid over the demo's
    done = run("snakemake", "--lint", "--configfile", *([] if whole else ["config.yaml"]), config)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "your workflow is in a good condition" in done.stdout + done.stderr


def test_the_dry_run_of_the_demo_reaches_every_stage_in_5_seconds():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = run(
        "snakemake",
        "-n",
        "--cores",
        "2",
        "--nolock",
        "--forceall",
        "--ignore-incomplete",
        "--quiet",
        "rules",
        "--",
        "all",
        "demo_controls",
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr[-3000:]
    # of a processor: the time on an idle machine, regardless of the load of this one
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 5
    for rule in ("make_movie", "simulate_training_runs", "segment_movie", "caption_clips", "preprocess_subject",
                 "encode_features", "train_part", "predict", "invert_latents", "reconstruct_clips", "score_method",
                 "explain_decoder", "make_report", "test_brain"):  # fmt: skip
        assert rule in done.stdout + done.stderr, rule


def test_the_workflow_runs_in_any_folder(tmp_path):
    """A whole dry run, with the shipped table of synonyms, and a job that starts the workflow once more."""
    elsewhere = [
        sys.executable,
        "-m",
        "snakemake",
        "-s",
        str(ROOT / "Snakefile"),
        "--directory",
        str(tmp_path),
    ]
    copies = ["--config", "features={caption_copies: 2}"]
    done = subprocess.run(
        [*elsewhere, "-n", "-q", *copies, "--", "all"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    drawn = "results/demo/report/dag.svg"
    done = subprocess.run(
        [*elsewhere, "--cores", "1", "--", drawn], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "train_part" in (tmp_path / drawn).read_text()


def test_the_drawn_house_is_the_one_that_stands():
    """Contracts, page and image name every room and every rule file, and none that is not there."""
    rules = {path.stem for path in (ROOT / "rules").glob("*.smk")}
    rooms = {path.stem for path in (ROOT / "mind_animator").iterdir() if not path.name.startswith("__")}
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")
    held = re.findall(r"mind_animator\.(\w+)", contracts["importlinter:contract:layers"]["layers"])
    assert set(held) == rooms - {"synthetic", "assets"}
    kept_out = re.findall(r"\.(\w+)", contracts["importlinter:contract:synthetic"]["source_modules"])
    assert set(kept_out) == set(held)
    page = (ROOT / "docs/architecture.md").read_text()
    tree = page[page.index("rules/\n") : page.index("## Import rules")]
    assert set(re.findall(r"(\w+)\.smk ", tree)) == rules
    assert set(re.findall(r"(\w+)(?:/|\.py) ", tree[tree.index("mind_animator/") :])) == rooms
    image = ElementTree.parse(ROOT / "docs/figures/architecture.svg")
    drawn = {element.text for element in image.iter("{http://www.w3.org/2000/svg}text")}
    assert rules | rooms <= drawn
    assert {text for text in drawn if re.fullmatch(r"[a-z]+", text)} == rules | rooms


def test_no_machine_s_paths_are_committed():
    tracked = run("git", "ls-files").stdout.split()
    roots = ("/" + "work/", "/" + "root/", "/" + "home/")
    for name in tracked:
        path = ROOT / name
        if path.suffix in (".py", ".smk", ".yaml", ".md", ".toml", ".json", ".sh") and path.is_file():
            text = path.read_text()
            assert not [root for root in roots if root in text], name
