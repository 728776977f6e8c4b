"""The baseline of the wrong clip: the reconstruction of another test clip, with blocks of neighbours permuted."""

import json
from collections.abc import Mapping, Sequence

from pydantic import Field

from mind_animator.methods import _derived
from mind_animator.statistics.exchange import exchanged


class Options(_derived.Options):
    """Attributes
    ----------
    of : str
        The method whose reconstructions are exchanged.
    block : int
        Number of neighbouring clips that stay together, so that a clip is never paired with its neighbour in time.
    """

    block: int = Field(10, ge=1)


class Mismatched(_derived.Derived):
    """The score of plausible reconstructions of the wrong clip."""

    kind = "mismatched"
    shows = "the reconstruction of another clip"
    Options = Options

    @staticmethod
    def donors(settings: str, test_clips: Sequence[str], seed: int) -> Mapping[str, str]:
        """The donor of each clip is the clip at the same position in another block."""
        return dict(zip(test_clips, exchanged(test_clips, json.loads(settings)["block"], seed), strict=True))


ENTRY = Mismatched
