"""Computation of all numbers of docs/metrics.md and docs/benchmark.md, which are written into these pages.

    python -m benchmarks.published_numbers --data FOLDER [--docs docs] [--only NAME ...] [--check]

``FOLDER`` is the test data (MIND_ANIMATOR_TEST_DATA): ``reconstructions/mind_animator`` and
``reconstructions/neuroclips``. Each table of a page is enclosed by two markers; ``--check`` compares the tables instead
of writing them and exits with status 1 if one differs. The run takes about six minutes on one processor.
"""

import argparse
import contextlib
import re
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from itertools import permutations
from pathlib import Path

import cv2
import numpy as np
import torch
from skimage.metrics import structural_similarity

from mind_animator.artefacts.clipfolder import find_clips, read_clip
from mind_animator.artefacts.files import atomic
from mind_animator.artefacts.tables import read_table
from mind_animator.cli import _main as score_command
from mind_animator.config.clipfolder import PRESETS
from mind_animator.errors import InputError, run_command
from mind_animator.metrics import flow as motion
from mind_animator.metrics.efficientnet_nway import efficientnet_logits, load_efficientnet_lite0
from mind_animator.metrics.hue_circular_corr import hue_pattern
from mind_animator.metrics.hue_cos_published import N_FRAMES
from mind_animator.metrics.nway import nway_accuracy, top_classes
from mind_animator.metrics.registry import find_metric
from mind_animator.report.leaderboard import read_published
from mind_animator.statistics.calibration import Null, calibrate
from mind_animator.statistics.permutation import (
    expected_false_alarms,
    frame_orders,
    frame_shuffle_test,
)
from mind_animator.video.conform import conform

