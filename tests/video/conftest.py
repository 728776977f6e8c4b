"""decord is tried for the short movies of these tests too."""

import pytest

from mind_animator.artefacts import video


@pytest.fixture(autouse=True)
def decord_reads_short_movies(monkeypatch):
    monkeypatch.setattr(video, "DECORD_FRAMES", 0)
