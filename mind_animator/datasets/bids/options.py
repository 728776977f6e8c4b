"""Settings of a BIDS study."""

from typing import Literal

from pydantic import Field, field_validator

from mind_animator.config.base import Strict


class BidsOptions(Strict):
    """Settings that cannot be read from the BIDS data set. Paths are relative to the data folder.

    Attributes
    ----------
    task : tuple of str
        ``task-`` entities of the runs; ``*`` and ``?`` are wildcards.
    space : str
        ``fsLR`` (CIFTI), ``fsaverage5``, ``fsaverage6``, ``fsaverage``, ``fsnative`` (GIFTI), a volume space
        such as ``MNI152NLin2009cAsym``, or ``func`` (files without ``space-``).
    tr : float
        Repetition time, seconds; compared with the files.
    clip_seconds : float
        Length of a clip, seconds.
    test : tuple of str
        Movies (or sections of movies) of the test set, which are never used for training; wildcards are allowed.
    movie : str
        Column of the events that names the movie (``stim_file``, ``trial_type``, ...), or ``task`` if each task is one
        movie.
    offset : str, optional
        Position in the movie at which a row begins: ``start`` (every row presents the movie from its start, so that
        rows of one movie are repeats), ``cumulative`` (each row of a movie continues the previous one, also across
        runs), or the column that contains the position in seconds. Required if a subject has several rows of one movie.
    movies : tuple of str
        Movies to use; empty for all. Wildcards are allowed.
    runs : tuple of str
        Runs to use, by names such as ``*_ses-01_*``; empty for all.
    confounds : tuple of str
        Strategies of nilearn's ``load_confounds``; empty for none.
    derivatives, stimuli : str
        Folders.
    desc : str
        The ``desc-`` entity of responses: ``preproc``, ``denoised``, ``optcom``, ...
    mask : str, optional
        For volumes: a NIfTI mask; by default the intersection of the brain masks of the subject's runs. For surfaces: a
        GIFTI file with ``{hemi}``. ``{subject}`` is allowed. Vertices outside the mask are set constant.
    resolution : str, optional
        The ``res-`` or ``den-`` entity, if there are several.
    parcellation : str, optional
        The ``seg-`` or ``atlas-`` entity of parcellated CIFTI files (``.ptseries.nii``).
    """

    task: tuple[str, ...] = Field(min_length=1)
    space: str
    tr: float = Field(gt=0)
    clip_seconds: float = Field(gt=0)
    test: tuple[str, ...] = Field(min_length=1)
    movie: str = "stim_file"
    offset: str | None = None
    movies: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    confounds: tuple[Literal["motion", "wm_csf", "global_signal", "compcor", "scrub", "high_pass"], ...] = (
        "motion",
        "wm_csf",
    )
    derivatives: str = "derivatives/fmriprep"
    stimuli: str = "stimuli"
    desc: str = "preproc"
    mask: str | None = None
    resolution: str | None = None
    parcellation: str | None = None

    @field_validator("task", "test", "movies", "runs", mode="before")
    @classmethod
    def _several(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("resolution", mode="before")
    @classmethod
    def _text(cls, value: object) -> object:
        return str(value) if isinstance(value, int) else value
