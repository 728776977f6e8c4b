"""The command that cuts a segment."""

import json
from fractions import Fraction

import av
import numpy as np
import pytest

from mind_animator.artefacts.arrays import read_arrays, read_attrs
from mind_animator.artefacts.tables import read_table
from mind_animator.artefacts.video import write_mp4
from mind_animator.config.stimuli import StimuliConfig
from mind_animator.errors import InputError
from mind_animator.video.conform import resize_frame
from mind_animator.video.segment import ready_clips
from workflow_scripts.segment_movie import main


@pytest.fixture(scope="session")
def demo_movie(tmp_path_factory):
    """A movie of 480 s at 4 fps in the demo's tree: a new patchwork every 6 frames, cuts inside clips."""
    root = tmp_path_factory.mktemp("demo")
    rng = np.random.default_rng(1)
    shots = rng.integers(0, 255, (320, 4, 4, 3), dtype=np.uint8)
    frames = (np.kron(shots[index // 6], np.ones((16, 16, 1), np.uint8)) for index in range(1920))
    write_mp4(root / "video_fmri_dataset" / "stimuli" / "test2.mp4", frames, 4)
    return root


def _arguments(root, out, segment="test2", settings=None):
    return [
        "--dataset", json.dumps({"name": "demo", "data_root": str(root)}),
        "--segment", segment,
        "--settings", json.dumps(settings or {"size": 16}),
        "--frames", str(out / "frames.h5"),
        "--table", str(out / "clips.tsv"),
    ]  # fmt: skip


def test_frames_table_and_cuts(demo_movie, tmp_path):
    main(_arguments(demo_movie, tmp_path))
    clips, arrays = read_arrays(tmp_path / "frames.h5", ["frames"])
    table = read_table(
        tmp_path / "clips.tsv", columns=("segment", "movie", "file", "onset", "duration", "split")
    )
    assert arrays["frames"].shape == (240, 8, 16, 16, 3)
    assert clips == list(table["clip"])
    assert table["clip"].iloc[[0, -1]].tolist() == ["test2-00000", "test2-00239"]
    # frame k of clip c is frame 8 c + k of the movie; a new shot starts at every sixth
    expected = [any((8 * c + k) % 6 == 0 for k in range(1, 8)) for c in range(240)]
    assert table["scene_cut"].tolist() == expected
    assert json.loads(read_attrs(tmp_path / "frames.h5")["stimuli"])["size"] == 16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"segment": "seg99"}, "--segment = 'seg99': must be one of"),
        ({"segment": "test3"}, "--segment = 'test3': must be one of"),
        ({"segment": "seg1"}, r"Expected a movie at .*seg1.mp4, found none"),
        ({"settings": {"size": 16, "fames": 8}}, "--settings.fames: is not a known key."),
        (
            {"settings": {"size": 16, "rate": 3.0}},
            "Expected 8 frames at 3 Hz to fit into a clip, got clips of 2 s",
        ),
    ],
)
def test_mistakes_are_reported_in_one_line_and_leave_nothing(demo_movie, tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        main(_arguments(demo_movie, tmp_path, **change))
    assert list(tmp_path.iterdir()) == []


def test_a_movie_shorter_than_its_table(tmp_path, rng):
    frames = rng.integers(0, 255, (40, 16, 16, 3), dtype=np.uint8)
    write_mp4(tmp_path / "video_fmri_dataset" / "stimuli" / "test2.mp4", frames, 4)
    out = tmp_path / "out"
    message = r"Expected a movie of 12 s or more \(clip 5 of its table\), got 10.000 s \(.*test2.mp4\)"
    with pytest.raises(InputError, match=message):
        main(_arguments(tmp_path, out))
    assert not out.exists()


def test_ready_frames_take_the_same_resize(rng):
    frames = rng.integers(0, 255, (3, 8, 20, 30, 3), dtype=np.uint8)
    settings = StimuliConfig(size=16)
    clips = dict(ready_clips(frames, 3, settings, "seg1"))
    assert {row: clip.shape for row, clip in clips.items()} == dict.fromkeys(range(3), (8, 16, 16, 3))
    message = r"Expected 4 clips of 8 frames \(seg1\), got 3 of 8: set stimuli.frames"
    with pytest.raises(InputError, match=message):
        list(ready_clips(frames, 4, settings, "seg1"))


def test_a_movie_of_uneven_frames_is_sampled_by_time_and_kept_without_loss(tmp_path, rng):
    """Frames that stay 1 to 9 sixtieths of a second: the one on the screen at each quarter second, bit by bit."""
    shown = np.concatenate([[0], np.cumsum(rng.integers(1, 10, 400))])
    shown = shown[shown < 20 * 60]
    path = tmp_path / "video_fmri_dataset" / "stimuli" / "seg1.mp4"
    path.parent.mkdir(parents=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=60)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 60)
        for tick in [*shown, 20 * 60 + 5]:
            frame = av.VideoFrame.from_ndarray(
                rng.integers(0, 256, (48, 64, 3), dtype=np.uint8), format="rgb24"
            )
            frame.pts, frame.time_base = int(tick), Fraction(1, 60)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    given = _arguments(tmp_path, tmp_path / "out", "seg1", {"size": 32})
    given[1] = json.dumps({"name": "demo", "data_root": str(tmp_path), "options": {"clips": 10}})
    main(given)
    with av.open(str(path)) as container:
        images = [(float(f.time), f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
    kept = read_arrays(tmp_path / "out/frames.h5", ["frames"])[1]["frames"].reshape(80, 32, 32, 3)
    for index, frame in enumerate(kept):
        on_screen = [image for time, image in images if time <= index / 4 + 1e-4][-1]
        np.testing.assert_array_equal(frame, resize_frame(on_screen, 32))
