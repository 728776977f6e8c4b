"""Building of a shipped small model: training, writing, evaluation, and writing of the model card."""

from dataclasses import replace
from pathlib import Path

from diffusers import AutoencoderKL
from torch import nn
from transformers import CLIPModel, ViTForImageClassification

from mind_animator.errors import InputError
from mind_animator.synthetic import ship_models, train_models
from mind_animator.synthetic.measure_models import measure
from mind_animator.synthetic.train_models import Plan

AS_SHIPPED = {
    "vae": Plan(4200, None, 16, 1.5e-3, bfloat16=True),
    "vit": Plan(1834, None, 64, 1e-3, bfloat16=True),
    "clip": Plan(318, None, 64, 5e-4, bfloat16=True),
    "vificlip": Plan(163, None, 32, 2e-4, bfloat16=True),
    "blip2": Plan(920, None, 48, 8e-4, bfloat16=True),
    "videomae": Plan(1961, None, 24, 8e-4, bfloat16=True),
    "sd": Plan(3000, None, 64, 8e-4),
}
_BEGINS_FROM = {
    "clip": {"vit": ViTForImageClassification},
    "vificlip": {"clip": CLIPModel},
    "blip2": {"vit": ViTForImageClassification},
    "videomae": {"vit": ViTForImageClassification},
    "sd": {"vae": AutoencoderKL, "clip": CLIPModel},
}


def rebuild(
    name: str, folder: Path, beside: Path, steps: int | None, budget_seconds: float | None, seed: int | None
) -> dict[str, float]:
    """Train a model and write its folder and its model card.

    Parameters
    ----------
    name : str
        One of ``AS_SHIPPED``.
    folder : Path
        Output; the checkpoint ``.<name>.state.pt`` is stored next to it until the training is complete.
    beside : Path
        Folder of the models from which the weights are initialised.
    steps, budget_seconds : optional
        Length of the training; that of the shipped model if neither is given. Only ``steps`` is deterministic.
    seed : int, optional

    Returns
    -------
    dict of float
        Performance of the model on new stills or clips.
    """
    if name not in AS_SHIPPED:
        raise ValueError(f"Expected the model to be one of {tuple(AS_SHIPPED)}, got {name!r}")
    plan = AS_SHIPPED[name]
    if steps is not None or budget_seconds is not None:
        plan = replace(plan, steps=steps, budget_seconds=budget_seconds)
    if seed is not None:
        plan = replace(plan, seed=seed)
    parts = {part: _load(part, kind, beside) for part, kind in _BEGINS_FROM.get(name, {}).items()}
    state = folder.with_name(f".{folder.name}.state.pt")
    module, record = getattr(train_models, f"train_{name}")(plan, state, *parts.values())
    ship_models.ship(name, module, folder, parts)
    measured = measure(name, folder, beside, count=min(max(record["steps"], 48), 240))
    ship_models.write_card(name, folder, record, plan.seed, measured)
    for leftover in folder.parent.glob(f"{state.stem}*"):
        leftover.unlink()
    return measured


def _load(name: str, kind: type[nn.Module], beside: Path) -> nn.Module:
    folder = beside / name
    if not (folder / "config.json").exists():
        raise InputError(f"Expected the model '{name}' in {folder}, found none. Build it first.")
    return kind.from_pretrained(folder).eval()
