"""Helpers, wildcards and validation: no rules live here, and nothing here may import torch."""

import json
import sys
from pathlib import Path

sys.path.insert(0, workflow.basedir)
shell.prefix(f"set -euo pipefail; export PYTHONPATH={workflow.basedir}; ")

from mind_animator.config import load_config
from mind_animator.datasets import open_dataset
from mind_animator.errors import InputError
from mind_animator.methods import open_methods
from mind_animator.models.places import identity
from mind_animator.provenance import ROOT, code_digest, fingerprint

try:
    CONFIG = load_config(config)
    DATASET = open_dataset(CONFIG.dataset)
    METHODS = open_methods(CONFIG.methods)
except InputError as error:
    raise WorkflowError(str(error))

R = CONFIG.results
SUBJECTS = list(DATASET.subjects)
SEGMENTS = [segment.id for segment in DATASET.segments]
TRAIN_SEGMENTS = [s.id for s in DATASET.segments if s.split == "train"]
TEST_SEGMENTS = [s.id for s in DATASET.segments if s.split == "test"]
CLIPS = [clip for segment in DATASET.segments for clip in segment.clips]
TEST_CLIPS = [
    clip for s in DATASET.segments if s.split == "test" for clip in s.clips
]
# What a script needs to open the same data set.
DATASET_JSON = CONFIG.dataset.model_dump_json()


wildcard_constraints:
    subject=r"[A-Za-z0-9]+",
    segment=r"[A-Za-z0-9_]+",
    shard=r"\d{5}",
    method=r"[A-Za-z0-9_]+",
    decoder=r"[a-z]+",


def shards(clips, size):
    """Names of shards: the index of each one's first clip."""
    return [f"{start:05d}" for start in range(0, len(clips), size)]


def shard_clips(clips, size, shard):
    """Clips of one shard."""
    return clips[int(shard) : int(shard) + size]


def shard_segments(clips, size, shard):
    """Segments that a shard's clips come from, in order."""
    segments = [clip.rsplit("-", 1)[0] for clip in shard_clips(clips, size, shard)]
    return list(dict.fromkeys(segments))


def json_of(settings):
    """A section of the config as the JSON that a script validates again."""
    return settings.model_dump_json()


def local_model(name):
    """Weight files of a model that is a local folder: inputs, so that a rebuilt model reruns its users."""
    place = Path(getattr(CONFIG.models, name))
    return sorted(str(p) for p in place.rglob("*.safetensors")) if place.is_dir() else []


def gpu_count(wildcards):
    """One GPU per accelerated job, none when the config asks for the CPU."""
    return 1 if CONFIG.device == "cuda" else 0


# The data set's own module, which scripts import by its name at run time.
ADAPTER_FILES = [
    str(Path(sys.modules[type(DATASET).__module__].__file__).relative_to(ROOT))
]


def clip_digest(wildcards):
    """What segmentation tracks of a data set: the segment's clips, and nothing of subjects or responses."""
    try:
        return fingerprint(clips=DATASET.clip_table(wildcards.segment).to_csv())
    except InputError:
        return "unknown until the data are there"


def pinned_model(name):
    """What a rule tracks of a model: its revision in the lock file, or that it is a local folder."""
    return identity(getattr(CONFIG.models, name), CONFIG.models.lock)
