"""Card of a submission to a leaderboard: authors, code, training data and cost of the predictions."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from mind_animator.config.base import Strict
from mind_animator.config.clipfolder import PRESETS, LayoutConfig

FORMAT = "mind-animator submission 1"
Text = Annotated[str, Field(min_length=1, max_length=500)]


class TrainingConfig(Strict):
    """Data and cost of training.

    Attributes
    ----------
    data : tuple of str
        Data sets of fMRI and stimuli on which any part was trained.
    pretrained : tuple of str
        Ids of pretrained models.
    hardware : str
        For example ``1 x A100 80 GB``.
    gpu_hours : float
        GPU hours of all training, for all submitted subjects together; 0 for none.
    """

    data: tuple[Text, ...] = Field(min_length=1)
    pretrained: tuple[Text, ...] = ()
    hardware: Text
    gpu_hours: float = Field(ge=0, allow_inf_nan=False)


class SeenConfig(Strict):
    """Data to which training, selection and tuning had access. All fields are required.

    Attributes
    ----------
    test_stimuli : bool
        Test videos or their captions, in any form (including a pretrained model that was tuned on them).
    test_responses : bool
        fMRI responses to the test videos, e.g. for voxel selection or normalisation.
    other_subjects : bool
        Responses of subjects other than the one decoded.
    selected_on_test : bool
        Whether a checkpoint, a setting or a sample was chosen by its score on test clips.
    remarks : str
        Further information that is required for a fair comparison.
    """

    test_stimuli: bool
    test_responses: bool
    other_subjects: bool
    selected_on_test: bool
    remarks: str = Field("", max_length=2000)


class SubmissionConfig(Strict):
    """``card.json`` of a submission, or the attribute ``card`` of an HDF5 file.

    Attributes
    ----------
    format : str
        `FORMAT`.
    method : str
        Name of the method in the table.
    dataset : str
        Data set and test set, e.g. ``CC2017``; it must be the same for all submissions of a leaderboard.
    authors, code, licence : str
        Authors; URL of the code, or ``not released``; licence of the predictions.
    paper, contact : str
    training : TrainingConfig
    seen : SeenConfig
    clips : str or mapping of subject to str
        Folder of clips or HDF5 file, relative to the card; one per subject if there are several.
    layout : LayoutConfig or str
        Names and grid of the files, or a preset.
    """

    format: Literal["mind-animator submission 1"]
    method: str = Field(pattern=r"^[^/.\-][^/\x00-\x1f]*$", max_length=60)
    dataset: Text
    authors: Text
    code: Text
    licence: Text
    paper: str = Field("", max_length=500)
    contact: str = Field("", max_length=200)
    training: TrainingConfig
    seen: SeenConfig
    clips: Text | dict[str, Text] = "clips"
    layout: LayoutConfig | str = LayoutConfig()

    @field_validator("layout")
    @classmethod
    def _known_preset(cls, layout: LayoutConfig | str) -> LayoutConfig | str:
        if isinstance(layout, str) and layout not in PRESETS:
            raise ValueError(f"must be a layout or one of {sorted(PRESETS)}")
        return layout

    @field_validator("clips")
    @classmethod
    def _inside(cls, clips: str | dict[str, str]) -> str | dict[str, str]:
        for path in clips.values() if isinstance(clips, dict) else [clips]:
            if path.startswith("/") or ".." in path.split("/"):
                raise ValueError(f"must be inside the submission, got '{path}'")
        if isinstance(clips, dict) and not (clips and all(name and "/" not in name for name in clips)):
            raise ValueError("must name at least one subject, without '/'")
        return clips

    def prediction_layout(self) -> LayoutConfig:
        """Layout of the prediction files."""
        return PRESETS[self.layout][1] if isinstance(self.layout, str) else self.layout
