"""Scenes of the synthetic data set: content, appearance and motion of shots.

A movie is a list of shots. In each shot one named image (a noun, from OpenMoji) moves with constant velocity over a
static background (a scene, defined by its shapes, with a random palette).
Positions and sizes are in frame widths with the origin in the upper left corner and y pointing down, times
in seconds, directions in radians (0 = to the right, pi / 2 = down). A trajectory is symmetrical about the
middle position at mid-shot, so that neither the mean position nor any other property of a shot is correlated with its
direction.

**Hold-out rule.** The direction is divided into eight octants. (noun, scene, octant) belongs to the test
movies if noun + scene + octant is odd, and to the training movies if it is even. Both halves contain opposite
and orthogonal directions equally often for each noun and each scene, so that neither noun nor scene is
informative about the mean direction.
"""

import itertools
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from importlib.resources import as_file, files

import cv2
import numpy as np
from PIL import Image

# Each has an image in assets/openmoji.
NOUNS = (
    "horse",
    "elephant",
    "pig",
    "turtle",
    "frog",
    "fish",
    "butterfly",
    "car",
    "umbrella",
    "pumpkin",
    "ball",
    "strawberry",
)
SCENES = ("beach", "mountains", "city", "forest", "desert", "space")
PHRASES = {
    "beach": "on a beach",
    "mountains": "in the mountains",
    "city": "in a city",
    "forest": "in a forest",
    "desert": "in the desert",
    "space": "in space",
}
OCTANTS = 8
CLIP_SECONDS = 2.0
VIDEO_FPS = 30
STILL_FRACTION = 0.15
SHIFTED_CUTS = 0.2
SIZE_RANGE = (0.42, 0.5)
SPEED_RANGE = (1.5 / 16, 2.5 / 16)
MAX_DISPLACEMENT = 0.44
_CANVAS = 256
_SPRITE = 256


@dataclass(frozen=True)
class Shot:
    """One shot of a movie.

    Attributes
    ----------
    onset, duration : float
        Seconds since the movie's start, and seconds.
    noun, scene : str
        One of ``NOUNS`` and of ``SCENES``.
    sky, ground : tuple of float
        Colours (red, green, blue) in [0, 1], independent of noun and scene.
    layout : int
        Seed of the scene's details.
    x, y : float
        Mid position of the object, in frame widths and heights.
    size : float
        Longer side of the object, in frame widths.
    direction : float
        Radians in [0, 2 pi); also defined, but not visible, if the object is static.
    speed : float
        Frame widths per second.
    """

    onset: float
    duration: float
    noun: str
    scene: str
    sky: tuple[float, float, float]
    ground: tuple[float, float, float]
    layout: int
    x: float
    y: float
    size: float
    direction: float
    speed: float

    @property
    def offset(self) -> float:
        """End of the shot in seconds since the start of the movie."""
        return self.onset + self.duration


def octant(direction: float) -> int:
    """Octant 0..7 of a direction in radians; octant 0 is centred on 'to the right', 2 on 'down'."""
    return int(np.floor(direction / (2 * np.pi / OCTANTS) + 0.5)) % OCTANTS


def held_out(noun: str, scene: str, octant_index: int) -> bool:
    """Whether a combination belongs to the test movies: noun + scene + octant is odd."""
    return (NOUNS.index(noun) + SCENES.index(scene) + octant_index) % 2 == 1


def sample_movie(seed: int | tuple[int, ...], duration: float = 480.0, combos: str = "train") -> list[Shot]:
    """Sample the shots of a movie.

    Parameters
    ----------
    seed : int or tuple of int
        Seed of the movie.
    duration : float
        Seconds; a whole number of 2-s clips.
    combos : {'train', 'test', 'all'}
        Allowed combinations of noun, scene and direction.

    Returns
    -------
    list of Shot
        Consecutive shots without gaps. Cuts are at the borders of clips, except for about a fifth inside a clip.
    """
    if combos not in ("train", "test", "all"):
        raise ValueError(f"Expected combos 'train', 'test' or 'all', got {combos!r}")
    clips = round(duration / CLIP_SECONDS)
    if clips < 1 or abs(clips * CLIP_SECONDS - duration) > 1e-9:
        raise ValueError(f"Expected a duration of whole {CLIP_SECONDS:g}-s clips, got {duration!r}")
    rng = np.random.default_rng(seed)
    borders = _sample_borders(rng, clips)
    return [
        sample_shot(rng, float(start), float(stop - start), combos)
        for start, stop in itertools.pairwise(borders)
    ]


