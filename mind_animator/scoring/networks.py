"""The frozen networks that the chosen metrics need; one that cannot be loaded is skipped, with the reason recorded."""

from collections.abc import Sequence

from mind_animator.config.models import ModelsConfig
from mind_animator.errors import InputError
from mind_animator.metrics.base import Metric
from mind_animator.metrics.registry import check_models, networks_of
from mind_animator.scoring.score import Networks


def open_networks(
    metrics: Sequence[Metric],
    models: ModelsConfig,
    *,
    frames: int,
    device: str = "cpu",
    without: str = "",
) -> Networks:
    """Load what the metrics need, float32.

    Parameters
    ----------
    metrics : sequence of Metric
    models : ModelsConfig
    frames : int
        Frames per clip; a network of videos is absent if it is 1.
    device : str
    without : str
        Reason why models are left out (``--no-models``); networks of installed packages are loaded nevertheless.

    Returns
    -------
    Networks
        A model that cannot be loaded (not in the local cache, not in the lock file, a broken folder) is absent with the
        reason; no other model takes its place.
    """
    check_models(models)
    functions, absent = {}, {}
    for name, network in networks_of(metrics).items():
        if without and network.model_id:
            absent[name] = without
            continue
        if frames == 1 and network.model == "videomae":
            absent[name] = "one frame per clip is no video"
            continue
        try:
            functions[name] = network.load(
                getattr(models, network.model, network.model_id), models.lock, device
            )
        except InputError as error:
            absent[name] = str(error)
    return Networks(functions, absent)
