"""The calibration figure's command."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mind_animator.errors import InputError
from workflow_scripts.draw_calibration import main


def outputs(folder: Path) -> list[str]:
    return [
        "--p-values", str(folder / "p.tsv"), "--table", str(folder / "rates.tsv"),
        "--figure", str(folder / "figure.png"), "--seed", "1",
    ]  # fmt: skip


def test_simulated_and_given_p_values_stand_side_by_side(tmp_path: Path) -> None:
    p = np.arange(1, 201) / 200
    pd.DataFrame({"test": "ridge_pairing", "p": p}).to_csv(tmp_path / "ridge.tsv", sep="\t", index=False)
    small = ["--nulls", "20", "--movies", "2", "--clips-per-movie", "40", "--permutations", "99"]
    main([*small, "--add", str(tmp_path / "ridge.tsv"), *outputs(tmp_path)])
    rates = pd.read_csv(tmp_path / "rates.tsv", sep="\t").set_index("test")
    assert list(rates.index) == ["paired_sign_flip", "wilcoxon_of_bootstrap_means", "ridge_pairing"]
    assert rates.loc["ridge_pairing", "rejections"] == 10 and list(rates["nulls"]) == [20, 20, 200]
    assert (rates["low"] <= rates["rate"]).all() and (rates["rate"] <= rates["high"]).all()
    every = pd.read_csv(tmp_path / "p.tsv", sep="\t")
    assert (
        every.groupby("test", sort=False)["p"].apply(lambda v: (v <= 0.05).sum()) == rates["rejections"]
    ).all()
    image = np.asarray(Image.open(tmp_path / "figure.png").convert("RGB"))
    assert image.shape[1] == 1500 and len(np.unique(image.reshape(-1, 3), axis=0)) > 50


def test_errors_say_what_was_expected_and_found(tmp_path: Path) -> None:
    pd.DataFrame({"test": ["paired_sign_flip"], "p": [0.5]}).to_csv(
        tmp_path / "p1.tsv", sep="\t", index=False
    )
    cases = {
        "Expected simulated nulls (--nulls) or tables of p values (--add), got neither.": ["--nulls", "0"],
        "Expected --nulls >= 0, --autocorrelation in [0, 1) and --alpha in (0, 1), got 1000, 0.3 and 5.0.": [
            "--alpha", "5",
        ],
        f"Expected every test once, got 'paired_sign_flip' again (file {tmp_path / 'p1.tsv'}).": [
            "--add", str(tmp_path / "p1.tsv"),
        ],
    }  # fmt: skip
    for text, given in cases.items():
        with pytest.raises(InputError) as error:
            main([*given, *outputs(tmp_path)])
        assert str(error.value) == text
    assert not (tmp_path / "rates.tsv").exists()
