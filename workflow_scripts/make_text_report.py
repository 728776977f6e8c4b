"""One self-contained page for a study without movies and frames: retrieval, tests, data quality, omitted data."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mind_animator.artefacts.arrays import open_arrays, read_attrs
from mind_animator.artefacts.files import atomic
from mind_animator.artefacts.responses import read_responses
from mind_animator.artefacts.tables import read_table
from mind_animator.errors import run_command
from mind_animator.report.page import Cell, Group, Section, Table, Tile, build_page
from workflow_scripts.make_report import shared_sections
from workflow_scripts.stages import Inputs, Param, Report, command

SIMILARITY = {
    "centred": "Centred: the mean embedding of the training clips is subtracted first",
    "published": "As published: cosine of the embeddings as they are",
}


def make_text_report(
    given: Report,
    *,
    features: Inputs,
    clips: Inputs,
    responses: Param[dict[str, Path]],
) -> None:
    """
    Parameters
    ----------
    features
        Feature files (HDF5).
    clips
        Tables of all clips (TSV).
    responses
        Responses by subject (HDF5).
    """
    columns = ("method", "subject", "metric")
    scores = _read(given.summary, *columns, "label", "mean", "low", "high")
    tested = _read(given.tests, *columns, "test", "p", "least_p", "p_holm")
    ranks = _read(given.retrieval, *columns, "embedding", "similarity", "value", "chance")
    table = pd.concat([read_table(path, ("clip", "split")) for path in clips], ignore_index=True)
    with tempfile.TemporaryDirectory() as folder:
        sections = [
            glance(scores, tested, ranks),
            retrieval_section(ranks),
            tests_section(scores, tested),
            targets_section(scores),
            left_out_section(table, features, responses),
            *shared_sections(
                given,
                Path(folder),
                "Correlation of the responses with the first principal components of the embeddings, by lag. The "
                "curves peak at the grey line if the lag is set correctly.",
                "Subject {0}.",
            ),
        ]
        text = build_page(
            given.title,
            "Embeddings of the stimuli decoded from brain activity: this page shows how well the decoded embedding of "
            "each test clip identifies the clip among the others.",
            [section for section in sections if section is not None],
        )
    with atomic(given.page) as temporary:
        temporary.write_text(text)


def _read(path: Path, *columns: str) -> pd.DataFrame:
    return read_table(path, columns).astype({"subject": str})


def _who(subject: str) -> str:
    return "all subjects" if subject == "pooled" else f"subject {subject}"


def _p(value: float) -> str:
    return f"{value:.4f}" if value < 0.1 else f"{value:.2f}"


def glance(scores: pd.DataFrame, tests: pd.DataFrame, ranks: pd.DataFrame) -> Section:
    """Centred retrieval of the first method, over all subjects where there are several."""
    own = ranks["method"].iloc[0]
    kind = ranks["embedding"].iloc[0]
    mine = scores[(scores["method"] == own) & (scores["clips"] == "all")]
    subject = "pooled" if "pooled" in set(mine["subject"]) else mine["subject"].iloc[0]
    mine = mine[mine["subject"] == subject].set_index("metric")
    chance = ranks[(ranks["candidates_set"] == "small") & (ranks["embedding"] == kind)].set_index("metric")[
        "chance"
    ]
    tiles = []
    for measure, chance_name, words in (
        ("2way", "two_way", "two-way identification: preferred to another clip"),
        ("top10", "top_10", "retrieval: the right clip among the ten nearest"),
        ("rank", "median_rank", "mean rank of the right clip"),
    ):
        name = f"retrieval_{kind}_centred_{measure}"
        if name not in mine.index or chance_name not in chance.index:
            continue
        row = mine.loc[name]
        decimals = 1 if measure == "rank" else 3
        tiles.append(
            Tile(
                words,
                f"{row['mean']:.{decimals}f}",
                f"{row['low']:.{decimals}f} to {row['high']:.{decimals}f}",
                f"chance: {np.atleast_1d(chance[chance_name])[0]:.{decimals}f}",
            )
        )
    found = tests[(tests["method"] == own) & (tests["subject"] == subject)].set_index("metric")
    name = f"retrieval_{kind}_centred_cosine"
    verdict = ""
    if name in found.index:
        row = found.loc[name]
        least = _p(row["least_p"])
        verdict = f" Above chance by block permutation: p = {_p(row['p'])} (the least possible is {least})."
    return Section(
        "glance",
        "At a glance",
        f"{own}, {_who(subject)}, {int(mine['n_clips'].max())} test clips; 95 % intervals of a block bootstrap."
        + verdict,
        tiles=tiles,
    )


def retrieval_section(ranks: pd.DataFrame) -> Section:
    """A table per similarity; one row per method and subject."""
    tables = []
    for similarity, title in SIMILARITY.items():
        part = ranks[ranks["similarity"] == similarity]
        if part.empty:
            continue
        names = list(dict.fromkeys(part["metric"]))
        groups = []
        for (kind, pool), own in part.groupby(["embedding", "candidates_set"], sort=False):
            chance = own.drop_duplicates("metric").set_index("metric")["chance"]
            rows: list[Sequence[Cell | str]] = [
                ["chance", *(f"{chance[name]:.3g}" if name in chance else "" for name in names)]
            ]
            for (method, subject), lines in own.groupby(["method", "subject"], sort=False):
                lines = lines.set_index("metric")
                cells = [
                    Cell(
                        f"{lines.at[n, 'value']:.3g}",
                        f"{lines.at[n, 'low']:.3g} to {lines.at[n, 'high']:.3g}",
                    )
                    if n in lines.index
                    else ""
                    for n in names
                ]
                rows.append([f"{method}, {_who(subject)}", *cells])
            size = int(own["n_candidates"].max())
            groups.append(Group(rows, f"By the {kind} embedding, among {size} candidates ({pool} set)"))
        tables.append(Table(["", *(name.replace("_", " ") for name in names)], groups, title))
    return Section(
        "retrieval",
        "Retrieval",
        "The decoded embedding of each test clip is compared with those of all candidates. All embeddings of a model "
        "share a direction, so that without centring one clip can be the nearest of most queries.",
        tables=tables,
    )


def tests_section(scores: pd.DataFrame, tests: pd.DataFrame) -> Section | None:
    """Above-chance tests with the least possible p and Holm's correction for every p."""
    tests = tests[tests["test"] == "above_chance"]
    if tests.empty:
        return None
    labels = scores.drop_duplicates("metric").set_index("metric")["label"]
    pairs = list(dict.fromkeys(zip(tests["method"], tests["subject"], strict=True)))
    by_key = tests.set_index(["metric", "method", "subject"])
    rows = []
    for name in dict.fromkeys(tests["metric"]):
        cells: list[Cell | str] = [str(labels.get(name, name.removeprefix("retrieval_").replace("_", " ")))]
        for method, subject in pairs:
            if (name, method, subject) not in by_key.index:
                cells.append("")
                continue
            row = by_key.loc[(name, method, subject)]
            note = f"p = {_p(row['p'])} (least {_p(row['least_p'])}), Holm {_p(row['p_holm'])}"
            cells.append(Cell(f"{row['statistic']:+.3f}", note, bool(row["p_holm"] <= 0.05)))
        rows.append(cells)
    notes = sorted({note for note in tests["note"].dropna().astype(str) if note})
    return Section(
        "tests",
        "Tests",
        "Mean difference between the similarity to the embedding of the same clip and to those of other clips, and p "
        "of a permutation of whole blocks of neighbouring clips, which resemble each other. The least possible p "
        "follows from the number of blocks. Bold: "
        "p ≤ .05 after Holm's correction over the tests of a column."
        + (" " + "; ".join(notes) + "." if notes else ""),
        tables=[Table(["", *(f"{method}, {_who(subject)}" for method, subject in pairs)], [Group(rows)])],
    )


