"""Selection of the frames that sample a clip, by presentation time."""

import numpy as np

from mind_animator.errors import InputError

# Containers round times to their time base. At 29.97 Hz frames begin 5e-4 s after the requested times; such frames are
# not displayed yet.
_TICK = 2e-4
# Published movies and tables round durations; a clip may end this many seconds after its movie.
_SLACK = 0.1
_RELEASED_STEP = 8


def frames_shown_at(starts: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Index of the frame displayed at each time, i.e. the last one whose presentation has begun.

    Parameters
    ----------
    starts : array of shape (n_frames,)
        Presentation times of the frames, seconds, ascending; times are counted from the first frame.
    times : array of any shape
        Seconds from the first frame.

    Returns
    -------
    array of the shape of ``times``, int64
    """
    return np.searchsorted(starts - starts[0], np.asarray(times) + _TICK, side="right") - 1


def sample_indices(
    starts: np.ndarray,
    end: float,
    onsets: np.ndarray,
    durations: np.ndarray,
    *,
    frames: int,
    rate: float,
    sampling: str,
    where: str,
) -> np.ndarray:
    """Frame indices of every clip of one movie.

    ``true_rate``: the frame shown at ``onset + k / rate``, k = 0 .. frames - 1. ``released_code``: every
    8th frame of the file, counted from the frame shown at the onset (0, 8, .., 56 for 8 frames). ``whole_clip``: the
    frame shown at ``onset + k duration / frames``, so that clips of any length are covered from end to end.

    Parameters
    ----------
    starts : array of shape (n_frames,)
        Presentation times, seconds, ascending.
    end : float
        End of the last frame's presentation, seconds, on the same clock as ``starts``.
    onsets, durations : arrays of shape (n_clips,)
        Clips, in seconds from the first frame.
    frames, rate, sampling
        See `mind_animator.config.stimuli.StimuliConfig`.
    where : str
        The movie, for error messages.

    Returns
    -------
    array of shape (n_clips, frames), int64

    Raises
    ------
    InputError
        If a clip is not within the movie, if its samples are not within the clip, or if (``true_rate``) more than one
        sampling interval at its end would be ignored.
    """
    onsets, durations = np.asarray(onsets, float), np.asarray(durations, float)
    length = float(end - starts[0])
    bad = np.flatnonzero((onsets < 0) | (onsets + durations > length + _SLACK))
    if bad.size:
        first = bad[0]
        raise InputError(
            f"Expected a movie of {onsets[first] + durations[first]:g} s or more "
            f"(clip {first} of its table), got {length:.3f} s ({where})."
        )
    steps = np.arange(frames)
    if sampling == "released_code":
        indices = frames_shown_at(starts, onsets)[:, None] + _RELEASED_STEP * steps
    elif sampling == "whole_clip":
        indices = frames_shown_at(starts, onsets[:, None] + durations[:, None] * steps / frames)
    else:
        uncovered = np.flatnonzero(durations > (frames + 1) / rate + _SLACK)
        if uncovered.size:
            long = durations[uncovered[0]]
            raise InputError(
                f"{where}: {frames} frames at {rate:g} Hz cover {frames / rate:g} s, but clip {uncovered[0]} of its "
                f"table lasts {long:g} s: set stimuli.sampling to whole_clip (frames spread over each clip), or "
                f"stimuli.frames to {int(np.ceil(long * rate))}."
            )
        late = np.flatnonzero(durations + _TICK < (frames - 1) / rate)
        if late.size:
            raise InputError(
                f"Expected {frames} frames at {rate:g} Hz to fit into a clip, "
                f"got clips of {durations[late[0]]:g} s ({where}): set stimuli.frames and rate, or stimuli.sampling to "
                "whole_clip."
            )
        # a time within the tolerance after the end selects the last frame
        indices = frames_shown_at(starts, onsets[:, None] + steps / rate)
    if indices.max() >= len(starts):
        raise InputError(f"Expected frame {indices.max()} in the movie, got {len(starts)} frames ({where}).")
    return indices
