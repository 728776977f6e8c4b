"""A method whose second part needs everything that a part can declare; its record says what it received."""

from mind_animator.config.base import Strict
from mind_animator.methods.base import Method, Needs, Part, Trained


class Options(Strict):
    """A folder of unpaired videos."""

    videos: str


class Needy(Method):
    """Two parts in order: one trained on all other subjects, one per subject that reads its weights."""

    kind = "needy"
    Options = Options
    reconstruction = "own"
    needs = Needs(window=(1, 2), voxels=("rois", "coordinates"), models=("extra",))

    @property
    def parts(self):
        everything = Needs(
            features={"latents": "image", "brightness": "brightness"},
            frames=True,
            movies=True,
            videos=(self.options.videos,),
            repeats=True,
            voxels=("rois", "coordinates"),
            window=(1, 2),
            models=("extra",),
        )
        return (
            Part("others", trained_on="all_but_one"),
            Part("third_part", after=("others",), needs=everything),
        )

    @classmethod
    def train(cls, part, settings, data, job):
        import numpy as np
        from safetensors.numpy import load_file

        own = data.responses[0]
        if part == "others":
            return Trained({"mean": own.values.mean(0)}, {"subjects_seen": len(data.responses)})
        span = data.stimuli.spans[0]
        # one second after the first clip's onset, at 8 Hz
        shifted = dict(data.stimuli.read(span, [span.start + 1.0], frames=16, rate=8.0, size=32))[0]
        targets = data.targets["brightness"]
        weights = {
            "slope": own.values.T @ (targets - targets.mean(0)) / 1e5,
            "offset": targets.mean(0),
        }
        record = {
            "earlier": {name: int(load_file(path)["mean"].shape[0]) for name, path in data.weights.items()},
            "window": own.window.shape,
            "in_run": own.in_run.sum(axis=0).tolist(),
            "same": bool((own.window[:, 1] == own.values).all()),
            "next": bool((own.window[:-1, 2][own.in_run[:-1, 2]] == own.values[1:][own.in_run[:-1, 2]]).all()),
            "repeats": own.repeats.shape,
            "repeats_error": float(np.abs(own.repeats.mean(axis=1) - own.values).max()),
            "rois": len(own.rois), "coordinates": own.coordinates.shape,
            "frames": data.frames.read(data.clips[0], "frames").shape,
            "clips": [data.clips[0], data.clips[-1]], "readable": data.frames.clips == list(data.clips),
            "spans": [[span.movie, span.start, span.end] for span in data.stimuli.spans],
            "shifted": shifted.shape, "videos": [path.name for path in data.videos],
            "targets": {name: list(array.shape) for name, array in data.targets.items()}, "models": dict(data.models),
        }  # fmt: skip
        return Trained(weights, record)

    @classmethod
    def predict(cls, settings, inputs, responses):
        from safetensors.numpy import load_file

        assert inputs.subject_index == {"others": None, "third_part": 0} and "extra" in inputs.models
        assert responses.window.shape[1] == 4 and len(responses.rois) == responses.values.shape[1]
        weights = load_file(inputs.weights["third_part"])
        return {"brightness": responses.values @ weights["slope"] + weights["offset"]}

    @classmethod
    def reconstruct(cls, settings, clips, inputs):
        import numpy as np

        for clip, levels, onset in zip(
            clips, inputs.predictions["brightness"], inputs.table["onset"], strict=True
        ):
            level = np.uint8(100 + onset % 50)
            yield clip, np.full((3, 20, 16, 3), level) + (levels[0] > 0).astype(np.uint8)


ENTRY = Needy
