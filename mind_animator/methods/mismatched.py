"""The baseline of the wrong clip: another test clip's reconstruction, blocks of neighbours permuted."""

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
        Neighbouring clips that move together, so that a clip never meets its neighbour in time.
    """

    block: int = Field(10, ge=1)


class Mismatched(_derived.Derived):
    """What a score gives to reconstructions that look right and answer the wrong clip."""

    kind = "mismatched"
    shows = "the reconstruction of another clip"
    Options = Options

    @staticmethod
    def donors(settings: str, test_clips: Sequence[str], seed: int) -> Mapping[str, str]:
        """Each clip's donor is the clip at its place in another block."""
        return dict(zip(test_clips, exchanged(test_clips, json.loads(settings)["block"], seed), strict=True))


ENTRY = Mismatched