PIXELS = {name: find_metric(name) for name in ("ssim", "psnr", "hue_cos_published", "hue_circular_corr")}
DIGITS = {"psnr": 2, "epe": 2, "epe_published": 2, "epe_relative": 2}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="folder of the pages")
    parser.add_argument("--only", nargs="*", choices=sorted(TABLES), help="these tables; all by default")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    pages = {path: path.read_text() for path in sorted(options.docs.glob("*.md"))}
    changed = []
    for name in options.only or TABLES:
        marked = re.compile(rf"(<!-- numbers {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        marked_pages = [path for path, text in pages.items() for _ in marked.findall(text)]
        if len(marked_pages) != 1:
            raise InputError(
                f"Expected one place marked '<!-- numbers {name} -->' in {options.docs}/*.md, got {len(marked_pages)}."
            )
        print(f"{name} ...", file=sys.stderr, flush=True)
        table = TABLES[name](options.data)
        print(table, flush=True)
        text = pages[marked_pages[0]]
        pages[marked_pages[0]] = marked.sub(lambda match, table=table: f"{match[1]}{table}\n{match[2]}", text)
        if pages[marked_pages[0]] != text:
            changed.append(name)
            if not options.check:
                with atomic(marked_pages[0]) as temporary:
                    temporary.write_text(pages[marked_pages[0]])
    if options.check:
        print(f"differing: {', '.join(changed) or 'none'}", file=sys.stderr)
        return int(bool(changed))
    return 0


@cache
def read_set(data: Path, name: str, size: int) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Names, ground truths and predictions (clip, frame, size, size, 3) of a published set.

    8 frames for ``mind_animator``; 6, the ground truth's number, for ``neuroclips``.
    """
    folder = data / "reconstructions" / name
    sides, names = [], ()
    count = {"mind_animator": 8, "neuroclips": 6}[name]
    for layout in PRESETS[name]:
        files = find_clips(folder, layout)
        names = tuple(sorted(files))
        videos = [read_clip(files[key], layout) for key in names]
        sides.append(np.stack([conform(v.frames, size=size, count=count, times=v.times) for v in videos]))
    return names, *sides


@cache
def reference_values(data: Path) -> dict[str, list[float]]:
    """Values of each clip at its own size: six metrics, and the ground truth's mean speed."""
    names, ground_truths, predictions = read_set(data, "mind_animator", 512)
    rows = {}
    for name, ground_truth, prediction in zip(names, ground_truths, predictions, strict=True):
        flow = motion.flows(ground_truth), motion.flows(prediction)
        values = (
            *(metric(ground_truth, prediction) for metric in PIXELS.values()),
            find_metric("epe_published")(ground_truth, prediction),
            motion.end_point_errors(*flow).mean(),
            motion.speeds(flow[0]).mean(),
        )
        rows[f"{name}.gif"] = [float(value) for value in values]
    rows["mean"] = list(np.mean(list(rows.values()), axis=0))
    return rows


def reference(data: Path) -> str:
    """Values of the published definitions, clip by clip."""
    lines = [
        "| file | `ssim` | `psnr` | `hue_cos_published` | `hue_circular_corr` | `epe_published` | `epe` |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, (s, p, h, c, e, r, *_) in reference_values(data).items():
        lines.append(f"| {name} | {s:.5f} | {p:.4f} | {h:.5f} | {c:.4f} | {e:.4f} | {r:.4f} |")
    return "\n".join(lines)


def baselines(name: str) -> Callable[[Path], str]:
    """Table of the scores of a set and its baselines."""

    def table(data: Path) -> str:
        _, ground_truths, predictions = read_set(data, name, 256)
        sides = {
            "reconstruction": score(ground_truths, predictions),
            "flat_mean": score(ground_truths, flat_mean(ground_truths)),
            "frozen": score(ground_truths, np.repeat(predictions[:, :1], predictions.shape[1], axis=1)),
            "mismatched": mismatched(ground_truths, predictions),
            "shuffled_frames": shuffled(ground_truths, predictions),
        }
        lines = [
            f"| metric | better | reconstruction | {' | '.join(list(sides)[1:])} |",
            "|---|---|---|" + "---|" * (len(sides) - 1),
        ]
        for metric in sides["reconstruction"]:
            digits = DIGITS.get(metric, 3)
            better = "lower" if metric.startswith("epe") else "higher"
            cells = [f"{side[metric]:.{digits}f}" for side in sides.values()]
            lines.append(f"| `{metric}` | {better} | {' | '.join(cells)} |")
        return "\n".join(lines)

    return table


def flat_mean(ground_truths: np.ndarray) -> np.ndarray:
    """Clips of the mean colour of these ground truths (a training set has not been published with the images)."""
    colour = ground_truths.mean(axis=(0, 1, 2, 3)).round().astype(np.uint8)
    return np.broadcast_to(colour, ground_truths.shape)


def score(ground_truths: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    """Mean over clips of every metric that needs no model hub."""
    rows = []
    for ground_truth, prediction in zip(ground_truths, predictions, strict=True):
        flows = {
            grey: (true_flow(ground_truth, grey), motion.flows(prediction, grey=grey))
            for grey in ("rgb", "published")
        }
        rows.append(
            [
                *(metric(ground_truth, prediction) for metric in PIXELS.values()),
                motion.end_point_errors(*flows["published"]).mean(),
                motion.end_point_errors(*flows["rgb"]).mean(),
                motion.speeds(flows["rgb"][0]).mean(),
                flow_cosine(*map(motion.mean_flow, flows["rgb"])),
            ]
        )
    names = (*PIXELS, "epe_published", "epe", "speed", "cosine")
    values = dict(zip(names, np.mean(rows, axis=0), strict=True))
    values["epe_relative"] = float(values["epe"] / values.pop("speed"))
    values["flow_cosine"] = values.pop("cosine")
    for n_way in (2, 50):
        value = nway(logits(ground_truths), logits(predictions), n_way).mean()
        values[f"image_{n_way}way_efficientnet_lite0"] = value
    return values


def flow_cosine(ground_truth: np.ndarray, prediction: np.ndarray) -> float:
    """`flow_cosine` of two mean flows."""
    return find_metric("flow_cosine").compare({"mean_flow": ground_truth}, {"mean_flow": prediction})


def nway(ground_truth: np.ndarray, prediction: np.ndarray, n_way: int) -> np.ndarray:
    """N-way accuracy of logits (..., class), (...)."""
    return nway_accuracy(prediction, top_classes(ground_truth), n_way=n_way)


_flows: dict[tuple[bytes, str], np.ndarray] = {}
_logits: dict[bytes, np.ndarray] = {}


def true_flow(clip: np.ndarray, grey: motion.Grey) -> np.ndarray:
    """Flow of a clip, computed once for all baselines."""
    key = (sha256(clip.tobytes()).digest(), grey)
    if key not in _flows:
        _flows[key] = motion.flows(clip, grey=grey)
    return _flows[key]


def logits(frames: np.ndarray) -> np.ndarray:
    """Logits of every frame, each distinct frame once."""
    flat = frames.reshape(-1, *frames.shape[-3:])
    keys = [sha256(frame.tobytes()).digest() for frame in flat]
    fresh = {key: row for row, key in enumerate(keys) if key not in _logits}
    if fresh:
        _logits.update(zip(fresh, efficientnet_logits(network(), flat[list(fresh.values())]), strict=True))
    return np.stack([_logits[key] for key in keys]).reshape(*frames.shape[:-3], -1)


@cache
def network() -> torch.nn.Module:
    return load_efficientnet_lite0()


def mismatched(ground_truths: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    """Mean over all pairs of a ground truth with another clip's prediction."""
    n = len(ground_truths)
    pairs = [(t, p) for t in range(n) for p in range(n) if t != p]
    values: dict[str, float] = {}
    for name, metric in SINGLE.items():
        values[name] = float(np.mean([metric(ground_truths[t], predictions[p]).mean() for t, p in pairs]))
    patterns = [
        np.stack([hue_patterns(clip).ravel() for clip in side]) for side in (ground_truths, predictions)
    ]
    correlation = patterns[0] @ patterns[1].T / ground_truths.shape[1]
    values["hue_circular_corr"] = float(np.mean([correlation[pair] for pair in pairs]))
    for name, grey in {"epe_published": "published", "epe": "rgb"}.items():
        predicted = [true_flow(prediction, grey) for prediction in predictions]
        errors = [
            motion.end_point_errors(true_flow(ground_truths[t], grey), predicted[p]).mean() for t, p in pairs
        ]
        values[name] = float(np.mean(errors))
    speeds = [motion.speeds(true_flow(ground_truth, "rgb")).mean() for ground_truth in ground_truths]
    values["epe_relative"] = float(values["epe"] / np.mean(speeds))
    means = [
        np.array([motion.mean_flow(true_flow(clip, "rgb")) for clip in side])
        for side in (ground_truths, predictions)
    ]
    values["flow_cosine"] = float(np.mean([flow_cosine(means[0][t], means[1][p]) for t, p in pairs]))
    true, predicted = logits(ground_truths), logits(predictions)
    for n_way in (2, 50):
        turned = [nway(true, np.roll(predicted, k, axis=0), n_way).mean() for k in range(1, n)]
        values[f"image_{n_way}way_efficientnet_lite0"] = float(np.mean(turned))
    return values


def hue_patterns(clip: np.ndarray) -> np.ndarray:
    """Hue pattern of each frame, (frame, height * width * 2)."""
    return np.stack([hue_pattern(frame) for frame in clip])


def shuffled(ground_truths: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    """Expectation over all orders of the predicted frames but the true one (f! - 1 of them)."""
    frames = ground_truths.shape[1]
    every = np.array(list(permutations(range(frames))))[1:]
    total = len(every) + 1.0
    values: dict[str, list[float]] = {}
    for ground_truth, prediction in zip(ground_truths, predictions, strict=True):
        steps = prediction[:, None]  # clips of one frame
        tables = {
            name: np.stack([[metric(frame[None], step) for step in steps] for frame in ground_truth])
            for name, metric in SINGLE.items()
        }
        tables["hue_cos_published"] = tables["hue_cos_published"][:N_FRAMES]
        tables["hue_circular_corr"] = hue_patterns(ground_truth) @ hue_patterns(prediction).T
        for n_way in (2, 50):
            true, predicted = logits(ground_truth), logits(steps)
            tables[f"image_{n_way}way_efficientnet_lite0"] = np.stack(
                [nway(np.broadcast_to(row, predicted.shape), predicted, n_way).ravel() for row in true]
            )
        for name, table in tables.items():  # ground truth's frame t against predicted frame p
            own = np.trace(table) / len(table)
            values.setdefault(name, []).append((table.mean() * total - own) / (total - 1))
        for name, grey in {"epe_published": "published", "epe": "rgb"}.items():
            table = motion.shuffle_table(true_flow(ground_truth, grey), prediction, grey=grey)
            values.setdefault(name, []).append(motion.shuffled_errors(table, every).mean())
        values.setdefault("speed", []).append(motion.speeds(true_flow(ground_truth, "rgb")).mean())
        flows = np.array(
            [[motion.mean_flow(motion.flows(np.stack([i, j]))) for j in prediction] for i in prediction]
        )
        under = flows[every[:, :-1], every[:, 1:]].mean(axis=1)
        values.setdefault("flow_cosine", []).append(
            np.mean([flow_cosine(motion.mean_flow(true_flow(ground_truth, "rgb")), flow) for flow in under])
        )
    means = {name: float(np.mean(value)) for name, value in values.items()}
    return means | {"epe_relative": float(means["epe"] / means["speed"])}


SINGLE = {name: PIXELS[name] for name in ("ssim", "psnr", "hue_cos_published")}


def scores(name: str) -> Callable[[Path], str]:
    """Scores of `mind-animator score` for a set at its original size: reconstruction with interval, and baselines."""

    def table(data: Path) -> str:
        folder = str(data / "reconstructions" / name)
        with tempfile.TemporaryDirectory() as out:
            with contextlib.redirect_stdout(sys.stderr):
                score_command(
                    ["score", "--ground-truth", folder, "--pred", f"{name}={folder}", "--preset", name, "--dataset",
                    name,
                     "--no-models", "--metrics", "standard", "efficientnet_nway", "--videos", "0", "--out", out]
                )  # fmt: skip
            summary = read_table(
                Path(out) / "summary.tsv", ("method", "metric", "mean", "low", "high", "status")
            )
        summary = summary[summary["n_clips"] > 0]
        methods = list(dict.fromkeys(summary["method"]))
        titles = ["reconstruction", *(method.removeprefix(f"{name}_") for method in methods[1:])]
        lines = [
            f"| metric | better | {' | '.join(titles)} |",
            "|---|---|" + "---|" * len(titles),
        ]
        for metric, rows in summary.groupby("metric", sort=False):
            rows, digits = rows.set_index("method"), DIGITS.get(metric, 3)
            means = [f"{rows.loc[method, 'mean']:.{digits}f}" for method in methods]
            own = rows.loc[name]
            means[0] += f" ({own['low']:.{digits}f} to {own['high']:.{digits}f})"
            lines.append(f"| `{metric}` | {own['direction']} | {' | '.join(means)} |")
        return "\n".join(lines)

    return table


def pitfalls(data: Path) -> str:
    """Scores of the same files by alternative definitions."""
    _, ground_truths, predictions = read_set(data, "mind_animator", 512)
    first = list(zip(ground_truths[:, 0], predictions[:, 0], strict=True))
    rows = [
        (
            "SSIM, 7 x 7 window, RGB (the published one), first frames",
            np.mean([PIXELS["ssim"](t[None], p[None]) for t, p in first]),
        )
    ]
    variants: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
        "SSIM, Gaussian window (sigma 1.5)": lambda t, p: structural_similarity(
            t, p, channel_axis=-1, data_range=255, gaussian_weights=True, use_sample_covariance=False
        ),
        "SSIM, grey": lambda t, p: structural_similarity(
            cv2.cvtColor(t, cv2.COLOR_RGB2GRAY), cv2.cvtColor(p, cv2.COLOR_RGB2GRAY), data_range=255
        ),
        "SSIM, `data_range=1` on bytes": lambda t, p: structural_similarity(
            t, p, channel_axis=-1, data_range=1
        ),
        "SSIM, halves of the grid cut a pixel apart": lambda t, p: PIXELS["ssim"](
            np.ascontiguousarray(t[None, :, 1:]), np.ascontiguousarray(p[None, :, :-1])
        ),
    }  # fmt: skip
    rows += [(name, np.mean([metric(t, p) for t, p in first])) for name, metric in variants.items()]
    noise = np.random.default_rng(0).integers(0, 256, size=(2, 6, 256, 256, 3), dtype=np.uint8)
    grey = np.repeat(ground_truths[..., :1], 3, axis=-1)
    rows += [
        ("`hue_cos_published` of two clips of independent noise", PIXELS["hue_cos_published"](*noise)),
        ("`hue_circular_corr` of the same", PIXELS["hue_circular_corr"](*noise)),
        (
            "`hue_cos_published` of the ground truths against clips of one grey-green hue (60 of 180)",
            np.mean([PIXELS["hue_cos_published"](t, one_hue(t.shape)) for t in ground_truths]),
        ),
        ("`hue_circular_corr` of the ground truths against their own grey versions", np.mean([
            PIXELS["hue_circular_corr"](t, g) for t, g in zip(ground_truths, grey, strict=True)])),
    ]  # fmt: skip
    chance = torch.randn(2, 20_000, 1000, generator=torch.Generator().manual_seed(0)).numpy()
    rows.append(("2-way accuracy of random scores with three targets", nway(*chance, 2).mean()))
    one = nway_accuracy(chance[1], top_classes(chance[0], 1), n_way=2).mean()
    rows.append(("2-way accuracy of random scores with one target", one))
    lines = ["| what | value |", "|---|---|"]
    return "\n".join(lines + [f"| {name} | {value:.3f} |" for name, value in rows])


def one_hue(shape: tuple[int, ...]) -> np.ndarray:
    """Clips of one colour whose OpenCV hue (with red and blue swapped) is 60."""
    return np.broadcast_to(np.array([60, 90, 60], np.uint8), shape)


def epe_sizes(data: Path) -> str:
    """End-point error of the same clips at other sizes and rates."""
    lines = [
        "| size, frames | `epe` | of a frozen clip | `epe_relative` (one clip moves it by) "
        "| plain mean of ratios (the same) |",
        "|---|---|---|---|---|",
    ]
    rows = [values[-2:] for name, values in reference_values(data).items() if name != "mean"]
    lines.append(f"| 512 px, 8 | {_relative_errors(*np.transpose(rows))} |")
    _, ground_truths, predictions = read_set(data, "mind_animator", 256)
    for size, step in ((256, 1), (128, 1), (64, 1), (256, 2)):
        rows = []
        for ground_truth, prediction in zip(ground_truths, predictions, strict=True):
            clips = [
                conform(clip[::step], size=size, count=len(clip[::step]))
                for clip in (ground_truth, prediction)
            ]
            flows = [motion.flows(clip) for clip in clips]
            rows.append([motion.end_point_errors(*flows).mean(), motion.speeds(flows[0]).mean()])
        lines.append(
            f"| {size} px, {ground_truths.shape[1] // step} | {_relative_errors(*np.transpose(rows))} |"
        )
    return "\n".join(lines)


def _relative_errors(errors: np.ndarray, speeds: np.ndarray) -> str:
    """Cells: mean error, its ratio to the speed and the mean of ratios, with the largest change caused by one clip."""

    def ratio(kept: np.ndarray) -> float:
        return float(errors[kept].mean() / speeds[kept].mean())

    def plain(kept: np.ndarray) -> float:
        return float((errors[kept] / speeds[kept]).mean())

    cells = [f"{errors.mean():.2f}", f"{speeds.mean():.2f}"]
    for estimator in (ratio, plain):
        own = estimator(np.arange(len(errors)))
        others = [estimator(np.delete(np.arange(len(errors)), clip)) for clip in range(len(errors))]
        cells.append(f"{own:.2f} ({np.abs(np.array(others) - own).max():.2f})")
    return " | ".join(cells)


def shuffles(data: Path) -> str:
    """The frame-shuffle test on simulated clips that do not contain the motion of the ground truth."""
    generator = np.random.default_rng(0)
    n_clips, frames, size = 24, 8, 64
    kinds = {
        "the ground truth itself": "ground_truth", "a random direction": "random", "one global drift": "drift",
        "a growing blur": "blur", "independent noise in every frame": "noise", "a frozen clip": "frozen",
    }  # fmt: skip
    own = {kind: [] for kind in kinds}
    under = {kind: [] for kind in kinds}
    for _ in range(n_clips):
        angle = generator.uniform(0, 2 * np.pi)
        ground_truth = drifting(generator, 2 * np.array([np.cos(angle), np.sin(angle)]), frames, size)
        flow = motion.flows(ground_truth)
        orders = np.concatenate([np.arange(frames)[None], frame_orders(frames, 100, generator)])
        other = generator.uniform(0, 2 * np.pi)
        predictions = {
            "the ground truth itself": ground_truth,
            "a random direction": drifting(
                generator, 2 * np.array([np.cos(other), np.sin(other)]), frames, size
            ),
            "one global drift": drifting(generator, np.array([2.0, 0.0]), frames, size),
            "a growing blur": np.stack(
                [cv2.GaussianBlur(ground_truth[0], (0, 0), 0.5 + 0.6 * t) for t in range(frames)]
            ),
            "independent noise in every frame": np.stack(
                [drifting(generator, np.zeros(2), 1, size)[0] for _ in range(frames)]
            ),
            "a frozen clip": np.repeat(ground_truth[:1], frames, axis=0),
        }
        for kind, prediction in predictions.items():
            scores = motion.shuffled_errors(motion.shuffle_table(flow, prediction), orders)
            own[kind].append(scores[0])
            under[kind].append(scores[1:])
    lines = ["| prediction | P, ours | P per clip, mean | P, published form |", "|---|---|---|---|"]
    for kind in kinds:
        test = frame_shuffle_test(np.array(own[kind]), np.array(under[kind]).T, higher_is_better=False)
        lines.append(f"| {kind} | {test.p:.3f} | {test.p_clips:.3f} | {test.p_published:.3f} |")
    return "\n".join(lines)


def drifting(generator: np.random.Generator, step: np.ndarray, frames: int, size: int) -> np.ndarray:
    """A random smooth texture that moves by ``step`` (x, y) pixels per frame."""
    side = size + 48
    field = cv2.GaussianBlur(generator.standard_normal((side, side, 3)), (0, 0), 3)
    field = (255 * (field - field.min()) / np.ptp(field)).astype(np.uint8)
    clip = []
    for t in range(frames):
        shift = np.array([[1, 0, t * step[0] - 24], [0, 1, t * step[1] - 24]])
        clip.append(cv2.warpAffine(field, shift, (size, size), flags=cv2.INTER_CUBIC))
    return np.stack(clip)


def calibration(data: Path) -> str:
    """Rejection rates at .05 on simulated nulls."""
    del data
    lines = [
        "| test | neighbours' correlation | rejected of 1,000 | rate (95 % interval) |",
        "|---|---|---|---|",
    ]
    found = calibrate(Null(autocorrelation=0.3), n_nulls=1000, n_permutations=499, seed=1)
    for row in found.rejections(0.05):
        interval = f"{row['rate']:.3f} ({row['low']:.3f} to {row['high']:.3f})"
        lines.append(f"| `{row['test']}` | 0.3 | {row['rejections']} | {interval} |")
    return "\n".join(lines)


def false_alarms(data: Path) -> str:
    """Expected outcomes of many tests of true null hypotheses."""
    del data
    lines = ["| independent true nulls at .05 | expected rejections | probability of none |", "|---|---|---|"]
    for n_tests in (1, 8, 24, 48):
        expected, none = expected_false_alarms(n_tests, 0.05)
        lines.append(f"| {n_tests} | {expected:.1f} | {none:.2f} |")
    return "\n".join(lines)


def literature(dataset: str, *, retrieval: bool = False) -> Callable[[Path], str]:
    """Values published in papers for a data set, with the chance level of each metric."""

    def table(data: Path) -> str:
        del data
        rows = read_published()
        rows = rows[(rows["dataset"] == dataset) & (rows["metric"].str.startswith("retrieval") == retrieval)]
        metrics = rows.drop_duplicates("metric").set_index("metric")
        cells = rows["value"] + rows["second_hand"].map({"yes": r"\*", "no": ""})
        cells = cells.where(~(rows["value"].astype(float) <= rows["chance"]), "**" + cells + "**")
        chance = [f"{level:.3f}".lstrip("0") if level == level else "-" for level in metrics["chance"]]
        lines = [
            f"| method | {' | '.join(metrics.index)} | source |",
            "|---|" + "---|" * (len(metrics) + 1),
            f"| *chance* | {' | '.join(chance)} | computed |",
        ]
        for (method, year), own in rows.groupby(["method", "year"], sort=False):
            values = cells[own.index].set_axis(own["metric"]).reindex(metrics.index, fill_value="-")
            lines.append(f"| {method}, {year} | {' | '.join(values)} | {'; '.join(own['source'].unique())} |")
        return "\n".join(lines)

    return table


TABLES: dict[str, Callable[[Path], str]] = {
    "literature_cc2017": literature("CC2017"),
    "literature_retrieval": literature("CC2017", retrieval=True),
    "literature_hcp": literature("HCP"),
    "literature_algonauts": literature("Algonauts 2021"),
    "false_alarms": false_alarms,
    "shuffles": shuffles,
    "reference": reference,
    "baselines_mind_animator": baselines("mind_animator"),
    "baselines_neuroclips": baselines("neuroclips"),
    "scores_neuroclips": scores("neuroclips"),
    "scores_mind_animator": scores("mind_animator"),
    "pitfalls": pitfalls,
    "epe_sizes": epe_sizes,
    "calibration": calibration,
}

if __name__ == "__main__":
    run_command(main)
