"""The whole DAG once through `--profile slurm`: where SLURM put each job, and that a local run makes the same."""

import json
import re
import threading
import time
from datetime import datetime
from pathlib import Path

import av
import numpy as np
import pytest
import yaml
from login_node import ROOT, SMALL, LoginNode, Run, copy_tracked, locked

from mind_animator.config import load_config
from mind_animator.datasets import open_dataset

CAP = 2
# Made of times and versions; everything else that a rule declares is compared.
NOT_COMPARED = ("/logs/", "/benchmarks/", ".safetensors.logs/", "report/provenance.json", "report/index.html")


def rule_texts() -> dict[str, str]:
    """The text of each rule."""
    text = "\n".join(path.read_text() for path in sorted((ROOT / "rules").glob("*.smk")))
    blocks = re.split(r"^ *rule (\w+):", text, flags=re.MULTILINE)
    return dict(zip(blocks[1::2], blocks[2::2], strict=True))


def gpu_rules() -> set[str]:
    """Rules that request a GPU if the device of the config is cuda."""
    return {name for name, body in rule_texts().items() if "gpu=gpu_count" in body}


def watch_devices(found: dict[str, dict[str, str]], stop: threading.Event) -> None:
    """Collect the environment of every script that SLURM runs, by job."""
    while not stop.wait(0.2):
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if not any(word.startswith(b"workflow_scripts.") for word in words):
                    continue
                pairs = (entry / "environ").read_bytes().decode().split("\0")
            except (OSError, UnicodeDecodeError):
                continue
            variables = dict(pair.partition("=")[::2] for pair in pairs)
            if "SLURM_JOB_ID" in variables:
                found.setdefault(variables["SLURM_JOB_ID"], variables)


@pytest.fixture(scope="module")
def whole(cluster, shared_folder, tmp_path_factory) -> tuple[LoginNode, Run, dict]:
    """A finished run, and the environments that its scripts saw."""
    node = LoginNode(copy_tracked(tmp_path_factory.mktemp("whole")), cluster)
    with_gpus = [
        "--resources",
        f"gpu={CAP}",
        "--set-resources",
        *(f"{rule}:gpu=1" for rule in sorted(gpu_rules())),
    ]
    seen: dict[str, dict[str, str]] = {}
    stop = threading.Event()
    watcher = threading.Thread(target=watch_devices, args=(seen, stop))
    watcher.start()
    started = time.monotonic()
    try:
        with locked(shared_folder / "disturbance", shared=True):
            run = node.start("all", *with_gpus).wait()
    finally:
        stop.set()
        watcher.join()
        node.stop()
    figures = {"whole DAG, jobs": len(run.jobs()), "seconds": round(time.monotonic() - started)}
    (shared_folder / "whole.jsonl").write_text(json.dumps(figures))
    return node, run, seen


# Stands for a request that depends on the method and part (`Method.training_memory_mb`, tests/methods/test_memory.py).
BY_METHOD = -1


def requests() -> dict[str, dict[str, int]]:
    """Resources that the rules request at the first attempt, with the test's GPUs, by rule."""
    config = load_config(yaml.safe_load((ROOT / SMALL).read_text()))
    dataset = open_dataset(config.dataset)
    known = {
        "CONFIG": config, "DATASET": dataset, "NETWORK_THREADS": 1, "threads_of_features": 1,
        "per_attempt": lambda amount: amount(None) if callable(amount) else amount,
        "training_memory": lambda wildcards: BY_METHOD,
    }  # fmt: skip
    asked = {}
    for name, body in rule_texts().items():
        found = {
            key: re.search(rf"^ *{key}(?:=|: )(.+?),?$", body, re.MULTILINE)
            for key in ("threads", "mem_mb", "runtime")
        }
        if found["mem_mb"] and found["runtime"]:
            asked[name] = {
                "cpus": eval(found["threads"][1], known) if found["threads"] else 1,
                "mem_mb": eval(found["mem_mb"][1], known),
                "runtime": eval(found["runtime"][1], known),
                "gpu": int("gpu=gpu_count" in body),
            }
    asked["simulate_test_runs"] = asked["simulate_training_runs"]  # `use rule ... with`
    return asked


