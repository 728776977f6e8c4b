"""The acquisition time of a volume, for every format, and the position of an event within its movie."""

import json

import nibabel as nib
import numpy as np
import pytest
from bids_study import SPACE, impulses, opened, segments_of, volumes_of, write_confounds, write_run
from scipy.ndimage import gaussian_filter1d
from simulate import axis_59k

from mind_animator.artefacts.cifti import write_series
from mind_animator.artefacts.cortex import grayordinate_axis
from mind_animator.config.fmri import FmriConfig
from mind_animator.datasets.check import check_files
from mind_animator.errors import InputError

LAG = 4.0


def smooth_study(root, tr, start, sidecar, header_start=0.0):
    """Responses that follow smooth signals by 4 s; volume i is a sample of the time ``start + i TR``."""
    fine, n_volumes = 0.05, int(320 / tr)
    times = np.arange(0, 420, fine)
    rng = np.random.default_rng(0)
    signals = gaussian_filter1d(rng.standard_normal((20, len(times))), 3.0 / fine, axis=1)
    signals /= signals.std(axis=1, keepdims=True)
    series = np.full((n_volumes, 120), 100.0)
    at = start + tr * np.arange(n_volumes)
    series[:, :20] += 10 * np.stack([np.interp(at - LAG, times, signal) for signal in signals]).T
    rows = [(31.3, 60.0, "a.mp4"), (121.7, 60.0, "b.mp4"), (201.1, 60.0, "t.mp4")]
    write_run(root, series=series, tr=tr, rows=rows, sidecar=sidecar, start=header_start)
    return times, signals, {name[0]: onset for onset, _, name in rows}


@pytest.mark.parametrize("tr", [1.0, 1.75, 2.0, 3.0])
@pytest.mark.parametrize("kind", ["StartTime 0", "StartTime TR/2", "StartTime 20", "toffset 20", "nothing"])
def test_a_planted_lag_is_recovered_to_a_twentieth_of_a_second(tmp_path, tr, kind):
    sidecar = {"RepetitionTime": tr}
    start = {"StartTime 0": 0.0, "StartTime 20": 20.0, "toffset 20": 20 + tr / 2}.get(kind, tr / 2)
    if kind.startswith("StartTime"):
        sidecar["StartTime"] = start
    times, signals, onsets = smooth_study(
        tmp_path, tr, start, sidecar, 20.0 if kind.startswith("toffset") else 0.0
    )
    dataset = opened(tmp_path, tr=tr)
    lags = LAG + np.arange(-0.75, 0.76, 0.25)
    agreement = []
    for lag in lags:
        together = []
        for segment in dataset.segments:
            (run,) = dataset.runs("01", segment.id, FmriConfig(lag=float(lag), detrend_order=1))
            begins = onsets[segment.id] + 2.0 * np.arange(segment.n_clips)
            shown = [[signal[(times >= b) & (times < b + 2)].mean() for b in begins] for signal in signals]
            together += [np.corrcoef(run.values[:, j], shown[j])[0, 1] for j in range(20)]
        agreement.append(np.mean(together))
    curve = np.polyfit(lags, agreement, 2)
    assert max(agreement) > 0.99
    assert abs(-curve[1] / (2 * curve[0]) - LAG) < 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sidecar": {"RepetitionTime": 1.0}}, r"Expected a repetition time of 2 s .*, got 1 s in .*_bold\.json"),
        ({"tr": 1.0, "sidecar": {"RepetitionTime": 2.0}}, r"Expected .* of 2 s .*, got 1 s in .*_bold\.nii\.gz"),
        ({"sidecar": {"RepetitionTime": 2.0, "StartTime": 5.0}, "start": 20.0}, r"Expected StartTime in .*_bold\.json "
         r"within the first volume, which starts at 20 s in .*, got 5 s"),
        ({"sidecar": {"StartTime": "soon", "RepetitionTime": 2.0}}, r"Expected seconds in StartTime of .*, got 'soon'"),
        ({"unit": "hz"}, r"Expected volumes in seconds in .*, got the unit hz"),
    ],
)  # fmt: skip
def test_times_that_contradict_each_other_are_refused_by_headers_alone(tmp_path, options, message):
    write_run(tmp_path, **options)
    dataset = opened(tmp_path)
    with pytest.raises(InputError, match=message):
        next(dataset.runs("01", "a", FmriConfig()))
    table = check_files(dataset).set_index("file")
    bold = f"derivatives/fmriprep/sub-01/func/sub-01_task-movie_run-1_space-{SPACE}_desc-preproc_bold.nii.gz"
    assert table.loc[bold, "state"] == "wrong"


