"""explain_decoder and draw_maps on files: each decoder's map points at the voxels that drive it."""

import numpy as np
import pandas as pd
import pytest
from moving_blobs import make_blobs

from mind_animator.artefacts.arrays import read_whole, write_arrays
from mind_animator.artefacts.tables import write_table
from mind_animator.config.methods import MethodConfig
from mind_animator.explain.patterns import roi_auc
from mind_animator.methods import open_methods
from workflow_scripts import draw_maps, explain_decoder, train_part

SMALL = {
    "semantic": {"width": 32, "optimisation": {"epochs": 1}},
    "structure": {"width": 32, "optimisation": {"epochs": 1}},
    "motion": {
        "width": 32, "patch": 4, "token_width": 32, "heads": 2, "head_width": 16, "hidden": 32, "fmri_tokens": 2,
        "optimisation": {"epochs": 1},
    },
}  # fmt: skip
ROIS = {"V2": 40, "MT": 40, "FFC": 40}


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explain")
    blobs = make_blobs(movies=5, clips=60)
    rng = np.random.default_rng(1)
    # voxels of three areas: images, direction, category
    causes = {
        "V2": blobs.latents[:, 0].reshape(300, -1),
        "MT": blobs.velocity,
        "FFC": blobs.clip_embedding_text,
    }
    parts = [causes[a] @ rng.normal(size=(causes[a].shape[1], n)) for a, n in ROIS.items()]
    parts = [part / part.std() + rng.normal(size=part.shape) for part in parts]
    responses = np.concatenate(parts, axis=1).astype(np.float32)
    rois = [f"L_{roi}" for roi, count in ROIS.items() for _ in range(count)]
    write_arrays(
        folder / "responses.h5", {"responses": responses}, blobs.clips, None,
        {"voxel_index": np.arange(120) * 200, "roi": rois},
    )  # fmt: skip
    for kind, names in (
        ("text", ("clip_embedding_text", "prompt_embedding")),
        ("image", ("clip_embedding_image", "latents")),
    ):
        arrays = {name: getattr(blobs, name) for name in names}
        write_arrays(folder / f"clips-00000.{kind}.h5", arrays, blobs.clips)
    train = blobs.split == "train"
    table = pd.DataFrame(
        {"clip": blobs.clips, "movie": blobs.movie, "segment": blobs.movie, "split": blobs.split}
    )
    write_table(folder / "train.tsv", table[train])
    method = open_methods({"m": MethodConfig(kind="mind_animator", options=SMALL)})["m"]
    weights = []
    for part in method.parts:
        path = folder / f"{part.name}.safetensors"
        weights.append(f"{part.name}={path}")
        train_part.main([
            "--kind", method.kind, "--part", part.name, "--settings", method.training_settings(part.name),
            "--needs", part.needs.model_dump_json(),
            "--subjects", "1", "--responses", str(folder / "responses.h5"), "--clips", str(folder / "train.tsv"),
            "--features", *map(str, sorted(folder.glob("clips-*.h5"))), "--seed", "3",
            "--weights", str(path), "--record", str(path.with_suffix(".json")),
        ])  # fmt: skip
    explain_decoder.main([
        "--kind", method.kind, "--settings", method.prediction_settings(), "--needs", "{}", "--weights", *weights,
        "--subject", "1",
        "--responses", str(folder / "responses.h5"), "--clips", str(folder / "train.tsv"), "--block", "10",
        "--draws", "20", "--seed", "1", "--maps", str(folder / "maps.h5"),
    ])  # fmt: skip
    return folder / "maps.h5"


@pytest.mark.parametrize(("decoder", "roi"), [("structure", "V2"), ("motion", "MT"), ("semantic", "FFC")])
def test_each_map_points_at_its_own_roi(maps, decoder, roi):
    read = read_whole(maps, [decoder, f"{decoder}_permuted", f"{decoder}_resampled", "roi", "voxel_index"])
    assert read[f"{decoder}_permuted"].shape == read[f"{decoder}_resampled"].shape == (20, 120)
    # here the direction determines the position in the first frame, so MT may carry structure, too
    others = [name for name in ROIS if name != roi and (decoder, name) != ("structure", "MT")]
    assert roi_auc(read[decoder], read["roi"], [roi], others) > 0.9
    assert roi_auc(read[f"{decoder}_resampled"], read["roi"], [roi], others).min() > 0.8


def test_the_figure_is_drawn(maps, tmp_path):
    arguments = ["--maps", str(maps), "--subject", "1", "--method", "m", "--figure", str(tmp_path / "m.png")]
    draw_maps.main([*arguments, "--cortex"])
    assert (tmp_path / "m.png").stat().st_size > 20_000
