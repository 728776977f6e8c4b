"""The linear baseline of the preset ``ridge_residual``: ridge regression to principal components of each
target."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mind_animator.config.decoders import LinearConfig
from mind_animator.decoders.checkpoint import Checkpoint
from mind_animator.decoders.ridge import (
    Basis,
    Kernel,
    RidgeFit,
    Search,
    decompose,
    principal_components,
    search_penalties,
    solve,
)
from mind_animator.errors import InputError


class LinearBaseline(nn.Module):
    """Fixed linear map from the voxels of each subject to principal components of named targets.

    Parameters
    ----------
    voxels : sequence of int, one per subject
    sizes : mapping of target to (components, width)
    n_input_components : int
        Leading components of each target that a network receives as input.
    """

    def __init__(
        self, voxels: Sequence[int], sizes: Mapping[str, tuple[int, int]], n_input_components: int
    ) -> None:
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
        used = [range(s, s + min(c, n_input_components)) for s, c in zip(starts, self.counts, strict=True)]
        self.input_index = [index for own in used for index in own]

    def pcs(self, responses: Tensor, subject: int) -> Tensor:
        """Decoded principal component scores (clip, component of all targets) of responses (clip, voxel)."""
        return responses @ getattr(self, f"weights_{subject}") + getattr(self, f"intercept_{subject}")

    def inputs(self, pcs: Tensor) -> Tensor:
        """The scores that a network receives, each of about unit variance."""
        return (pcs / self.scale)[:, self.input_index]

    def target(self, pcs: Tensor, name: str) -> Tensor:
        """One target (clip, width) from the scores (clip, component of all targets)."""
        own = pcs.split(self.counts, dim=1)[self.names.index(name)]
        return getattr(self, f"mean_{name}") + own @ getattr(self, f"components_{name}")


def fit_linear_baseline(
    responses: Sequence[Tensor],
    targets: Mapping[str, Tensor],
    movies: Sequence[str],
    settings: LinearConfig,
    checkpoint: Checkpoint,
) -> tuple[LinearBaseline, list[Tensor]]:
    """Fit the linear baseline of every subject; each step is cached in the checkpoint.

    Parameters
    ----------
    responses : sequence of Tensor of shape (clip, voxel), one per subject
    targets : mapping of name to Tensor of shape (clip, width)
    movies : sequence of str of length clip

    Returns
    -------
    linear_baseline : LinearBaseline
    out_of_fold : list of Tensor of shape (clip, component), one per subject
        Scores of each clip predicted without its movie.

    Raises
    ------
    InputError
        If the clips come from fewer than two movies.
    """
    if len(set(movies)) < 2:
        raise InputError(
            f"Expected at least 2 training movies for the linear baseline, got {len(set(movies))}."
        )
    bases = {
        name: Basis(
            **checkpoint.cached(
                f"basis-{name}",
                lambda target=target: vars(principal_components(target, settings.n_components)),
            )
        )
        for name, target in targets.items()
    }
    sizes = {name: tuple(basis.components.shape) for name, basis in bases.items()}
    linear_baseline = LinearBaseline([r.shape[1] for r in responses], sizes, settings.n_input_components)
    pcs = torch.cat([basis.project(targets[name]) for name, basis in bases.items()], dim=1)
    out_of_fold = []
    for subject, own in enumerate(responses):
        fitted = _fit_ridge(own, pcs, movies, settings.alphas, checkpoint, subject)
        getattr(linear_baseline, f"weights_{subject}").copy_(fitted.weights)
        getattr(linear_baseline, f"intercept_{subject}").copy_(fitted.intercept)
        out_of_fold.append(fitted.out_of_fold)
    spread = torch.stack([scores.std(0) for scores in out_of_fold]).mean(0)
    linear_baseline.scale.copy_(spread.clamp(min=1e-6 * float(spread.max())))
    for name, basis in bases.items():
        getattr(linear_baseline, f"mean_{name}").copy_(basis.mean)
        getattr(linear_baseline, f"components_{name}").copy_(basis.components)
    return linear_baseline, out_of_fold


def _fit_ridge(
    responses: Tensor,
    targets: Tensor,
    movies: Sequence[str],
    alphas: Sequence[float],
    checkpoint: Checkpoint,
    subject: int,
) -> RidgeFit:
    """`ridge_out_of_fold` whose decomposition, search and result are stored in the checkpoint."""
    step, search = f"kernel-{subject}", f"penalties-{subject}"
    if stored := checkpoint.read(f"ridge-{subject}"):
        return RidgeFit(**stored[0])
    kernel = Kernel(**checkpoint.cached(step, lambda: vars(decompose(responses))))
    tensors, tried = checkpoint.read(search) or (None, 0)
    found = Search(**tensors) if tensors else None
    remaining = search_penalties(kernel, targets, movies, alphas[tried:], found)
    for found in remaining:
        tried += 1
        checkpoint.save(search, lambda found=found, tried=tried: (vars(found), tried))
    fitted = solve(kernel, responses, targets, found)
    checkpoint.save(f"ridge-{subject}", lambda: (vars(fitted), None), replaces=(step, search))
    return fitted
