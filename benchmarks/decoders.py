"""Duration of a training step of each decoder, and its fraction of the limit of this machine (roofline).

The limit of a step is (operations forward and backward) / (speed of a large matrix product) + (28 bytes per parameter) /
(speed of a large copy), all measured in the same run. Usage::

    python -m benchmarks.decoders --size demo
    python -m benchmarks.decoders --size full --preset released_code --device cuda --precision bfloat16
"""

import argparse
import json

import numpy as np
import torch
from mind_animator.decoders.limits import machine_limits

from mind_animator.config.decoders import CONFIGS, PRESETS, decoder_settings, needed_targets
from mind_animator.decoders.train import train_decoder
from mind_animator.provenance import package_versions

SIZES = {
    "demo": {
        "clips": 1920,
        "voxels": 2000,
        "embedding": 64,
        "prompt_embedding": (19, 64),
        "latent": (8, 4, 8, 8),
    },
    "full": {
        "clips": 4320,
        "voxels": 4500,
        "embedding": 512,
        "prompt_embedding": (19, 768),
        "latent": (8, 4, 64, 64),
    },
}


def main() -> None:
    """Train a few epochs on noise and print one JSON row per decoder: median seconds per epoch, fraction of the
    limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="demo")
    parser.add_argument("--preset", choices=PRESETS, default="released_code")
    parser.add_argument("--decoder", choices=CONFIGS, action="append", help="repeatable; default: all")
    parser.add_argument("--overrides", default="{}", help="JSON: settings of the decoders that differ")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--clips", type=int, help="fewer clips than the size has")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    given = parser.parse_args()
    size = SIZES[given.size]
    clips = given.clips or size["clips"]
    generator = np.random.default_rng(0)
    speed, bandwidth = machine_limits(given.device, getattr(torch, given.precision))
    print(json.dumps({
        "device": torch.cuda.get_device_name() if given.device == "cuda" else "cpu",
        "threads": torch.get_num_threads(), "tflop_per_s": speed / 1e12, "gb_per_s": bandwidth / 1e9,
        **package_versions(["torch"]),
    }))  # fmt: skip
    movies = np.repeat([f"movie{m}" for m in range(18)], -(-clips // 18))[:clips]
    responses = generator.standard_normal((clips, size["voxels"]), dtype=np.float32)
    shapes = {
        "clip_embedding_text": (size["embedding"],), "clip_embedding_image": (size["embedding"],), "prompt_embedding": size["prompt_embedding"],
        "latents": size["latent"],
    }  # fmt: skip
    shapes |= {f"{name}_copies": (4, *shapes[name]) for name in ("clip_embedding_text", "prompt_embedding")}
    shapes["clip_embedding_image_crops"] = (4, *shapes["clip_embedding_image"])
    for decoder in given.decoder or CONFIGS:
        plan = {"epochs": given.epochs, "patience": None, "precision": given.precision}
        overrides = json.loads(given.overrides) | {"optimisation": plan}
        settings = decoder_settings(decoder, given.preset, overrides)
        targets = {
            name: generator.standard_normal((clips, *shapes[name]), dtype=np.float32)
            for name in needed_targets(decoder, settings)
        }
        trained = train_decoder(
            decoder, settings, [responses], targets, movies.tolist(), seed=0, device=given.device
        )
        timed = trained.history[2:] or trained.history[1:]  # the first epoch measures the machine
        print(json.dumps({
            "decoder": decoder, "preset": given.preset, "size": given.size, "precision": given.precision,
            "clips": trained.clips, "parameters": sum(t.numel() for t in trained.weights.values()),
            "seconds_per_epoch": float(np.median([row["seconds"] for row in timed])),
            "roofline_fraction": float(np.median([row["roofline_fraction"] for row in timed])),
        }))  # fmt: skip


if __name__ == "__main__":
    main()
