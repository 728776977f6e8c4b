"""Shards of captions, inversions and frames that are killed or find the disk full: their batches are kept."""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import yaml
from login_node import SMALL, LoginNode, Run, wait_until
from slow_training import CONFIG, python_of, states

from mind_animator.artefacts.arrays import read_arrays
from mind_animator.artefacts.files import read_json
from mind_animator.artefacts.tables import read_table

OWNER = "mind_animator/sub-1"
# rule -> folder, ending, clips of a shard in this test
RULES = {
    "caption_clips": ("captions", "tsv", 240),
    "invert_latents": (f"inversions/{OWNER}", "h5", 60),
}


def finished(rule: str, product: Path) -> int:
    """Batches in the state of a shard."""
    state = Path(f"{product}.state")
    if rule == "caption_clips":
        return len(read_json(state)["rows"]) // 16 if state.is_file() else 0
    return len(list(state.glob("batch-*.h5")))


def clips_kept(login: LoginNode, rule: str, shard: str) -> int:
    """Where the last attempt began, as its log says."""
    (log,) = (login.path / "results/small/logs" / rule).rglob(f"*{shard}.log")
    return int(re.search(r"\| (\d+)/\d+ \[[^]]*clip/s\]", log.read_text())[1])


@pytest.mark.parametrize("rule", RULES)
def test_a_killed_shard_goes_on_and_a_finished_one_is_left_alone(login, undisturbed, figures, rule):
    """Two shards side by side; the second is held after some batches and killed once the first is there."""
    part, ending, size = RULES[rule]
    folder = login.path / "results/small" / part
    shutil.move(folder, login.path / "apart")
    whole = login.path / f"apart/clips-00000.{ending}"
    config = yaml.safe_load((login.path / SMALL).read_text())
    config["shards"] |= {"captions": 240, "reconstruction": 60}
    (login.path / CONFIG).write_text(yaml.safe_dump(config))
    first, second = (folder / f"clips-{start:05d}.{ending}" for start in (0, size))
    targets = [str(path.relative_to(login.path)) for path in (first, second)]
    run = login.start(*targets, "--allowed-rules", rule, config=CONFIG)

    job = wait_until(
        lambda: next((j for j in run.jobs(rule) if f"{size:05d}" in j["wildcards"]), None), "its job"
    )
    process = wait_until(lambda: python_of(job["JobID"], rule), "its process")
    wait_until(lambda: finished(rule, second), "a batch", every=0.005)
    os.kill(process, signal.SIGSTOP)
    wait_until(first.exists, "the other shard")
    stored = finished(rule, second)  # read after the process has stopped
    assert not second.exists()
    login.cluster.call("scancel", "-s", "KILL", job["JobID"])
    run.wait()

    ends = [(job["wildcards"][-5:], job["State"].split()[0]) for job in run.jobs()]
    again = f"{size:05d}"
    assert sorted(ends) == [("00000", "COMPLETED"), (again, "CANCELLED"), (again, "COMPLETED")]
    batch = 16 if rule == "caption_clips" else 8
    kept = clips_kept(login, rule, f"{size:05d}")
    assert -(-kept // batch) == stored
    left = sorted(path.name for path in folder.iterdir())
    assert left == [first.name, second.name]  # no state, no lock, no part
    if rule == "caption_clips":
        parts = [read_table(path, ("clip",)) for path in (first, second)]
        rows = read_table(whole, ("clip",))
        for number, part in enumerate(parts):
            assert part.to_csv() == rows[number * size : (number + 1) * size].reset_index(drop=True).to_csv()
    else:
        for path in (first, second):
            clips, arrays = read_arrays([path], ["noise"])
            alone = read_arrays([whole], ["noise"], clips)[1]
            assert arrays["noise"].tobytes() == alone["noise"].tobytes()
    figures(f"{rule} killed", **{"attempts": 2, "clips kept": kept})


def test_a_full_scratch_leaves_no_half_of_a_product(login, undisturbed, figures):
    """Frames of a shard go to a disk of 4 MB that is full before the end; once there is room, all is made."""
    rule, folder = "reconstruct_clips", login.path / f"results/small/reconstructions/{OWNER}"
    whole = (folder / "clips-00000.h5").read_bytes()
    shutil.rmtree(folder)
    folder.mkdir()
    mount(folder, "4m")
    try:
        run = login.start(f"{folder.relative_to(login.path)}/clips-00000.h5", "--retries", "1")
        wait_until(lambda: "FAILED" in states(run, rule) or run.process.poll() is not None, "a failure")
        assert "Expected room on the disk" in log_of(run, rule)
        assert [path.name for path in folder.iterdir() if path.suffix in (".h5", ".mp4")] == []
        stored = finished(rule, folder / "clips-00000.h5")
        assert stored > 0
        subprocess.run(["mount", "-o", "remount,size=256m", str(folder)], check=True)
        run.wait()
        assert (folder / "clips-00000.h5").read_bytes() == whole
        assert sorted(path.name for path in folder.iterdir()) == ["clips-00000.h5", "clips-00000.mp4"]
        kept = clips_kept(login, rule, "00000")
        assert kept == 8 * stored
    finally:
        login.stop()
        subprocess.run(["umount", "-l", str(folder)], check=True)
    figures("full scratch", **{"attempts": 2, "clips kept": kept})


def mount(folder: Path, size: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)


def log_of(run: Run, rule: str) -> str:
    """The log of a failed job, as printed by snakemake (show-failed-logs) or as stored."""
    logs = (run.node.path / "results/small/logs" / rule).rglob("*.log")
    return run.text + "".join(path.read_text() for path in logs)
