"""What every metric is called, measures, and which way is better: the one list that tables and pages read."""

from dataclasses import dataclass
from typing import Literal

Family = Literal[
    "pixel", "motion", "image_classifier", "video_classifier", "vifi", "clip", "retrieval", "target"
]


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes
    ----------
    name : str
        As it stands in tables: says which definition it is.
    label : str
        As the field writes it.
    unit : str
        ``1`` where it has none.
    low, high : float or None
        Range; None where it has no bound.
    higher_is_better : bool
    family : str
        What it is computed from: the model (or none) that it needs.
    published : bool
        Whether this is the definition of the published evaluation code.
    weighted : bool
        Whether the score of a set is the mean of its clips weighted by the ground truth's speed, else a plain mean.
    """

    name: str
    label: str
    unit: str
    low: float | None
    high: float | None
    higher_is_better: bool
    family: Family
    published: bool
    weighted: bool = False

    @property
    def direction(self) -> str:
        """``higher`` or ``lower``: which is better."""
        return "higher" if self.higher_is_better else "lower"


def metric(name: str) -> Metric:
    """The entry of a metric, n-way accuracies of any n and classifier included.

    Raises
    ------
    KeyError
        If there is no such metric.
    """
    if name in _FIXED:
        return _FIXED[name]
    kind, _, rest = name.partition("_")
    count, _, model = rest.partition("way")
    if kind in ("image", "video") and count.isdigit():
        label = f"{count}-way-{kind[0].upper()}" + (f" ({model[1:]})" if model else "")
        return Metric(name, label, "1", 0, 1, True, f"{kind}_classifier", not model)
    if name.startswith("retrieval_"):
        kind, _, rest = name.removeprefix("retrieval_").rpartition("_")
        if rest == "rank":
            return Metric(
                name, f"retrieval rank ({_words(kind)})", "rank", 1, None, False, "retrieval", False
            )
        if rest == "cosine":
            return Metric(name, f"embedding cosine ({_words(kind)})", "1", -1, 1, True, "retrieval", False)
        if rest.startswith("top"):
            return Metric(name, f"top-{rest[3:]} ({_words(kind)})", "1", 0, 1, True, "retrieval", True)
    if name.startswith("target_"):
        kind, _, rest = name.removeprefix("target_").rpartition("_")
        if rest == "corr":
            return Metric(name, f"correlation with the {kind} target", "1", -1, 1, True, "target", False)
        if rest == "r2":
            return Metric(name, f"R2 of the {kind} target", "1", None, 1, True, "target", False)
    raise KeyError(f"Expected a metric of the catalogue, got '{name}'.")


def metric_names(n_ways: tuple[int, ...], families: tuple[Family, ...] | None = None) -> list[str]:
    """Names of all clip metrics in the order of tables, n-way accuracies for each n."""
    nway = [f"{kind}_{n}way" for kind in ("image", "video") for n in n_ways]
    names = [*nway, *_FIXED]
    return names if families is None else [name for name in names if metric(name).family in families]


def _words(kind: str) -> str:
    return kind.replace("_", ", ")


_FIXED = {
    entry.name: entry
    for entry in (
        Metric("vifi_score", "VIFI-score", "1", -1, 1, True, "vifi", True),
        Metric("ssim", "SSIM", "1", -1, 1, True, "pixel", True),
        Metric("psnr", "PSNR", "dB", 0, 100, True, "pixel", True),
        Metric("hue_cos_published", "Hue-pcc (published: a cosine)", "1", 0, 1, True, "pixel", True),
        Metric("hue_circular_corr", "hue, circular correlation", "1", -1, 1, True, "pixel", False),
        Metric("clip_consistency_gated", "CLIP-pcc (gated)", "1", -1, 1, True, "clip", True),
        Metric("clip_consistency_ungated", "CLIP-pcc (ungated)", "1", -1, 1, True, "clip", False),
        Metric(
            "clip_consistency_to_ground_truth",
            "CLIP similarity to the ground truth",
            "1",
            -1,
            1,
            True,
            "clip",
            False,
        ),
        Metric("epe_published", "EPE (published)", "pixel/frame", 0, None, False, "motion", True),
        Metric("epe", "EPE", "pixel/frame", 0, None, False, "motion", False),
        Metric(
            "epe_relative", "EPE / ground truth's speed", "1", 0, None, False, "motion", False, weighted=True
        ),
        Metric("flow_cosine", "cosine of mean flows", "1", -1, 1, True, "motion", False),
    )
}
