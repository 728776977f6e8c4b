"""The frozen models, by hub id or local folder. Their revisions are stored in the lock file."""

from pydantic import ConfigDict, model_validator

from mind_animator.config.base import Strict
from mind_animator.provenance import in_package


class ModelsConfig(Strict):
    """Hub ids (with revisions from the lock file) or paths of local ``save_pretrained`` folders.

    Further keys name models required by methods and networks of metrics
    (`mind_animator.metrics.registry.check_models`).
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, str]

    @model_validator(mode="before")
    @classmethod
    def _shipped(cls, values: object) -> object:
        """Resolve the paths of shipped models, so that they are found from any working folder."""
        if not isinstance(values, dict):
            return values
        return {
            name: in_package(path) if isinstance(path, str) and path.startswith("mind_animator/") else path
            for name, path in values.items()
        }

    blip2: str = "Salesforce/blip2-flan-t5-xxl"
    clip: str = "openai/clip-vit-base-patch32"
    stable_diffusion: str = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    vit: str = "google/vit-base-patch16-224"
    videomae: str = "MCG-NJU/videomae-base-finetuned-kinetics"
    vificlip: str = "k400_seed1_vifi_clip_base2novel.pth"
    lock: str = "models.lock.json"
