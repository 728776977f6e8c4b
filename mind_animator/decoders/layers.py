"""What the three decoders are built of: a way in for each subject's voxels, residual blocks, the linear
path."""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from mind_animator.config.decoders import DecoderConfig, LinearConfig
from mind_animator.decoders.augment import sparsify, sparsify_accumulated
from mind_animator.decoders.linear import Basis, principal_components, ridge_left_out
from mind_animator.decoders.state import State


class Residual(nn.Module):
    """x + body(x)."""

    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class LinearPath(nn.Module):
    """Voxels of each subject to principal components of named targets, by ridge regression; nothing is
    trained.

    Parameters
    ----------
    voxels : sequence of int, one a subject
    sizes : mapping of target to (components, width)
    leading : int
        Components of each target that feed a network.
    """

    def __init__(self, voxels: Sequence[int], sizes: Mapping[str, tuple[int, int]], leading: int) -> None:
        super().__init__()
        self.sizes = {name: tuple(size) for name, size in sizes.items()}
        self.names = tuple(sizes)
        self.counts = [count for count, _ in self.sizes.values()]
        total = sum(self.counts)
        for subject, count in enumerate(voxels):
            self.register_buffer(f"weights_{subject}", torch.zeros(count, total))
            self.register_buffer(f"intercept_{subject}", torch.zeros(total))
        self.register_buffer("scale", torch.ones(total))
        for name, (count, width) in self.sizes.items():
            self.register_buffer(f"mean_{name}", torch.zeros(width))
            self.register_buffer(f"components_{name}", torch.zeros(count, width))
        starts = [sum(self.counts[:index]) for index in range(len(self.counts))]
        kept = [range(s, s + min(c, leading)) for s, c in zip(starts, self.counts, strict=True)]
        self.leading_index = [index for part in kept for index in part]

    def scores(self, responses: Tensor, subject: int) -> Tensor:
        """(clip, voxel) -> (clip, component of all targets)."""
        return responses @ getattr(self, f"weights_{subject}") + getattr(self, f"intercept_{subject}")

    def leading(self, scores: Tensor) -> Tensor:
        """The scores that a network sees, each of about unit variance."""
        return (scores / self.scale)[:, self.leading_index]

    def target(self, scores: Tensor, name: str) -> Tensor:
        """(clip, component of all targets) -> (clip, width) of one target."""
        own = scores.split(self.counts, dim=1)[self.names.index(name)]
        return getattr(self, f"mean_{name}") + own @ getattr(self, f"components_{name}")


def fit_linear_path(
    responses: Sequence[Tensor],
    targets: Mapping[str, Tensor],
    movies: Sequence[str],
    settings: LinearConfig,
    state: State | None = None,
) -> tuple[LinearPath, list[Tensor]]:
    """Fit the linear path of every subject.

    Parameters
    ----------
    responses : sequence of Tensor of shape (clip, voxel), one a subject
    targets : mapping of name to Tensor of shape (clip, width)
    movies : sequence of str of length clip
    state : State, optional
        Told of every piece of the work.

    Returns
    -------
    path : LinearPath
    left_out : list of Tensor of shape (clip, component), one a subject
        Scores of each clip predicted without its movie.
    """
    state = state or State()
    bases: dict[str, Basis] = {}
    for name, target in targets.items():
        work = partial(principal_components, target, settings.rank)
        bases[name] = Basis(**state.piece(f"basis-{name}", lambda work=work: vars(work())))
    sizes = {name: tuple(basis.components.shape) for name, basis in bases.items()}
    path = LinearPath([r.shape[1] for r in responses], sizes, settings.components)
    goal = torch.cat([basis.scores(targets[name]) for name, basis in bases.items()], dim=1)
    left_out = []
    for subject, own in enumerate(responses):
        fitted = ridge_left_out(own, goal, movies, settings.alphas, state, str(subject))
        getattr(path, f"weights_{subject}").copy_(fitted.weights)
        getattr(path, f"intercept_{subject}").copy_(fitted.intercept)
        left_out.append(fitted.left_out)
    spread = torch.stack([scores.std(0) for scores in left_out]).mean(0)
    path.scale.copy_(spread.clamp(min=1e-6 * float(spread.max())))
    for name, basis in bases.items():
        getattr(path, f"mean_{name}").copy_(basis.mean)
        getattr(path, f"components_{name}").copy_(basis.components)
    return path, left_out


class Decoder(nn.Module):
    """Base of the three decoders: from a subject's responses to the inputs of a network that all subjects
    share.

    With ``settings.linear`` the inputs are the scores of a `LinearPath`; else one linear layer a subject
    leads from its voxels to ``settings.width`` units.
    """

    def __init__(
        self, settings: DecoderConfig, voxels: Sequence[int], sizes: Mapping[str, tuple[int, int]] | None
    ) -> None:
        super().__init__()
        self.settings = settings
        if settings.linear is not None:
            self.path = LinearPath(voxels, sizes or {}, settings.linear.components)
            self.inward = nn.Linear(len(self.path.leading_index), settings.width)
        else:
            self.path = None
            self.entries = nn.ModuleList(nn.Linear(count, settings.width) for count in voxels)

    def inputs(self, responses: Tensor, subject: int = 0) -> Tensor:
        """(clip, voxel) -> (clip, score) or (clip, width)."""
        return self.path.scores(responses, subject) if self.path else self.entries[subject](responses)

    def hidden(self, inputs: Tensor) -> Tensor:
        """First hidden layer, (clip, width), before its norm."""
        return self.inward(self.path.leading(inputs)) if self.path else inputs

    def batch_inputs(self, batch: Mapping[str, Tensor], draw: torch.Generator | None, epoch: int) -> Tensor:
        """Inputs of a training batch, subjects one after another: (subject * clip, ...)."""
        if self.path:
            return torch.cat([batch[f"scores/{s}"] for s in range(_count(batch, "scores/"))])
        thin = self.settings.sparsification
        parts = []
        for subject, entry in enumerate(self.entries):
            responses = batch[f"responses/{subject}"]
            if thin.accumulates and draw is not None:
                responses = sparsify_accumulated(responses, batch[f"lifetimes/{subject}"], thin.share, epoch)
            elif draw is not None:
                responses = sparsify(responses, thin.share, draw)
            parts.append(entry(responses))
        return torch.cat(parts)


def repeat_subjects(target: Tensor, inputs: Tensor) -> Tensor:
    """Targets of a batch once for every subject in its inputs."""
    return target.repeat(len(inputs) // len(target), *[1] * (target.ndim - 1))


def initialise(network: nn.Module, generator: torch.Generator, *, zero: Sequence[nn.Linear] = ()) -> None:
    """Xavier-uniform matrices and zero biases from a generator; layers in ``zero`` start at zero."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in zero:
        nn.init.zeros_(module.weight)


def _count(batch: Mapping[str, Tensor], prefix: str) -> int:
    return sum(name.startswith(prefix) for name in batch)
