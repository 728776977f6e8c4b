"""The metric reference of the documentation, written from the docstrings and attributes of the metrics.

    python -m mind_animator.metrics.reference [--page docs/metrics.md] [--metrics all FILE.py ...] [--check]

The text between the marks ``<!-- metric table -->`` or ``<!-- metric reference -->`` and ``<!-- end -->`` is replaced.
"""

import argparse
import inspect
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from mind_animator.artefacts.files import atomic
from mind_animator.errors import InputError, run_command
from mind_animator.metrics.base import GROUPS, Metric
from mind_animator.metrics.registry import find_metric, open_metrics

# Metrics of decoded features that stand for their families on the page.
DECODED = (
    "retrieval_image_top10",
    "retrieval_image_rank",
    "retrieval_image_cosine",
    "target_semantic_corr",
    "target_semantic_r2",
)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--page", type=Path, default=Path("docs/metrics.md"), help="page (default: docs/metrics.md)"
    )
    parser.add_argument("--metrics", nargs="+", default=["all"], help="as scoring.metrics (default: all)")
    parser.add_argument(
        "--check", action="store_true", help="exit with 1 where the page differs (default: write it)"
    )
    given = parser.parse_args(arguments)
    if not given.page.is_file():
        raise InputError(f"--page {given.page}: expected a Markdown page, found none.")
    text = given.page.read_text()
    new = fill(text, documented(open_metrics(given.metrics)))
    if given.check:
        print(f"{given.page}: {'up to date' if new == text else 'differs'}", file=sys.stderr)
        return int(new != text)
    with atomic(given.page) as temporary:
        temporary.write_text(new)
    return 0


def documented(metrics: Sequence[Metric]) -> list[Metric]:
    """Metrics with a row on the page: one per metric, n-way accuracies of two numbers, and those of decoded
    features."""
    return [*metrics, *(find_metric(name) for name in DECODED)]


def fill(page: str, metrics: Sequence[Metric]) -> str:
    """The page with its generated parts replaced; raises an `InputError` if a mark is missing."""
    for mark, text in (("table", metric_table(metrics)), ("reference", metric_reference(metrics))):
        marked = re.compile(rf"(<!-- metric {mark} -->\n).*?(<!-- end -->)", re.DOTALL)
        page, count = marked.subn(lambda match, text=text: f"{match[1]}{text}\n{match[2]}", page)
        if count != 1:
            raise InputError(f"Expected one mark '<!-- metric {mark} -->' on the page, got {count}.")
    return page


def metric_table(metrics: Sequence[Metric]) -> str:
    """One row per metric: what it is, range, direction, inputs, and whether it is the published definition."""
    lines = [
        "| name | definition | range | better | needs | definition of | by default |",
        "|---|---|---|---|---|---|---|",
    ]
    for metric in metrics:
        networks = ", ".join(f"`{network.model_id or network.name}`" for network in metric.networks)
        lines.append(
            f"| `{metric.name}` ({metric.label}) | {_summary(metric)} | {value_range(metric)} | {metric.direction} "
            f"| {networks or 'no network'} | {'the literature' if metric.published else 'this project'} "
            f"| {'yes' if metric.standard else 'no' if metric.variants((2,)) else 'of predicted features'} |"
        )
    return "\n".join(lines)


def metric_reference(metrics: Sequence[Metric]) -> str:
    """The docstring of each metric below its name, by group."""
    kinds = {type(metric): metric for metric in reversed(metrics)}
    groups = list(dict.fromkeys([*GROUPS, *(metric.group for metric in kinds.values())]))
    lines = []
    for group in groups:
        title, text = GROUPS.get(group, (group, ""))
        own = [metric for metric in reversed(kinds.values()) if metric.group == group]
        if own:
            lines += [f"### {title}", "", *([text, ""] if text else [])]
        for metric in own:
            body = inspect.cleandoc(type(metric).__doc__ or "")
            body = (
                re.sub(r"\nReferences\n-+\n", "\nSource: ", body).replace("::\n", ":\n").replace(":math:", "")
            )
            lines += [f"#### `{_pattern(metric)}`", "", body, ""]
    return "\n".join(lines).rstrip()


def value_range(metric: Metric) -> str:
    """E.g. ``0 to 100 dB`` or ``at least 0 pixel/frame``."""
    unit = "" if metric.unit == "1" else f" {metric.unit}"
    if metric.low is not None and metric.high is not None:
        return f"{metric.low:g} to {metric.high:g}{unit}"
    if metric.low is not None:
        return f"at least {metric.low:g}{unit}"
    return f"at most {metric.high:g}{unit}" if metric.high is not None else f"unbounded{unit}"


def _summary(metric: Metric) -> str:
    paragraph = inspect.cleandoc(type(metric).__doc__ or "").split("\n\n")[0]
    return " ".join(paragraph.split()).rstrip(".")


def _pattern(metric: Metric) -> str:
    """The name, with ``n`` for the number of candidates."""
    return getattr(metric, "form", metric.name).replace("{n}", "n")


if __name__ == "__main__":
    run_command(main)
