"""Helpers, wildcards and validation. This file contains no rules, and nothing in it may import torch."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, workflow.basedir)
# Waiting threads sleep, because busy waiting is many times slower if jobs share cores. No job contacts the model hub.
shell.prefix(
    "set -euo pipefail; export OMP_WAIT_POLICY=PASSIVE HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1"
    f" PYTHONPATH={workflow.basedir}; "
)

from mind_animator.config import load_config
from mind_animator.config.base import in_file
from mind_animator.datasets import open_dataset
from mind_animator.datasets.check import (
    check_before_downloads,
    check_clones,
    check_config,
    check_enough,
    plan_downloads,
    resolved,
)
from mind_animator.device import NO_CUDA
from mind_animator.errors import InputError
from mind_animator.features.base import open_provider
from mind_animator.methods import open_methods
from mind_animator.methods.base import (
    WITHOUT,
    Size,
    check_features,
    check_needs,
    features_of_methods,
    headline_of,
    models_of_methods,
)
from mind_animator.metrics.registry import (
    check_models,
    metric_file,
    networks_of,
    open_metrics,
)
from mind_animator.models.hub import identity, locate
from mind_animator.provenance import (
    code_digest,
    ends_digest,
    file_sha256,
    fingerprint,
    ROOT,
)
from workflow_scripts.stages import flag, options_of

try:
    CONFIG = load_config(config)
    DATASET = open_dataset(CONFIG.dataset)
    check_config(DATASET, CONFIG)
    CONFIG = resolved(CONFIG, DATASET)
    METHODS = open_methods(CONFIG.methods)
    METRICS = open_metrics(CONFIG.scoring.metrics, CONFIG.scoring.n_ways)
    PROVIDERS = {
        kind: open_provider(kind, CONFIG.features)
        for kind in ("text", "image", *features_of_methods(METHODS))
    }
    check_features(METHODS, PROVIDERS)
    check_needs(METHODS, DATASET, CONFIG.models.model_dump())
    check_models(
        CONFIG.models,
        models_of_methods(METHODS).union(*(p.models for p in PROVIDERS.values())),
    )
    STUDY_ARMS = [arm.name for arm in CONFIG.study.arms()] if CONFIG.study else []
    compared = {name: METHODS[name] for name in METHODS if name not in STUDY_ARMS}
    HEADLINE = headline_of(compared or METHODS, CONFIG.report.headline)
except InputError as error:
    raise WorkflowError(
        in_file(error, workflow.config_settings.configfiles or ["config.yaml"])
    )

if all(segment.split == "test" for segment in DATASET.segments):
    for name, method in METHODS.items():
        if method.parts or method.frames_from == "training":
            raise WorkflowError(
                f"Expected methods that need no training on a data set without training clips, got '{name}':"
                " use kind folder and baselines derived from it."
            )
if CONFIG.fmri.voxels.rois and not DATASET.has_rois:
    raise WorkflowError(
        f"Expected a data set whose voxels have named areas (fmri.voxels.rois), got {DATASET.name} with"
        f" options {CONFIG.dataset.options}: choose by count, threshold or mask."
    )

R = CONFIG.results
SUBJECTS = list(DATASET.subjects)
SEGMENTS = [segment.id for segment in DATASET.segments]
TRAIN_SEGMENTS = [s.id for s in DATASET.segments if s.split == "train"]
TEST_SEGMENTS = [s.id for s in DATASET.segments if s.split == "test"]
CLIPS = [clip for segment in DATASET.segments for clip in segment.clips]
TRAIN_CLIPS = [clip for s in DATASET.segments if s.split == "train" for clip in s.clips]
TEST_CLIPS = [clip for s in DATASET.segments if s.split == "test" for clip in s.clips]
if not DATASET.has_stimuli:
    logger.info(
        "The data set has no movies and no frames. Left out: all parts of methods that need frames, reconstruction"
        f" and scores of videos. The report is {R}/report/retrieval.html, its table {R}/scores/retrieval.tsv."
    )
# Settings from which a script opens the same data set.
DATASET_JSON = CONFIG.dataset.model_dump_json()


wildcard_constraints:
    subject=r"[A-Za-z0-9]+",
    segment="|".join(SEGMENTS),
    shard=r"\d{5}",
    method=r"[A-Za-z0-9_]+",
    part=r"[A-Za-z0-9_]+",


def prepare_executor(name):
    """Before the first job: use the files in the folder that is named after the executor (slurm).

    `orphans.py` cancels jobs that an interrupted run left in the queue, so that no job is submitted twice.
    The commands in `bin` are put first on PATH, so that the run queries the state of jobs through them.
    """
    folder = Path(workflow.basedir, name)
    if (folder / "orphans.py").exists():
        ended = subprocess.run([sys.executable, folder / "orphans.py"])
        if ended.returncode:
            raise WorkflowError(
                "The jobs of an interrupted run could not be cancelled; see the message above."
            )
    for front in (folder / "bin").glob("*"):
        if shutil.which(front.name):
            path = [str(front.parent), *os.get_exec_path()]
            os.environ.update(PATH=os.pathsep.join(path))


def shards(clips, size):
    """Names of shards: the index of the first clip of each shard."""
    return [f"{start:05d}" for start in range(0, len(clips), size)]


def shard_clips(clips, size, shard):
    """Clips of one shard."""
    return clips[int(shard) : int(shard) + size]


def shard_segments(clips, size, shard):
    """Segments that contain the clips of a shard, in order."""
    segments = [clip.rsplit("-", 1)[0] for clip in shard_clips(clips, size, shard)]
    return list(dict.fromkeys(segments))


def stage(script, *, without=(), environment="", log="file"):
    """The command of a script: each option of its function is taken from the field of the rule with the same name.

    ``without`` names options for which this rule uses the defaults. The output is written to the log
    (``file``), or also to the terminal (``tee``); with ``last_line`` the last line of the log is printed on
    the terminal if the job fails."""
    path = ROOT / "workflow_scripts" / f"{script}.py"
    options = options_of(path)
    if unknown := set(without) - set(options):
        raise WorkflowError(
            f"Expected options of {path} in without, got {sorted(unknown)}."
        )
    words = [f"OMP_NUM_THREADS={{threads}} {environment}".rstrip()]
    words += ["exec"] * (log == "file") + [f"python -m workflow_scripts.{script}"]
    words += [
        (
            f"{flag(name)} {{threads}}"
            if source == "threads"
            else f"{flag(name)} {{{source}.{name}:q}}"
        )
        for name, source in options.items()
        if name not in without
    ]
    words.append(
        {
            "file": "> {log:q} 2>&1",
            "tee": "2>&1 | tee {log:q}",
            "last_line": "> {log:q} 2>&1 || {{ tail -n 1 {log:q} >&2; exit 2; }}",
        }[log]
    )
    return " ".join(words)


def models_json(*names):
    """Ids or folders of these models and the lock file, as JSON for a script."""
    return CONFIG.models.model_dump_json(include={*names, "lock"})


def json_of(settings):
    """A section of the configuration as JSON, which the script validates again."""
    return settings.model_dump_json()


def local_model(name):
    """Weight files of a model that is a local folder; `pinned_model` tracks them by content, not by time."""
    folder = Path(getattr(CONFIG.models, name))
    try:
        found = locate(folder).files if folder.is_dir() else ()
    except InputError as error:
        raise WorkflowError(f"{error} (models.{name})")
    endings = (".safetensors", ".bin", ".pth")
    return ancient([str(folder / file) for file in found if file.endswith(endings)])


# Networks on a CPU: two jobs of one thread are faster than one job of two.
NETWORK_THREADS = 2 if CONFIG.device == "cuda" else 1


def per_attempt(amount):
    """Megabytes or minutes of a job, a number or a function of the wildcards; each further attempt requests more."""

    def grown(wildcards, attempt):
        return attempt * (amount(wildcards) if callable(amount) else amount)

    return grown


def gpu_count(wildcards):
    """One GPU per job that can use one; none if the configuration selects the CPU."""
    return 1 if CONFIG.device == "cuda" else 0


# The module of the data set, which scripts import by its name at run time.
ADAPTER_FILES = [
    str(Path(sys.modules[type(DATASET).__module__].__file__).relative_to(ROOT))
]


def clip_digest(wildcards):
    """Digest of the clips of a segment, without subjects and responses: the part of a data set that
    segmentation depends on."""
    try:
        return fingerprint(clips=DATASET.clip_table(wildcards.segment).to_csv())
    except InputError:
        return "unknown until the data are there"


def pinned_model(name):
    """Identity of a model that triggers reruns: its revision in the lock file, or a digest of the weights of
    a local folder."""
    model_id_or_path = getattr(CONFIG.models, name)
    if Path(model_id_or_path).is_dir():
        return ends_digest(local_model(name))
    return identity(model_id_or_path, CONFIG.models.lock)


# Rules that read the frames of clips.
NEED_FRAMES = {
    "measure_stimuli",
    "caption_clips",
    "measure_oracle",
    "draw_contact_sheet",
    "invert_latents",
    "reconstruct_clips",
    "decode_latents",
    "derive_baseline",
    "encode_ground_truth",
    "make_report",
}


def stop_without_frames(rule):
    """Input function of rules that no target of a data set without movies and frames can need: it ends a run and a dry
    run with one line. An exception would be printed with its traceback."""

    def stop(wildcards):
        sys.exit(
            f"Rule {rule} requires movies or frames, but data set {DATASET.name} has none, so this target cannot be"
            f" computed. Available targets: {', '.join(everything())}."
        )

    return stop


def check_before_jobs():
    """Before the first job: check data-use terms, credentials, files that must be obtained by hand, the
    number of clips, the models, and the GPU."""
    jobs = list(workflow.dag.needrun_jobs())
    names = {job.rule.name for job in jobs}
    try:
        if names.intersection(["fetch_file", "fetch_archive", "fetch_listing"]):
            check_before_downloads(DATASET, ())
        if "request_files" in names:
            check_before_downloads(DATASET, DOWNLOADS.by_hand)
        if names.intersection(["train_part", "score_method"]):
            check_enough(DATASET, CONFIG.scoring.block, "train_part" in names)
    except InputError as error:
        raise WorkflowError(str(error))
    inputs = {name for job in jobs for name in job.rule.input.keys()}
    used = inputs.intersection(type(CONFIG.models).model_fields)
    used |= {
        model
        for kind in {job.wildcards.get("kind") for job in jobs}
        if kind in PROVIDERS
        for model in PROVIDERS[kind].models
    }
    used |= models_of_methods(
        {
            name: METHODS[name]
            for name in {job.wildcards.get("method") for job in jobs}
            if name in METHODS
        }
    )
    for name in sorted(used):
        try:
            locate(getattr(CONFIG.models, name), CONFIG.models.lock, sums=False)
        except InputError as error:
            raise WorkflowError(f"{error} (models.{name})")
    if workflow.local_exec and any(job.resources.get("gpu") for job in jobs):
        question = "import sys, torch; sys.exit(not torch.cuda.is_available())"
        if subprocess.run([sys.executable, "-c", question]).returncode:
            raise WorkflowError(NO_CUDA)


def methods_by(reconstruction):
    """Wildcard pattern of the methods with this type of reconstruction; matches nothing if there are none."""
    names = [name for name, m in METHODS.items() if m.reconstruction == reconstruction]
    return "|".join(names) or "(?!)"


def first_pass_latents(wildcards):
    """Latents of the first pass of a shard; empty if the decoded latents are inverted."""
    if not CONFIG.reconstruction.two_passes:
        return []
    folder = f"{R}/first_pass/{wildcards.method}/sub-{wildcards.subject}"
    return f"{folder}/clips-{wildcards.shard}.h5"


def inverted_latents(wildcards):
    """Inverted latents of a shard; empty if sampling starts from noised latents."""
    final = CONFIG.reconstruction.final_pass()
    if not final.num_inversion_steps:
        return []
    # The image of a first pass depends on the decoded text, so methods never share its inversion.
    two = CONFIG.reconstruction.two_passes
    owner = wildcards.method if two else METHODS[wildcards.method].inversion_of
    return f"{R}/inversions/{owner}/sub-{wildcards.subject}/clips-{wildcards.shard}.h5"


def shard_frames(size):
    """Input function: frames of the segments that contain the clips of a shard of this size."""
    return lambda wildcards: [
        f"{R}/stimuli/{segment}.h5"
        for segment in shard_segments(CLIPS, size, wildcards.shard)
    ]


def clips_before(size):
    """Number of clips of the first segment of a shard that precede the shard."""
    return lambda wildcards: int(
        shard_clips(CLIPS, size, wildcards.shard)[0].rsplit("-", 1)[1]
    )


def clips_in(size):
    """Number of clips of a shard."""
    return lambda wildcards: len(shard_clips(CLIPS, size, wildcards.shard))


def clips_of_features(wildcards):
    """Frames, or tables of captions, from which a shard of features is computed."""
    if PROVIDERS[wildcards.kind].source == "frames":
        return shard_frames(CONFIG.shards.features)(wildcards)
    size = CONFIG.shards.captions
    first = int(wildcards.shard)
    last = first + len(shard_clips(CLIPS, CONFIG.shards.features, wildcards.shard)) - 1
    starts = range(first // size * size, last + 1, size)
    return [f"{R}/captions/clips-{start:05d}.tsv" for start in starts]


def trained_parts(method):
    """Parts that a method trains on this data set: optional parts only if the features that they need are available."""
    return [
        part
        for part in METHODS[method].parts
        if not part.optional
        or {*part.needs.features} - {*part.needs.optional} <= AVAILABLE
    ]


def part_of(wildcards):
    """The part of a method to which weights belong."""
    try:
        return METHODS[wildcards.method].part(wildcards.part)
    except (KeyError, InputError) as error:
        raise WorkflowError(
            f"Expected a method of the config and one of its parts, got '{wildcards.method}' and"
            f" '{wildcards.part}': {error}"
        )


def threads_of_features(wildcards):
    """Threads of a feature provider: networks on frames use more than one on a GPU node."""
    return NETWORK_THREADS if PROVIDERS[wildcards.kind].source == "frames" else 1


def skipped_clips_of_features(wildcards):
    """Number of clips of the first input of a shard of features that precede the shard."""
    if PROVIDERS[wildcards.kind].source == "frames":
        return clips_before(CONFIG.shards.features)(wildcards)
    return int(wildcards.shard) % CONFIG.shards.captions


def subjects_of_training(wildcards):
    """Subjects whose responses are used to train the weights of a subject wildcard."""
    return part_of(wildcards).subjects(wildcards.subject, SUBJECTS)


def held_out_of_training(wildcards):
    """The held-out subject, if there is one."""
    held_out = part_of(wildcards).trained_on == "all_but_one"
    return wildcards.subject.removeprefix(WITHOUT) if held_out else ""


def responses_of_training(wildcards):
    """Responses that a part is trained on; only the training clips are read."""
    return [
        f"{R}/fmri/sub-{subject}/responses.h5"
        for subject in subjects_of_training(wildcards)
    ]


def needs_of_training(wildcards):
    """Inputs that a part needs, without optional features that the data set does not provide."""
    needs = part_of(wildcards).needs
    provided = {
        array: provider
        for array, provider in needs.features.items()
        if array in AVAILABLE or array not in needs.optional
    }
    return needs.model_copy(update={"features": provided})


def repeats_of_training(wildcards):
    """Single repeats of the subjects that a part is trained on, if it needs them."""
    return [
        f"{R}/fmri/sub-{subject}/repeats.h5"
        for subject in subjects_of_training(wildcards)
        if needs_of_training(wildcards).repeats
    ]


def frames_of_training(wildcards):
    """Frames of the training segments, if a part needs them."""
    return [
        f"{R}/stimuli/{segment}.h5"
        for segment in TRAIN_SEGMENTS
        if needs_of_training(wildcards).frames
    ]


def movies_of_training(wildcards):
    """Movie files of the training segments, if a part needs them."""
    files = [
        str(path)
        for segment in TRAIN_SEGMENTS
        if needs_of_training(wildcards).movies
        for path in DATASET.stimulus_files(segment)
    ]
    return list(dict.fromkeys(files))


def unpaired_videos(needs):
    """Files of unpaired videos; none may be a test stimulus."""
    files = [
        path
        for folder in needs.videos
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    ]
    if not files:
        return []
    tests = [
        path
        for segment in TEST_SEGMENTS
        for path in map(Path, DATASET.stimulus_files(segment))
        if path.is_file()
    ]
    sizes = {path.stat().st_size for path in tests}
    close = [path for path in files if path.stat().st_size in sizes]
    digests = {file_sha256(path) for path in tests} if close else set()
    for path in close:
        if file_sha256(path) in digests:
            raise WorkflowError(
                f"Expected unpaired videos without test stimuli, got {path}."
            )
    return [str(path) for path in files]


def networks_of_needs(needs):
    """Weight files of the models that are needed and are local folders."""
    return [weights for name in needs.models for weights in local_model(name)]


def volume_seconds(needs):
    """Seconds between volumes if a window is needed, otherwise 0."""
    return DATASET.tr if any(needs.window) else 0.0


def features_file(kind, shard):
    """Features of one shard: joined with ready features if there are any, otherwise as computed."""
    joined = f"{R}/features" if kind in ("text", "image") else COMPUTED_IN
    return f"{joined}/clips-{shard}.{kind}.h5"


def features_of_training(wildcards):
    """Shards of features that contain the targets of a part for the training clips, which come first."""
    count = sum(s.n_clips for s in DATASET.segments if s.split == "train")
    return [
        features_file(provider, shard)
        for shard in shards(CLIPS[:count], CONFIG.shards.features)
        for provider in sorted(set(needs_of_training(wildcards).features.values()))
        if provider in FEATURE_KINDS
    ]


def weights_before_training(wildcards):
    """Weights of the parts that are trained before a part."""
    method, part = METHODS[wildcards.method], part_of(wildcards)
    earlier = [method.part(name) for name in part.after]
    return [
        weights_file(
            wildcards.method,
            own.name,
            (
                own.group(wildcards.subject)
                if part.trained_on == "subject"
                else wildcards.subject
            ),
        )
        for own in earlier
    ]


def weights_file(method, part, group):
    """Path of the weights of a part."""
    return f"{R}/decoders/{method}/sub-{group}/{part}.safetensors"


def weights_of_prediction(wildcards):
    """Weights that a method uses for prediction: its own or those of another method."""
    return [
        weights_file(owner, name, METHODS[owner].part(name).group(wildcards.subject))
        for name, owner in METHODS[wildcards.method].weights.items()
        if METHODS[owner].part(name) in trained_parts(owner)
    ]


def weights_by_part(wildcards, input):
    """Weights for a script, as ``part=file``."""
    return [f"{Path(path).stem}={path}" for path in input.weights]


# A cluster job also contains two Snakemake processes (250 MB, measured) and its margin.
JOB_OVERHEAD_MB = 500


def training_memory(wildcards):
    """Memory in MB of the largest training of a method; prediction needs no more."""
    size = Size(
        clips=max(len(CLIPS) - len(TEST_CLIPS), len(TEST_CLIPS)),
        latent=CONFIG.stimuli.frames * 4 * (CONFIG.stimuli.size // 8) ** 2,
        voxels=CONFIG.fmri.voxels.count or DATASET.n_voxels,
        subjects=len(SUBJECTS),
    )
    method = METHODS[wildcards.method]
    parts = [wildcards.part] if "part" in wildcards.keys() else method.weights
    return JOB_OVERHEAD_MB + max(
        METHODS[method.weights.get(part, wildcards.method)].training_memory_mb(
            part, size
        )
        for part in parts
    )


SCORED_FRAMES = CONFIG.scoring.frames or CONFIG.stimuli.frames
TEST_TABLES = [f"{R}/stimuli/{segment}.tsv" for segment in TEST_SEGMENTS]
PREDICTING = [name for name, method in METHODS.items() if method.predicts]
# An upper reference that errs only because of response noise; scored next to the methods if test clips have repeats.
ORACLE = "split_half_oracle"
if ORACLE in METHODS:
    raise WorkflowError(
        f"methods.{ORACLE}: the name is taken, scores/{ORACLE} contains the split-half oracle."
    )

# Methods with scores of videos, and with scores of decoded features; the oracle needs the ground-truth videos.
VIDEO_SCORED = [*METHODS, ORACLE] if DATASET.has_stimuli else []
FEATURE_SCORED = [*PREDICTING, ORACLE] if DATASET.has_stimuli else PREDICTING


def frames_derived_from(wildcards):
    """Files from which the frames of a baseline, or of a folder of existing videos, are derived."""
    method = METHODS[wildcards.method]
    if method.frames_from == "training":
        return [f"{R}/stimuli/{segment}.h5" for segment in TRAIN_SEGMENTS]
    if method.frames_from == "folder":
        return method.files(wildcards.subject)
    return reconstructions_of(method.source, wildcards.subject)


def reconstructions_of(method, subject):
    """All shards of the frames of a method."""
    return [
        f"{R}/reconstructions/{method}/sub-{subject}/clips-{shard}.h5"
        for shard in shards(TEST_CLIPS, CONFIG.shards.reconstruction)
    ]


def test_features(kind):
    """Shards of features that contain test clips."""
    wanted, size = set(TEST_CLIPS), CONFIG.shards.features
    if kind not in FEATURE_KINDS:
        return []
    return [
        f"{R}/features/clips-{shard}.{kind}.h5"
        for shard in shards(CLIPS, size)
        if wanted.intersection(shard_clips(CLIPS, size, shard))
    ]


def further_candidates(kind):
    """Features of other data sets, for the large set of retrieval candidates."""
    return [
        str(path)
        for folder in CONFIG.scoring.candidates_from
        for path in sorted(Path(folder).glob(f"clips-*.{kind}.h5"))
    ]


def scoring_settings(settings, method=None):
    """Settings that the scores of one method depend on; frame shuffles of baselines are omitted."""
    names = {"size", "n_ways", "shuffles", "block", "pair_size", "batch", "metrics"}
    if method is not None and method.is_baseline:
        settings = settings.model_copy(update={"shuffles": 0})
    return settings.model_dump_json(include=names)


def test_settings():
    """Settings that tests and summaries depend on."""
    names = {"block", "permutations", "bootstraps", "confidence", "moving_fraction"}
    return CONFIG.scoring.model_dump_json(include={*names, "metrics", "n_ways"})


def scoring_digest(script):
    """Digest of the code of a scoring script: its modules, and the files of the metrics that it opens by name."""
    files = dict.fromkeys(metric_file(metric) for metric in METRICS)
    own = [str(file.relative_to(ROOT)) for file in files if file.is_relative_to(ROOT)]
    others = [file_sha256(file) for file in files if not file.is_relative_to(ROOT)]
    return " ".join([code_digest(f"workflow_scripts/{script}.py", *own), *others])


def network_model(network):
    """Model id or folder of the network of a metric: from the configuration, or the default of the network."""
    return getattr(CONFIG.models, network.model, network.model_id)


# Networks of the selected metrics, by model; those named in the configuration must be present before scoring starts.
SCORING_NETWORKS = {
    network.model: network
    for network in networks_of(METRICS).values()
    if network.model_id
}
SCORING_MODELS = {
    name: local_model(name)
    for name in SCORING_NETWORKS
    if name in type(CONFIG.models).model_fields
}


def models_of_metrics():
    """config.models, extended by the networks of the selected metrics that it does not name."""
    further = set(SCORING_NETWORKS) - set(type(CONFIG.models).model_fields)
    return CONFIG.models.model_copy(
        update={name: network_model(SCORING_NETWORKS[name]) for name in further}
    )


def scoring_revisions():
    """Identities of the networks of metrics that trigger reruns."""
    return [
        (
            pinned_model(name)
            if name in SCORING_MODELS
            else identity(network_model(network), CONFIG.models.lock)
        )
        for name, network in SCORING_NETWORKS.items()
    ]


def swaps():
    """Pairs ``method=control``: methods and their negative controls with permuted responses."""
    return [
        f"{method.permuted_copy_of}={name}"
        for name, method in METHODS.items()
        if method.permuted_copy_of
    ]


def everything():
    """Results of a complete run: the report, or a separate page for data sets without movies and frames."""
    if DATASET.has_stimuli:
        return [f"{R}/report/index.html"]
    return [f"{R}/report/retrieval.html", f"{R}/scores/retrieval.tsv"]


def scores_of(methods, ending):
    """Score files of these methods, all subjects."""
    return expand(
        f"{R}/scores/{{method}}/sub-{{subject}}{ending}",
        method=methods,
        subject=SUBJECTS,
    )


# Short name of the archive that is saved under a path of the data folder.
ARCHIVE_OF = {archive.file: archive.name for archive in DATASET.archives()}


def pattern_of(names):
    """Wildcard pattern of exactly these names; matches nothing if there are none."""
    return "|".join(re.escape(name) for name in names) or "(?!)"


# Methods that are shown with videos: all except the baselines, which are derived from the frames of others.
REPORTED = [name for name, method in METHODS.items() if not method.is_baseline]


def labelled(label, pattern, **wildcards):
    """Pairs ``label=file`` for a script, in the order of `expand`."""
    labels, files = expand(label, **wildcards), expand(pattern, **wildcards)
    return [f"{name}={file}" for name, file in zip(labels, files, strict=True)]


def histories():
    """Records of all trained parts of all methods."""
    return {
        f"{name}/{group}/{part.name}": f"{R}/decoders/{name}/sub-{group}/{part.name}.json"
        for name in METHODS
        for part in trained_parts(name)
        for group in dict.fromkeys(map(part.group, SUBJECTS))
    }


def explained():
    """Methods whose activation patterns the report shows: the headline method, on a cortex with known geometry."""
    method = METHODS[HEADLINE]
    shown = method.explains and method.weights and DATASET.rois_of == "fs_LR_32k"
    return [HEADLINE] if shown else []


def shown_videos():
    """Pairs ``method/subject=shard`` of all videos on the page."""
    return [
        f"{method}/{subject}={shard}"
        for method in REPORTED
        for subject in SUBJECTS
        for shard in reconstructions_of(method, subject)
    ]


def of_brain(pattern, methods=(HEADLINE, CONFIG.report.reference)):
    """Files of the simulated subjects whose responses encode one signal, methods within subjects."""
    numbers = sorted({DATASET.simulated_subject(subject)[0] for subject in SUBJECTS})
    return lambda wildcards: [
        pattern.format(
            method=method, subject=DATASET.subject_with(number, wildcards.signal)
        )
        for number in numbers
        for method in methods
        if method in METHODS
    ]


def stated_bytes(archives):
    """Bytes of the archives still to be fetched, as far as their publishers state them, and the number of
    archives of unstated size."""
    sizes = [archive.size for archive in archives]
    return sum(size or 0 for size in sizes), sizes.count(None)