def test_milliseconds_and_a_header_without_a_unit(tmp_path):
    write_run(tmp_path / "a", tr=2000.0, unit="msec", sidecar=False)
    assert volumes_of(opened(tmp_path / "a")) == list(range(7, 17))
    write_run(tmp_path / "b", tr=1.0, unit="unknown", sidecar={"RepetitionTime": 2.0})
    assert volumes_of(opened(tmp_path / "b")) == list(range(7, 17))


def write_surfaces(
    root, space, n_vertices, sidecar=True, prepare=lambda data: data, order="hemi-{0}_space-{1}"
):
    for side in "LR":
        data = np.full((60, n_vertices), 100, np.float32)
        data[np.arange(60), np.arange(60)] += 50
        arrays = [nib.gifti.GiftiDataArray(row, "NIFTI_INTENT_TIME_SERIES") for row in prepare(data)]
        name = f"derivatives/fmriprep/sub-01/func/sub-01_task-movie_run-1_{order.format(side, space)}_bold"
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.gifti.GiftiImage(darrays=arrays), root / f"{name}.func.gii")
        if sidecar:
            (root / f"{name}.json").write_text(json.dumps({"RepetitionTime": 2.0}))
    write_run(root, sidecar=False)  # its events


def test_a_gifti_run_without_a_sidecar_is_refused(tmp_path):
    write_surfaces(tmp_path, "fsaverage5", 300, sidecar=False)
    dataset = opened(tmp_path, space="fsaverage5")
    with pytest.raises(InputError, match=r"Expected a repetition time of .*hemi-L.*\.func\.gii, found none"):
        next(dataset.runs("01", "a", FmriConfig()))
    assert (check_files(dataset)["state"] == "wrong").sum() == 1
    # one text in the highest folder is enough
    (tmp_path / "derivatives/fmriprep/task-movie_bold.json").write_text('{"RepetitionTime": 2.0}')
    assert volumes_of(opened(tmp_path, space="fsaverage5")) == list(range(7, 17))


def test_surfaces_of_any_names_a_medial_wall_and_a_mask(tmp_path):
    def without_medial_wall(data):
        data = data.copy()
        data[:, 100:900] = np.nan  # more than a block of vertices
        return data

    write_surfaces(tmp_path, "fsnative", 1000, prepare=without_medial_wall, order="space-{1}_hemi-{0}")
    dataset = opened(tmp_path, space="fsnative", confounds=["motion"])
    assert volumes_of(dataset) == list(range(7, 17))
    (run,) = dataset.runs("01", "a", FmriConfig(detrend_order=0))
    assert run.values.shape == (10, 2000)
    assert (run.values[:, 100:900] == 0).all()
    mask = np.ones(1000, np.float32)
    mask[:5] = 0
    for side in "LR":
        array = nib.gifti.GiftiDataArray(mask, "NIFTI_INTENT_NONE")
        nib.save(nib.gifti.GiftiImage(darrays=[array]), tmp_path / f"mask.{side}.gii")
    (run,) = opened(tmp_path, space="fsnative", mask="mask.{hemi}.gii").runs(
        "01", "a", FmriConfig(detrend_order=0)
    )
    assert (run.values[:, [*range(5), *range(1000, 1005)]] == 0).all()
    assert run.values[:, 7].any()


@pytest.mark.parametrize(("start", "first"), [(0.0, 7), (6.0, 4)])
def test_a_cifti_series_starts_where_it_says(tmp_path, start, first):
    path = (
        tmp_path
        / "derivatives/fmriprep/sub-01/func/sub-01_task-movie_run-1_space-fsLR_den-91k_bold.dtseries.nii"
    )
    write_run(tmp_path, sidecar=False)
    write_series(path, impulses()[:, :60].T.astype(np.float32), grayordinate_axis(), 2.0, np.arange(60))
    if start:
        path.write_bytes(
            path.read_bytes().replace(b'SeriesStart="0"', f'SeriesStart="{start:g}"'.encode(), 1)
        )
    assert volumes_of(opened(tmp_path, space="fsLR")) == list(range(first, first + 10))


