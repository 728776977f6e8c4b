"""`check_data` re-checks the movies of every public data set where the user has them."""

import pytest

from benchmarks.containers import X264, encode
from mind_animator.config.dataset import DatasetConfig
from mind_animator.datasets.base import open_dataset
from mind_animator.datasets.check import check_files, look_at

SUBJECTS = {"cc2017": "1", "hcp": "100610", "algonauts2021": "01"}


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_contradictory_movie_of_a_data_set_is_named(name, tmp_path):
    """Sound that is two seconds longer than the video, in the file of the first training movie."""
    made = tmp_path / "made.mp4"
    encode(made, "libx264", X264, sound=6.0)
    dataset = open_dataset(
        DatasetConfig(name=name, data_root=str(tmp_path / "data"), subjects=(SUBJECTS[name],))
    )
    path = dataset.stimulus_files(dataset.segments[0].id)[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    made.rename(path)
    table = check_files(dataset, contents=False)
    (row,) = table[
        table["file"].map(lambda file: path.name in str(file)) & (table["state"] != "missing")
    ].itertuples()
    assert row.state == "wrong" and "its sound runs from" in row.note


def test_the_suffix_of_a_movie_may_be_in_capitals(tmp_path):
    (tmp_path / "MOVIE.MP4").write_bytes(b"no movie")
    assert look_at(tmp_path / "MOVIE.MP4")[1].startswith("no readable movie")
