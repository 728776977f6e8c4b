"""Variance of the change within a clip that products of content and velocity explain: a table of docs/rivals.md.

snakemake --cores 2 -- features results/demo/fmri/sub-1/responses.h5
python benchmarks/bilinear.py --results results/demo --subject 1
"""

import argparse
from pathlib import Path

import torch

from mind_animator.artefacts.arrays import read_arrays
from mind_animator.decoders.flow import moving_flow
from mind_animator.decoders.ridge import (
    decompose,
    decompose_features,
    principal_components,
    ridge_out_of_fold,
    search_penalties,
)
from mind_animator.methods._read import read_clips, read_subject
from mind_animator.methods.base import Needs
from mind_animator.methods.bilinear import Options, products
from mind_animator.scoring.decoded import change_of, target_scores


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--results", type=Path, default=Path("results/demo"), help="results of a run (default: %(default)s)"
    )
    parser.add_argument("--subject", default="1", help="subject (default: %(default)s)")
    given = parser.parse_args()
    tables = [path for path in sorted((given.results / "stimuli").glob("*.tsv")) if path.stem != "splits"]
    table = read_clips(tables, "train")
    clips, movies = table["clip"].tolist(), table["movie"].tolist()
    responses, _ = read_subject(given.results / f"fmri/sub-{given.subject}/responses.h5", table, Needs())
    shards = sorted((given.results / "features").glob("*.image.h5"))
    latents = torch.from_numpy(read_arrays(shards, ["latents"], clips)[1]["latents"])
    options, voxels = Options(), torch.from_numpy(responses.values)
    mean, change = latents.mean(1).flatten(1), torch.from_numpy(change_of(latents.numpy())).flatten(1)
    velocity = moving_flow(latents, 1).flatten(1)
    content = principal_components(mean, options.n_products).project(mean)
    first = ridge_out_of_fold(voxels, torch.cat([content, velocity], 1), movies, options.alphas).out_of_fold
    decoded = {"content": first[:, :-2], "velocity": first[:, -2:]}

    def report(kernel, content: str, velocity: str) -> None:
        *_, found = search_penalties(kernel, change, movies, options.alphas)
        corr, r2 = target_scores(change.numpy(), (change - found.residual).numpy(), subtract_mean=False)
        error = corr.std() / len(corr) ** 0.5
        print(f"{content:10} {velocity:10} {corr.mean():.4f} ({error:.4f}) {r2.mean():.4f}", flush=True)

    print("content    velocity   correlation (s.e.) fraction of variance")
    for one in ("decoded", "true"):
        for other in ("decoded", "true"):
            a = decoded["content"] if one == "decoded" else content
            b = decoded["velocity"] if other == "decoded" else velocity
            scale = torch.stack([a.std(0).max(), b.std(0).max()])
            report(decompose_features(products(a, b, scale)), one, other)
    report(decompose(voxels), "voxels", "-")


if __name__ == "__main__":
    main()
