"""Fixtures that every test may use."""

import os
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def published_data() -> Path:
    """Folder of published captions, an atlas and reconstructions, from MIND_ANIMATOR_TEST_DATA."""
    folder = os.environ.get("MIND_ANIMATOR_TEST_DATA")
    if not folder:
        pytest.skip("MIND_ANIMATOR_TEST_DATA is unset: published captions and reconstructions are absent")
    folder = Path(folder)
    if not folder.is_dir():
        pytest.fail(f"Expected MIND_ANIMATOR_TEST_DATA to be a folder, got {folder}.")
    return folder


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    """With MIND_ANIMATOR_NO_SKIP set, a skip is a failure unless it is for want of a CUDA device."""
    outcome = yield
    report = outcome.get_result()
    if os.environ.get("MIND_ANIMATOR_NO_SKIP") and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if "CUDA" not in reason:
            report.outcome = "failed"
            report.longrepr = f"Expected this test to run, got a skip: {reason}"


@pytest.fixture
def rng() -> np.random.Generator:
    """A fresh, seeded generator per test."""
    return np.random.default_rng(20261122)


@pytest.fixture(scope="session")
def random_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of small random-weight models: clip, blip2, sd, vit, videomae, vificlip."""
    from random_models import save_random_models

    return save_random_models(tmp_path_factory.mktemp("random_models"))