def test_a_170k_series_has_the_108441_vertices_of_its_cortex(tmp_path):
    """A file on the real axis: 170,494 rows, of which the subcortical ones are not used. Impulses lie in its last
    vertices of the right hemisphere, so that a wrong number of vertices would miss them."""
    write_run(tmp_path)
    series = np.full((60, 60), 100, np.float32)
    series[np.arange(60), np.arange(60)] += 50
    name = "sub-01_task-movie_run-1_space-fsLR_den-170k_bold.dtseries.nii"
    path = tmp_path / "derivatives/fmriprep/sub-01/func" / name
    write_series(path, series, axis_59k(), 2.0, np.arange(108_441 - 60, 108_441))
    dataset = opened(tmp_path, space="fsLR")
    assert (dataset.rois_of, dataset.has_rois, dataset.n_voxels) == ("none", False, 108_441)
    run = next(dataset.runs("01", "a", FmriConfig(lag=4.0, detrend_order=0)))
    assert run.values.shape == (10, 108_441)
    assert run.values[:, -60:].argmax(axis=1).tolist() == list(range(7, 17))
    assert check_files(dataset).set_index("file").loc[f"{path.relative_to(tmp_path)}", "state"] == "here"


def test_parcels_and_their_names(tmp_path):
    axis = nib.cifti2.ParcelsAxis.from_brain_models(
        [(f"area{k}", grayordinate_axis()[100 * k : 100 * k + 50]) for k in range(60)]
    )
    header = nib.cifti2.Cifti2Header.from_axes((nib.cifti2.SeriesAxis(0, 2.0, 60), axis))
    write_run(tmp_path, sidecar=False)
    name = "sub-01_task-movie_run-1_space-fsLR_seg-Glasser_den-91k_stat-mean_timeseries.ptseries.nii"
    folder = tmp_path / "derivatives/fmriprep/sub-01/func"
    nib.save(nib.Cifti2Image(impulses()[:, :60].astype(np.float32), header), folder / name)
    dataset = opened(tmp_path, space="fsLR", parcellation="Glasser")
    assert dataset.roi_names("01")[:2] == ["area0", "area1"]
    assert volumes_of(dataset) == list(range(7, 17))


# --- rows of the events ---


def test_several_rows_of_a_movie_need_to_say_where_they_begin(tmp_path):
    """The layout of ds001545: six sections of 90 s of one movie in one run are no six repeats of its start."""
    rows = [(10.0 + 20 * k, 20.0, "a.mp4") for k in range(3)] + [(70.0, 20.0, "t.mp4")]
    write_run(tmp_path, rows=rows)
    with pytest.raises(
        InputError, match=r"^Expected dataset\.options\.offset, since sub-01 has several rows of 'a"
    ):
        opened(tmp_path)
    assert segments_of(opened(tmp_path, offset="start"))[0] == ("a", "train", 10)
    joined = opened(tmp_path, offset="cumulative")  # they follow each other without a gap
    assert segments_of(joined)[0] == ("a", "train", 30)
    assert volumes_of(joined) == list(range(7, 37))


def test_sections_in_another_order_keep_their_place_in_the_movie(tmp_path):
    rows = [(10.0, 20.0, "a.mp4", 40.0), (40.0, 20.0, "a.mp4", 0.0), (70.0, 20.0, "t.mp4", 0.0)]
    write_run(tmp_path, rows=rows)
    dataset = opened(tmp_path, offset="offset")
    assert segments_of(dataset) == [("a_0s", "train", 10), ("a_40s", "train", 10), ("t", "test", 10)]
    assert dataset.clip_table("a_40s")["onset"].tolist() == [40.0 + 2 * k for k in range(10)]
    assert volumes_of(dataset, "a_40s") == list(range(7, 17))
    assert volumes_of(dataset, "a_0s") == list(range(22, 32))


def test_shots_are_joined_to_their_movie(tmp_path):
    rows = [(10 + 2.0 * k, 2.0, "a.mp4") for k in range(10)] + [
        (70 + 2.0 * k, 2.0, "t.mp4") for k in range(10)
    ]
    write_run(tmp_path, rows=rows)
    dataset = opened(tmp_path, offset="cumulative")
    assert segments_of(dataset) == [("a", "train", 10), ("t", "test", 10)]
    assert volumes_of(dataset) == list(range(7, 17))