def allocated(job: dict[str, str]) -> dict[str, int]:
    """What SLURM set aside."""
    parts = dict(part.split("=") for part in job["AllocTRES"].split(","))
    memory = float(parts["mem"][:-1]) * {"M": 1, "G": 1024}[parts["mem"][-1]]
    return {
        "cpus": int(parts["cpu"]), "mem_mb": round(memory), "runtime": int(job["TimelimitRaw"]),
        "gpu": int(parts.get("gres/gpu", 0)),
    }  # fmt: skip


def test_every_job_finishes_at_the_first_attempt(whole):
    _, run, _ = whole
    assert {job["State"] for job in run.jobs()} == {"COMPLETED"}
    assert f"{len(run.jobs()) + 1} of {len(run.jobs()) + 1} steps (100%) done" in run.text  # and `all` itself


def test_each_rule_gets_what_it_asked_for_where_it_belongs(whole):
    _, run, _ = whole
    asked = requests()
    for job in run.jobs():
        requested, found = dict(asked[job["rule"]]), allocated(job)
        if requested["mem_mb"] == BY_METHOD:
            assert found["mem_mb"] >= 1_000, job
            requested["mem_mb"] = found["mem_mb"]
        assert found == requested, job
        assert job["Partition"] == ("gpu" if asked[job["rule"]]["gpu"] else "cpu"), job
    assert len({job["rule"] for job in run.jobs()}) > 25


def test_gpu_jobs_see_their_gpu_and_no_others(whole):
    _, run, seen = whole
    with_gpu = [job for job in run.jobs() if job["rule"] in gpu_rules()]
    assert len(with_gpu) > 10
    for job in with_gpu:
        assert re.fullmatch(r"\d", seen[job["JobID"]].get("CUDA_VISIBLE_DEVICES", "")), job
    for job in run.jobs():
        if job["rule"] not in gpu_rules() and job["JobID"] in seen:
            assert not re.search(r"\d", seen[job["JobID"]].get("CUDA_VISIBLE_DEVICES", "")), job


def test_jobs_contact_no_model_hub(whole):
    seen = whole[2]
    assert seen and all(variables.get("HF_HUB_OFFLINE") == "1" for variables in seen.values())


def test_the_cap_on_gpus_is_reached_and_never_passed(whole):
    _, run, _ = whole
    events = []
    for job in run.jobs():
        if gpus := allocated(job)["gpu"]:
            start, end = (datetime.fromisoformat(job[key]).timestamp() for key in ("Start", "End"))
            events += [(start, 1, gpus), (end, 0, -gpus)]  # at one second, ends come first
    in_use, most = 0, 0
    for _, _, change in sorted(events):
        in_use += change
        most = max(most, in_use)
    assert most == CAP


def test_declared_results_are_those_of_a_local_run(whole, local_run):
    node = whole[0]
    compared = 0
    for folder in ("results/small", "data/small"):
        ours, theirs = (
            {
                str(path.relative_to(base))
                for path in (base / folder).rglob("*")
                if path.is_file() and not any(part in f"/{path.relative_to(base)}" for part in NOT_COMPARED)
            }
            for base in (node.path, local_run)
        )
        assert ours == theirs
        for name in sorted(ours):
            same(node.path / name, local_run / name)
            compared += 1
    assert compared > 60


def same(path: Path, other: Path) -> None:
    if path.suffix == ".mp4":
        assert np.array_equal(frames(path), frames(other)), path
    elif path.parent.parent.parent.name == "decoders" and path.suffix == ".json":
        assert without_times(path) == without_times(other)
    else:
        assert path.read_bytes() == other.read_bytes(), path


def frames(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def without_times(path: Path) -> dict:
    """A decoder's record but for how long each epoch took."""
    record = json.loads(path.read_text())
    for row in record.get("history") or []:
        row.pop("seconds", None)
        row.pop("roofline_fraction", None)
    return record
