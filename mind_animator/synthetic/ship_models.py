"""Writing of trained small models: half-precision safetensors, processors, and a model card."""

import copy
import json
import shutil
from pathlib import Path

from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPModel, CLIPTextModel

from mind_animator.artefacts.files import write_json
from mind_animator.provenance import file_sha256
from mind_animator.synthetic import models, scenes

_TITLES = {
    "vae": "AutoencoderKL: 64 x 64 pixels to 4 x 8 x 8 latents and back",
    "vit": f"ViTForImageClassification over {len(models.IMAGE_LABELS)} pairs of noun and scene",
    "clip": f"CLIPModel with {models.EMBEDDING}-dimensional embeddings of images and captions",
    "vificlip": "The image side of a CLIP tuned on clips, under the ViFi-CLIP checkpoint's keys",
    "blip2": f"Blip2ForConditionalGeneration that answers '{models.QUESTION}'",
    "videomae": f"VideoMAEForVideoClassification over {len(models.VIDEO_LABELS)} pairs of noun and direction",
    "sd": "A latent diffusion model in Stable Diffusion's layout, trained on stills only",
}
_BEGUN_FROM = {"clip": "vit", "vificlip": "clip", "blip2": "vit", "videomae": "vit", "sd": "vae, clip"}


def ship(name: str, module: nn.Module, folder: Path, parts: dict[str, nn.Module] | None = None) -> None:
    """Write the folder of a model; an existing folder is replaced only when all files have been written.

    Parameters
    ----------
    name : str
        One of the small models.
    module : nn.Module
        The trained network, float32.
    folder : Path
    parts : dict of nn.Module, optional
        For ``sd``: the trained ``vae`` and ``clip``.
    """
    aside = folder.with_name(f".part-{folder.name}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    if name == "sd":
        _pipeline(module, parts["vae"], parts["clip"]).save_pretrained(aside)
    elif name == "vificlip":
        _write_vificlip(module, aside)
    else:
        _half(module).save_pretrained(aside)
    processors = {
        "vit": models.build_vit_processor,
        "videomae": models.build_videomae_processor,
        "clip": models.build_clip_processor,
        "blip2": models.build_blip2_processor,
    }
    if name in processors:
        processors[name]().save_pretrained(aside)
    for path in aside.rglob("config.json"):
        write_json(path, _load_as_float32(json.loads(path.read_text())))
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)


def _half(module: nn.Module) -> nn.Module:
    """A copy with float16 weights."""
    return copy.deepcopy(module).half().eval()


def _load_as_float32(config: dict) -> dict:
    """The configuration with all stored data types set to float32, so that a loaded model computes in float32."""
    return {
        key: _load_as_float32(value) if isinstance(value, dict) else "float32" if key == "dtype" else value
        for key, value in config.items()
    }


def _pipeline(unet: UNet2DConditionModel, vae: AutoencoderKL, clip: CLIPModel) -> StableDiffusionPipeline:
    text = CLIPTextModel(clip.config.text_config)
    text.load_state_dict(clip.text_model.state_dict())
    return StableDiffusionPipeline(
        vae=_half(vae),
        text_encoder=text.half().eval(),
        tokenizer=models.build_clip_tokenizer(),
        unet=_half(unet),
        scheduler=models.build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _write_vificlip(clip: CLIPModel, folder: Path) -> None:
    weights = {name: value.detach().half().contiguous() for name, value in models.to_vificlip(clip).items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    vision = clip.config.vision_config
    write_json(
        folder / "config.json",
        {
            "image_size": vision.image_size,
            "patch_size": vision.patch_size,
            "width": vision.hidden_size,
            "layers": vision.num_hidden_layers,
            "heads": vision.num_attention_heads,
            "embedding": clip.config.projection_dim,
            "activation": vision.hidden_act,
        },
    )
    models.build_clip_processor().image_processor.save_pretrained(folder)


def write_card(
    name: str, folder: Path, record: dict, seed: int, measured: dict[str, float], note: str = ""
) -> None:
    """Write the model card ``README.md`` into a shipped folder.

    Parameters
    ----------
    name : str
    folder : Path
    record : dict
        ``steps`` and ``seconds`` of the training.
    seed : int
    measured : dict of float
        Result of ``measure_models.measure``.
    note : str
        An additional sentence about the training.
    """
    sums = [f"| `{path.relative_to(folder)}` | {path.stat().st_size} | `{file_sha256(path)}` |"
            for path in sorted(folder.rglob("*.safetensors"))]  # fmt: skip
    begun = (
        f"The weights were initialised from the models `{_BEGUN_FROM[name]}`. " if name in _BEGUN_FROM else ""
    )
    rows = [f"| {key} | {value:.4g} |" for key, value in measured.items()]
    command = f"python -m workflow_scripts.train_demo_model --model {name} --output DIR/{name}"
    lines = [
        f"# {name}",
        "",
        _TITLES[name] + ".",
        "",
        "A small model of the synthetic data set, of the same class as the full-size model. It was trained on",
        f"images of {len(scenes.NOUNS)} nouns and {len(scenes.SCENES)} scenes with 64 x 64 pixels only.",
        "",
        "## Training",
        "",
        f"Images drawn by `mind_animator.synthetic.scenes` with separate seeds (seed {seed}), which no movie",
        "uses; every combination of noun, scene and direction may occur, as in web-scale pre-training.",
        f"{begun}The training took {record['steps']} steps in {record['seconds']} s on the CPU.",
        *([note] if note else []),
        "Rebuild:",
        "",
        "```",
        f"{command} --steps {record['steps']}",
        "```",
        "",
        "## Measured",
        "",
        f"On new stills or clips (`{command} --measure`):",
        "",
        "| measure | value |",
        "|---|---|",
        *rows,
        "",
        "## Weights",
        "",
        "Half-precision safetensors; `from_pretrained` computes in float32.",
        "",
        "| file | bytes | sha256 |",
        "|---|---|---|",
        *sums,
        "",
        "## Licence",
        "",
        "CC BY-SA 4.0. The images were drawn with OpenMoji, the open-source emoji and icon project",
        "(https://openmoji.org), licence CC BY-SA 4.0.",
        "",
    ]
    (folder / "README.md").write_text("\n".join(lines))
