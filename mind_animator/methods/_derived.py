"""Base of the baselines that are derived from another method's reconstructions, clip by clip."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing

import numpy as np

from mind_animator.artefacts.streams import ClipReader, read_problems
from mind_animator.config.base import Strict
from mind_animator.errors import InputError
from mind_animator.methods.base import Method, ReconstructionInputs, available, open_kind


class Options(Strict):
    """Attributes
    ----------
    of : str
        The method from whose reconstructions this one is derived.
    """

    of: str


class Derived(Method):
    """The frames of another method, modified (`change`) or taken from another clip (`donors`)."""

    Options = Options
    reconstruction = "frames"
    frames_from = "method"

    @property
    def source(self) -> str:
        """The method from which it is derived."""
        return self.options.of

    def reconstruction_settings(self) -> str:
        """All settings except the source, whose files are inputs."""
        return self.options.model_dump_json(exclude={"of"})

    @staticmethod
    def change(frames: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """One clip's frames (frame, height, width, 3) uint8 as this baseline shows them."""
        return frames

    @staticmethod
    def donors(settings: str, test_clips: Sequence[str], seed: int) -> Mapping[str, str]:
        """For each clip, the clip whose frames it shows."""
        return dict(zip(test_clips, test_clips, strict=True))

    @classmethod
    def exchanges_clips(cls) -> bool:
        """Whether the frames are those of other clips."""
        return cls.donors is not Derived.donors

    @classmethod
    def reconstruct(
        cls,
        settings: str,
        clips: Sequence[str],
        inputs: ReconstructionInputs,
    ) -> Iterator[tuple[str, np.ndarray | InputError]]:
        """Yield the frames of every clip, or the reason why the source has none; ``files`` are the source's shards.

        There is one generator per clip, so that nothing depends on the sharding.
        """
        donor = cls.donors(settings, inputs.test_clips, inputs.seed)
        row_of = {clip: row for row, clip in enumerate(inputs.test_clips)}
        problems = read_problems(inputs.files)
        with closing(ClipReader(inputs.files)) as reader:
            for clip in clips:
                own = donor[clip]
                if own in problems:
                    yield clip, InputError(problems[own])
                else:
                    generator = np.random.default_rng([inputs.seed, row_of[clip]])
                    yield clip, cls.change(reader.read(own, "frames"), generator)


def derived_kinds() -> list[type[Derived]]:
    """All method types that are derived from the frames of another method; those of other clips come last."""
    kinds = [kind for kind in map(open_kind, available()) if issubclass(kind, Derived)]
    return sorted(kinds, key=lambda kind: kind.exchanges_clips())