def _sample_borders(rng: np.random.Generator, clips: int) -> np.ndarray:
    """Cut times in seconds at 30 frames per second: at the borders of clips, some of them moved inside a clip."""
    lengths = []
    while sum(lengths) < clips:
        lengths.append(min(int(rng.choice([1, 2, 3], p=[0.45, 0.4, 0.15])), clips - sum(lengths)))
    borders = CLIP_SECONDS * np.concatenate([[0], np.cumsum(lengths)])
    for index in range(1, len(lengths)):
        shortened = [step for step, length in ((-1, lengths[index - 1]), (1, lengths[index])) if length > 1]
        if shortened and rng.random() < SHIFTED_CUTS / 0.8:
            shift = rng.integers(VIDEO_FPS // 2, 3 * VIDEO_FPS // 2 + 1) / VIDEO_FPS
            borders[index] += rng.choice(shortened) * shift
    return borders


def sample_shot(rng: np.random.Generator, onset: float, duration: float, combos: str = "all") -> Shot:
    """Sample one shot: content, palette, position and motion, which are independent except for the hold-out rule."""
    noun, scene = NOUNS[rng.integers(len(NOUNS))], SCENES[rng.integers(len(SCENES))]
    direction = float(rng.uniform(0, 2 * np.pi))
    while combos != "all" and held_out(noun, scene, octant(direction)) != (combos == "test"):
        direction = float(rng.uniform(0, 2 * np.pi))
    speed = min(float(rng.uniform(*SPEED_RANGE)), MAX_DISPLACEMENT / duration)
    speed = 0.0 if rng.random() < STILL_FRACTION else speed
    size = float(rng.uniform(*SIZE_RANGE))
    reach = 0.5 - size / 2 - speed * duration / 2
    x, y = 0.5 + rng.uniform(-reach, reach, 2)
    sky, ground = sample_palette(rng)
    layout = int(rng.integers(2**31))
    return Shot(onset, duration, noun, scene, sky, ground, layout, float(x), float(y), size, direction, speed)


def sample_still(rng: np.random.Generator) -> Shot:
    """Sample a static shot of one second with its object anywhere inside the frame."""
    shot = sample_shot(rng, 0.0, 1.0)
    reach = 0.5 - shot.size / 2
    x, y = 0.5 + rng.uniform(-reach, reach, 2)
    return Shot(**(asdict(shot) | {"x": float(x), "y": float(y), "speed": 0.0}))


def sample_palette(rng: np.random.Generator) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Two colours (red, green, blue) in [0, 1] at least 60 degrees of hue or .2 of luminance apart."""
    while True:
        hues, chroma = rng.uniform(0, 360, 2), rng.uniform(0.25, 0.75, 2)
        values = rng.uniform(0.5, 0.95, 2)
        colours = cv2.cvtColor(
            np.stack([hues, chroma, values], -1)[None].astype(np.float32), cv2.COLOR_HSV2RGB
        )[0]
        apart = abs((hues[0] - hues[1] + 180) % 360 - 180) >= 60
        luminance = colours @ np.array([0.299, 0.587, 0.114])
        if apart or abs(luminance[0] - luminance[1]) >= 0.2:
            return tuple(map(float, colours[0])), tuple(map(float, colours[1]))


def caption(shot: Shot, rng: np.random.Generator | None = None) -> str:
    """Caption of the shot, e.g. 'a horse on a beach'; one of three paraphrases if a random generator is given."""
    article = "an" if shot.noun[0] in "aeiou" else "a"
    text = f"{article} {shot.noun} {PHRASES[shot.scene]}"
    if rng is None:
        return text
    return (text, f"an image of {text}", f"there is {text}")[rng.choice(3, p=[0.7, 0.15, 0.15])]


def shot_at(shots: list[Shot], time: float) -> Shot:
    """The shot displayed at a time of the movie in seconds; a cut belongs to the new shot."""
    index = int(np.searchsorted([shot.onset for shot in shots], time + 1e-6, side="right")) - 1
    if index < 0 or time > shots[-1].offset + 1e-6:
        raise ValueError(f"Expected a time in [0, {shots[-1].offset:g}] s, got {time:g}")
    return shots[index]


def position(shot: Shot, time: float) -> tuple[float, float]:
    """Centre (x, y) of the object in frame widths, at ``time`` seconds since the shot's onset."""
    along = shot.speed * (time - shot.duration / 2)
    return shot.x + along * np.cos(shot.direction), shot.y + along * np.sin(shot.direction)


def velocity(shot: Shot) -> tuple[float, float]:
    """Velocity (x, y) of the object in frame widths per second; y points down."""
    return shot.speed * np.cos(shot.direction), shot.speed * np.sin(shot.direction)


def render_frame(shot: Shot, time: float, size: int) -> np.ndarray:
    """Render a shot at ``time`` seconds since its onset.

    Returns
    -------
    ndarray (size, size, 3) uint8
        Red, green, blue.
    """
    frame = render_background(shot, size).copy()
    rows, columns, sprite = _placed_sprite(shot, time, size)
    under = frame[rows, columns].astype(np.float32)
    frame[rows, columns] = np.rint(under * (1 - sprite[..., 3:]) + 255 * sprite[..., :3]).clip(0, 255)
    return frame


def object_alpha(shot: Shot, time: float, size: int) -> np.ndarray:
    """Opacity of the object, (size, size) float32 in [0, 1], at ``time`` seconds since the shot's onset."""
    alpha = np.zeros((size, size), np.float32)
    rows, columns, sprite = _placed_sprite(shot, time, size)
    alpha[rows, columns] = sprite[..., 3]
    return alpha


def flow(shot: Shot, start: float, stop: float, size: int) -> np.ndarray:
    """Exact optical flow between two times of a shot.

    The flow is the displacement of the object for pixels that it covers at ``start``, and 0 elsewhere.

    Returns
    -------
    ndarray (size, size, 2) float32
        Displacement (x, y) in pixels.
    """
    step = np.subtract(position(shot, stop), position(shot, start)) * size
    return np.where(object_alpha(shot, start, size)[..., None] > 0.5, step, 0).astype(np.float32)


def render_background(shot: Shot, size: int) -> np.ndarray:
    """The shot's scene without its object, (size, size, 3) uint8; read-only."""
    return _background(shot.scene, shot.sky, shot.ground, shot.layout, size)


def _placed_sprite(shot: Shot, time: float, size: int) -> tuple[slice, slice, np.ndarray]:
    """Rows, columns and premultiplied (height, width, 4) image of the object, shifted by sub-pixels."""
    glyph = _sprite(shot.noun, max(1, int(np.ceil(shot.size * size))))
    height, width = glyph.shape[:2]
    scale = shot.size * size / max(height, width)
    x, y = np.multiply(position(shot, time), size) - 0.5
    left, top = int(np.floor(x - width / 2)), int(np.floor(y - height / 2))
    shift_x = x - left - scale * (width - 1) / 2
    shift_y = y - top - scale * (height - 1) / 2
    matrix = np.array([[scale, 0, shift_x], [0, scale, shift_y]], np.float64)
    moved = cv2.warpAffine(glyph, matrix, (width + 2, height + 2), flags=cv2.INTER_LINEAR)
    rows, columns = (
        slice(max(top, 0), min(top + height + 2, size)),
        slice(max(left, 0), min(left + width + 2, size)),
    )
    inside = moved[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return rows, columns, inside


@lru_cache(maxsize=256)
def _sprite(noun: str, pixels: int) -> np.ndarray:
    """Premultiplied image of a noun with the given length of the longer side, (height, width, 4) in [0, 1]."""
    glyph = _glyph(noun)
    scale = pixels / max(glyph.shape[:2])
    shape = tuple(max(1, round(side * scale)) for side in glyph.shape[1::-1])
    return cv2.resize(glyph, shape, interpolation=cv2.INTER_AREA)


@cache
def _glyph(noun: str) -> np.ndarray:
    """The OpenMoji image of a noun, cropped to its opaque pixels, premultiplied, (height, width, 4) in [0, 1]."""
    if noun not in NOUNS:
        raise ValueError(f"Expected the noun to be one of {NOUNS}, got {noun!r}")
    with as_file(files("mind_animator") / "assets/openmoji" / f"{noun}.png") as path:
        glyph = np.asarray(Image.open(path), np.float32) / 255
    glyph[..., :3] *= glyph[..., 3:]
    return glyph


@lru_cache(maxsize=64)
def _background(scene: str, sky: tuple, ground: tuple, layout: int, size: int) -> np.ndarray:
    """Draw a scene on a large canvas and downsize it by area averaging."""
    if scene not in _PAINTERS:
        raise ValueError(f"Expected the scene to be one of {SCENES}, got {scene!r}")
    canvas = np.empty((_CANVAS, _CANVAS, 3), np.uint8)
    canvas[:] = _shade(sky, 0)
    _PAINTERS[scene](canvas, sky, ground, np.random.default_rng(layout))
    glyph = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)
    glyph.flags.writeable = False
    return glyph


def _shade(colour: tuple, amount: float) -> tuple[int, int, int]:
    """A colour mixed with white (amount in (0, 1]) or with black (amount in [-1, 0)), as bytes."""
    mixed = np.asarray(colour) * (1 - abs(amount)) + max(amount, 0)
    return tuple(int(value) for value in np.rint(255 * mixed))


def _fill(canvas: np.ndarray, points: list, colour: tuple) -> None:
    """Fill a polygon given in frame widths."""
    cv2.fillPoly(canvas, [np.rint(np.asarray(points) * _CANVAS).astype(np.int32)], colour, cv2.LINE_AA)


def _disc(canvas: np.ndarray, x: float, y: float, radius: float, colour: tuple) -> None:
    cv2.circle(
        canvas,
        (round(x * _CANVAS), round(y * _CANVAS)),
        max(1, round(radius * _CANVAS)),
        colour,
        -1,
        cv2.LINE_AA,
    )


def _hill(canvas: np.ndarray, level: float, height: float, waves: float, phase: float, colour: tuple) -> None:
    """Fill the region below a sine wave whose crest is ``height`` above ``level``."""
    x = np.linspace(-0.01, 1.01, 64)
    y = level - height * (0.5 + 0.5 * np.sin(2 * np.pi * (waves * x + phase)))
    _fill(canvas, [*zip(x, y, strict=True), (1.01, 1.01), (-0.01, 1.01)], colour)


def _beach(canvas: np.ndarray, sky: tuple, ground: tuple, rng: np.random.Generator) -> None:
    """Sun, a sea with rows of waves, and a strand."""
    shift = rng.uniform(0, 1)
    _disc(canvas, 0.15 + 0.7 * rng.integers(2), 0.15, 0.1, _shade(sky, 0.75))
    _hill(canvas, 0.42, 0.0, 1, 0, _shade(ground, -0.45))
    x = np.linspace(0, 1, 96)
    for row, y in enumerate((0.5, 0.61, 0.72)):
        wave = y + 0.022 * np.sin(2 * np.pi * (4 * x + shift + 0.5 * row))
        points = np.rint(np.stack([x, wave], -1) * _CANVAS).astype(np.int32)
        cv2.polylines(canvas, [points], False, _shade(ground, 0.65), 7, cv2.LINE_AA)
    _hill(canvas, 0.87, 0.05, 1, shift, _shade(ground, 0.45))


def _mountains(canvas: np.ndarray, sky: tuple, ground: tuple, rng: np.random.Generator) -> None:
    """Three peaks with caps of snow above a plain."""
    shift = rng.uniform(-0.06, 0.06)
    for x, top, half, tone in ((0.5, 0.12, 0.42, -0.3), (0.12, 0.2, 0.36, -0.5), (0.88, 0.24, 0.36, -0.5)):
        x = x + shift
        _fill(canvas, [(x - half, 0.84), (x, top), (x + half, 0.84)], _shade(ground, tone))
        cap = 0.2 / (0.84 - top)
        edge = [(x + cap * half, top + 0.2), (x + 0.04, top + 0.15), (x, top + 0.2), (x - 0.04, top + 0.15)]
        _fill(canvas, [(x, top), *edge, (x - cap * half, top + 0.2)], _shade(sky, 0.85))
    _hill(canvas, 0.84, 0.02, 1, shift, _shade(ground, 0.15))


def _city(canvas: np.ndarray, sky: tuple, ground: tuple, rng: np.random.Generator) -> None:
    """A row of towers with lit windows above a street with a dashed line."""
    heights = np.roll([0.72, 0.45, 0.62, 0.34], rng.integers(4))
    for index, height in enumerate(heights):
        left, right, top = 0.25 * index + 0.012, 0.25 * index + 0.238, 0.86 - height
        tower = [(left, 0.86), (left, top), (right, top), (right, 0.86)]
        _fill(canvas, tower, _shade(ground, -0.4 - 0.2 * (index % 2)))
        for y in np.arange(top + 0.05, 0.75, 0.14):
            for x in (left + 0.035, left + 0.127):
                _fill(
                    canvas, [(x, y), (x + 0.064, y), (x + 0.064, y + 0.08), (x, y + 0.08)], _shade(sky, 0.7)
                )
    _hill(canvas, 0.86, 0.0, 1, 0, _shade(ground, 0.2))
    for x in (0.055, 0.305, 0.555, 0.805):
        _fill(canvas, [(x, 0.91), (x + 0.14, 0.91), (x + 0.14, 0.945), (x, 0.945)], (255, 255, 255))


def _forest(canvas: np.ndarray, sky: tuple, ground: tuple, rng: np.random.Generator) -> None:
    """Two rows of firs."""
    shift = rng.uniform(-0.06, 0.06)
    _hill(canvas, 0.78, 0.0, 1, 0, _shade(ground, 0.25))
    far = [(x, 0.82, 0.55, -0.2) for x in (0.0, 0.25, 0.5, 0.75, 1.0)]
    near = [(x, 0.95, 0.85, -0.55) for x in (0.12, 0.88)] + [(0.4, 0.9, 0.62, -0.4), (0.62, 0.9, 0.7, -0.4)]
    for x, foot, height, tone in far + near:
        x, half = x + shift, 0.24 * height
        trunk = [(x - 0.025, foot), (x - 0.025, foot - 0.15), (x + 0.025, foot - 0.15), (x + 0.025, foot)]
        _fill(canvas, trunk, _shade(ground, -0.8))
        for tier in range(3):
            base, top = foot - (0.1 + 0.26 * tier) * height, foot - (0.48 + 0.26 * tier) * height
            wide = half * (1 - 0.26 * tier)
            _fill(canvas, [(x - wide, base), (x, top), (x + wide, base)], _shade(ground, tone))


def _desert(canvas: np.ndarray, sky: tuple, ground: tuple, rng: np.random.Generator) -> None:
    """Three dunes and two cacti."""
    phase = rng.uniform(0, 1)
    _hill(canvas, 0.62, 0.2, 1.0, phase, _shade(ground, 0.35))
    _hill(canvas, 0.76, 0.18, 1.3, phase + 0.4, _shade(ground, 0.05))
    for x, foot in ((0.14, 0.88), (0.86, 0.84)):
        limbs = (
            ((0, 0), (0, -0.48)),
            ((-0.09, -0.2), (0.09, -0.16)),
            ((-0.09, -0.2), (-0.09, -0.36)),
            ((0.09, -0.16), (0.09, -0.3)),
        )
        for limb in limbs:
            start, stop = (tuple(int(_CANVAS * value) for value in (x + dx, foot + dy)) for dx, dy in limb)
            cv2.line(canvas, start, stop, _shade(ground, -0.65), 15, cv2.LINE_AA)
    _hill(canvas, 0.95, 0.16, 1.0, phase + 0.75, _shade(ground, -0.2))


def _space(canvas: np.ndarray, sky: tuple, ground: tuple, rng: np.random.Generator) -> None:
    """Stars, a ringed planet and a horizon with craters."""
    canvas[:] = _shade(sky, -0.55)
    shift, side = rng.uniform(-0.04, 0.04), 0.2 + 0.6 * rng.integers(2)
    for x, y in _STARS:
        _disc(canvas, x + shift, y, 0.02, (255, 255, 255))
    _disc(canvas, side, 0.2, 0.13, _shade(ground, 0.1))
    centre = (round(side * _CANVAS), round(0.2 * _CANVAS))
    axes = (round(0.2 * _CANVAS), round(0.05 * _CANVAS))
    cv2.ellipse(canvas, centre, axes, -20, 0, 360, _shade(ground, 0.7), 7, cv2.LINE_AA)
    _disc(canvas, 0.5, 1.68, 0.9, _shade(ground, -0.1))
    for x, y, radius in ((0.2, 0.93, 0.05), (0.5, 0.87, 0.06), (0.78, 0.92, 0.045)):
        _disc(canvas, x + shift, y, radius, _shade(ground, -0.45))


_STARS = (
    (0.08, 0.45),
    (0.15, 0.68),
    (0.28, 0.56),
    (0.3, 0.36),
    (0.42, 0.08),
    (0.45, 0.7),
    (0.5, 0.25),
    (0.58, 0.48),
    (0.64, 0.64),
    (0.72, 0.42),
    (0.6, 0.1),
    (0.86, 0.54),
    (0.92, 0.7),
    (0.94, 0.4),
)
_PAINTERS = {
    "beach": _beach,
    "mountains": _mountains,
    "city": _city,
    "forest": _forest,
    "desert": _desert,
    "space": _space,
}