def test_a_movie_in_parts_over_runs_and_its_last_part_as_the_test(tmp_path):
    """Training clips within 10 s of tested ones are left out, so that the parts may touch or overlap."""
    for run in (1, 2, 3):
        write_run(tmp_path, rows=[(0.0, 100.0, "long.mp4")], stem=f"sub-01/func/sub-01_task-movie_run-{run}")
    dataset = opened(tmp_path, offset="cumulative", test=["long_200s"])
    assert segments_of(dataset) == [
        ("long_0s", "train", 50),
        ("long_100s", "train", 45),
        ("long_200s", "test", 50),
    ]
    assert dataset.clip_table("long_100s")["onset"].iloc[[0, -1]].tolist() == [100.0, 188.0]
    assert dataset.clip_table("long_0s")["movie"].unique().tolist() == ["long_0s"]
    rows = [(0.0, 100.0, "long.mp4", 0.0)]
    for run, offset in ((1, 0.0), (2, 80.5)):
        overlapping = [(*rows[0][:3], offset)]
        write_run(tmp_path / "o", rows=overlapping, stem=f"sub-01/func/sub-01_task-movie_run-{run}")
    dataset = opened(tmp_path / "o", offset="offset", test=["long_80p5s"])
    assert dataset.clip_table("long_0s")["onset"].max() + 2 <= 80.5 - 10


def test_a_row_that_is_listed_twice_is_refused(tmp_path):
    write_run(tmp_path, rows=[ROW := (10.0, 20.0, "a.mp4"), ROW, (70.0, 20.0, "t.mp4")])
    with pytest.raises(
        InputError, match=r"Expected each presentation once in .*, got 'a\.mp4' at 10 s in lines 2 and 3"
    ):
        opened(tmp_path, offset="start")


def test_movies_that_overlap_are_refused_or_chosen(tmp_path):
    write_run(tmp_path, rows=[(0.0, 100.0, "sound.wav"), (10.0, 20.0, "a.mp4"), (70.0, 20.0, "t.mp4")])
    with pytest.raises(
        InputError, match=r"Expected one movie at a time in .*'sound\.wav' \(line 2\) until 100 s"
    ):
        opened(tmp_path)
    assert len(opened(tmp_path, movies=["*.mp4"]).segments) == 2


def test_lengths_that_differ_by_milliseconds_are_the_same(tmp_path):
    rows = [(10.0, 20.003, "a.mp4"), (40.0, 19.998, "a.mp4"), (70.0, 20.0, "t.mp4")]
    write_run(tmp_path, rows=rows)
    dataset = opened(tmp_path, offset="start")
    assert segments_of(dataset)[0] == ("a", "train", 10)
    assert volumes_of(dataset, repeat=1) == list(range(22, 32))


def test_a_run_that_is_too_short_has_missing_clips(tmp_path, capsys):
    write_run(tmp_path, series=impulses(44))
    dataset = opened(tmp_path)
    assert volumes_of(dataset, "t") == [*range(37, 44), None, None, None]
    assert "3 of 10 clips of 't.mp4' at 70 s have no volume and are missing" in capsys.readouterr().err
    table = check_files(dataset)
    assert table.loc[table["file"].str.endswith("_bold.nii.gz"), "note"].str.contains("missing_clips 3").all()
    write_run(tmp_path, series=impulses(30))
    with pytest.raises(
        InputError, match=r"Expected volumes for the 10 clips of 't\.mp4' in .*, but none has any"
    ):
        next(opened(tmp_path).runs("01", "t", FmriConfig()))


def test_confounds_of_another_length_are_found_without_reading_volumes(tmp_path):
    write_run(tmp_path)
    name = "sub-01_task-movie_run-1_desc-confounds_timeseries.tsv"
    write_confounds(tmp_path / "derivatives/fmriprep/sub-01/func" / name, 58)
    dataset = opened(tmp_path, confounds=["motion"])
    assert "Expected 60 rows (volumes of the run)" in check_files(dataset)["note"].str.cat()
    with pytest.raises(InputError, match="Expected 60 rows of confounds"):
        next(dataset.runs("01", "a", FmriConfig()))


@pytest.mark.parametrize(
    ("volumes", "least", "most"), [(600, 1_700 + 600 * 230_000 * 4 / 1e6, 4_000), (30, 1_500, 1_900)]
)
def test_the_memory_request_follows_the_size_of_the_runs(tmp_path, volumes, least, most):
    """A run of MNI 2 mm with some 230,000 voxels of brain, by its header alone."""
    write_run(tmp_path, ending=".nii")
    bold = opened(tmp_path).response_files("01", "a")[0]
    header = nib.load(bold).header
    header.set_data_shape((97, 115, 97, volumes))
    bold.write_bytes(header.binaryblock)
    assert least < opened(tmp_path).memory_mb(False) < most