def targets_section(scores: pd.DataFrame) -> Section | None:
    """Fit of the decoded features to their targets."""
    part = scores[scores["metric"].str.startswith("target_") & (scores["clips"] == "all")]
    if part.empty:
        return None
    pairs = list(dict.fromkeys(zip(part["method"], part["subject"], strict=True)))
    by_key = part.set_index(["metric", "method", "subject"])
    rows = []
    for name in dict.fromkeys(part["metric"]):
        found = [by_key.loc[(name, *pair)] if (name, *pair) in by_key.index else None for pair in pairs]
        label = next(row["label"] for row in found if row is not None)
        cells = [
            Cell(f"{r['mean']:.3f}", f"{r['low']:.3f} to {r['high']:.3f}") if r is not None else ""
            for r in found
        ]
        rows.append([label, *cells])
    return Section(
        "targets",
        "Decoders",
        "Decoded features against their targets. R2 against the training mean is 0 for a decoder that always "
        "predicts the "
        "mean of the training clips.",
        tables=[Table(["", *(f"{method}, {_who(subject)}" for method, subject in pairs)], [Group(rows)])],
    )


def left_out_section(table: pd.DataFrame, features: Sequence[Path], responses: dict[str, Path]) -> Section:
    """Missing features, truncated captions, and clips without a response."""
    arrays: set[str] = set()
    cut: dict[str, int] = {}
    for path in features:
        with open_arrays(path) as file:
            arrays |= set(file)
        for what, count in json.loads(read_attrs(path).get("captions_cut", "{}")).items():
            cut[what] = cut.get(what, 0) + count
    kinds = {
        "text embeddings": "clip_embedding_text",
        "image embeddings": "clip_embedding_image",
        "prompt embeddings": "prompt_embedding",
        "latents": "latents",
    }
    rows = [[name, "yes" if array in arrays else "left out"] for name, array in kinds.items()]
    rows += [
        [f"captions truncated for the {what}", f"{count} of {len(table)}"] for what, count in cut.items()
    ]
    rows.append(["videos", "left out: no movies and no frames, hence no reconstruction"])
    missing = []
    for subject, path in responses.items():
        _, _, present = read_responses(path, table["clip"].tolist())
        absent = table.loc[~present, "split"].value_counts()
        total = table["split"].value_counts()
        missing.append([
            _who(subject),
            *(f"{absent.get(split, 0)} of {total.get(split, 0)}" for split in ("train", "test")),
        ])  # fmt: skip
    return Section(
        "left-out",
        "Omitted data",
        "A clip without a response (no volumes, or not a number) is excluded from voxel selection, scaling, "
        "training and "
        "scores of that subject.",
        tables=[
            Table(["", ""], [Group(rows)], "Features", prose=True),
            Table(
                ["", "training clips without a response", "test clips without a response"],
                [Group(missing)],
                "Clips",
            ),
        ],
    )


main = command(make_text_report)

if __name__ == "__main__":
    run_command(main)
