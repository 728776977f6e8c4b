"""The training loop of all decoders: data on the device, early stopping, and checkpoints."""

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mind_animator.config.decoders import OptimisationConfig, ValidationConfig
from mind_animator.decoders.checkpoint import Checkpoint, Content
from mind_animator.decoders.roofline import roofline_seconds
from mind_animator.device import matrix_precision
from mind_animator.errors import InputError

# (network, batch, generator or None in validation, epoch) -> mean loss of the batch.
Loss = Callable[[nn.Module, dict[str, Tensor], torch.Generator | None, int], Tensor]


def fit(
    network: nn.Module,
    loss: Loss,
    data: Mapping[str, Tensor],
    rows: Sequence[int] | np.ndarray,
    validation_rows: Sequence[int] | np.ndarray,
    settings: OptimisationConfig,
    *,
    seed: int,
    device: str = "cpu",
    noam_width: int = 512,
    checkpoint: Checkpoint | None = None,
    logs: Path | None = None,
) -> list[dict[str, float | None]]:
    """Train a network in place; it ends with its best (or last) weights.

    All random numbers (order of clips, dropout, masks) come from a generator seeded by ``seed`` and the epoch,
    whose position is stored in the checkpoint: a run that is killed after any step and resumed gives bit-identical
    weights on the same device and number of threads.

    Parameters
    ----------
    network : Module
        With its initial weights.
    loss : callable
        Mean loss of a batch; receives a generator, or None in validation.
    data : mapping of name to Tensor, first axis = clip
        Moved to the device once.
    rows, validation_rows : sequences of int
        Clips to fit, and clips for early stopping.
    seed : int
    noam_width : int
        Width in the ``noam`` schedule.
    checkpoint : Checkpoint, optional
        Notified after every optimiser step; if it holds a stored step ``fit``, training resumes from it.
    logs : Path, optional
        Folder of TensorBoard event files.

    Returns
    -------
    list of dict, one per epoch (0: before training)
        ``epoch, train_loss, validation_loss, learning_rate, seconds, roofline_fraction`` (`roofline_seconds`
        of the steps divided by the seconds taken).

    Raises
    ------
    InputError
        If the loss is not finite.
    """
    network.to(device)
    data = {name: tensor.to(device) for name, tensor in data.items()}
    rows, validation_rows = (torch.as_tensor(np.asarray(r), device=device) for r in (rows, validation_rows))
    trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
    parameters = list(trained.values())
    kind = torch.optim.AdamW if settings.optimiser == "adamw" else torch.optim.Adam
    decay = settings.weight_decay if settings.optimiser == "adamw" else 0.0
    optimiser = kind(
        parameters, settings.learning_rate, settings.betas, settings.epsilon, weight_decay=decay, fused=True
    )
    autocast = {"device_type": torch.device(device).type, "dtype": torch.bfloat16}
    precision = settings.precision
    if precision == "auto":
        precision = "float32" if autocast["device_type"] == "cpu" else "tf32"
    autocast["enabled"] = precision == "bfloat16"
    steps = math.ceil(len(rows) / settings.batch)
    checkpoint = checkpoint or Checkpoint()
    history, best, inside = _resume(checkpoint, trained, optimiser)
    roofline, reported = None, -math.inf
    writer = _writer(logs, purge_step=len(history))
    forked = torch.random.fork_rng(devices=range(torch.cuda.device_count()) if device != "cpu" else ())
    with forked, matrix_precision(precision):
        for epoch in range(len(history), settings.epochs + 1):
            if _is_over(history, settings):
                break
            started, done = time.monotonic(), 0
            torch.manual_seed(_epoch_seed(seed, epoch))  # dropout; restored on leaving fork_rng
            rng = torch.Generator(device).manual_seed(_epoch_seed(seed, epoch))
            network.train()
            total = torch.zeros((), device=device)
            order = rows[torch.randperm(len(rows), generator=rng, device=device)]
            if inside:
                done, started = inside["step"], started - inside["seconds"]
                total.copy_(inside["total"])
                _restore_generators(rng, inside, device)
                inside = None
            batches = order.tensor_split(steps) if epoch else ()
            if batches and roofline is None:
                batch = {name: tensor[batches[0]] for name, tensor in data.items()}
                forward = partial(loss, network, batch, None, epoch)
                roofline = roofline_seconds(network, forward, device, autocast)
            for step, chosen in enumerate(batches):
                if step < done:
                    continue
                rate = _learning_rate(settings, epoch, step, steps, noam_width)
                for group in optimiser.param_groups:
                    group["lr"] = rate
                batch = {name: tensor[chosen] for name, tensor in data.items()}
                optimiser.zero_grad(set_to_none=True)
                with torch.autocast(**autocast):
                    value = loss(network, batch, rng, epoch)
                value.backward()
                if settings.l1:
                    reached = [p for p in parameters if p.grad is not None]
                    signs = torch._foreach_sign([p.detach() for p in reached])
                    torch._foreach_add_([p.grad for p in reached], signs, alpha=l1_weight(settings, epoch))
                if settings.clip_gradient:
                    nn.utils.clip_grad_norm_(parameters, settings.clip_gradient)
                optimiser.step()
                total += value.detach() * (len(chosen) / len(rows))
                position = partial(_inside, rng, total, step + 1, started)
                checkpoint.save("fit", partial(_content, trained, optimiser, best, history, position))
            held_out = evaluate(network, loss, data, validation_rows, settings.batch, epoch, autocast)
            # the only synchronisation of the epoch
            train_loss, validation_loss = torch.stack([total, held_out]).tolist()
            if not math.isfinite(train_loss + validation_loss):
                raise InputError(
                    f"Expected a finite loss, got {train_loss} (training) and {validation_loss} (validation) "
                    f"at epoch {epoch}; is the learning rate of {settings.learning_rate} too high?"
                )
            seconds = time.monotonic() - started
            rate = settings.learning_rate
            if epoch:  # of its last step, which may have been run before a resume
                rate = _learning_rate(settings, epoch, steps - 1, steps, noam_width)
            row = {
                "epoch": epoch,
                "train_loss": train_loss if epoch else None,
                "validation_loss": validation_loss,
                "learning_rate": rate,
                "seconds": seconds,
                "roofline_fraction": steps * roofline / seconds if roofline else None,
            }
            if validation_loss < min((r["validation_loss"] for r in history), default=math.inf):
                best = {name: p.detach().clone() for name, p in trained.items()}
            history.append(row)
            for name, scalar in row.items():
                if writer and name != "epoch" and scalar is not None:
                    writer.add_scalar(name, scalar, epoch)
            checkpoint.save("fit", partial(_content, trained, optimiser, best, history))
            if time.monotonic() - reported >= 5 or epoch == settings.epochs:
                reported = time.monotonic()
                print(
                    f"epoch {epoch}/{settings.epochs}: validation loss {validation_loss:.5g}, {seconds:.2f} "
                    f"s per epoch, at most {(settings.epochs - epoch) * seconds:.0f} s left",
                    file=sys.stderr,
                )
    if writer:
        writer.close()
    if settings.keep == "best":
        _set(trained, best)
    network.eval()
    return history


@torch.no_grad()
def evaluate(
    network: nn.Module,
    loss: Loss,
    data: Mapping[str, Tensor],
    rows: Tensor,
    batch: int,
    epoch: int,
    autocast: dict[str, Any],
) -> Tensor:
    """Mean loss over rows, without dropout or other randomness; a scalar tensor on the device."""
    network.eval()
    total = torch.zeros((), device=rows.device)
    for chosen in rows.tensor_split(math.ceil(len(rows) / batch)):
        with torch.autocast(**autocast):
            value = loss(network, {name: tensor[chosen] for name, tensor in data.items()}, None, epoch)
        total += value * (len(chosen) / len(rows))
    return total


def split_clips(
    movies: Sequence[str], settings: ValidationConfig, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows to fit, and rows for early stopping.

    Parameters
    ----------
    movies : sequence of str
        The movie of each clip.

    Returns
    -------
    fit, validation : ndarray of int, ascending

    Raises
    ------
    InputError
        If whole movies are to be held out and there are fewer than two.
    """
    movies = np.asarray(movies)
    if settings.how == "tail":
        held_out = np.zeros(len(movies), bool)
        held_out[len(movies) - max(1, round(settings.fraction * len(movies))) :] = True
    else:
        names = np.unique(movies)
        if len(names) < 2:
            raise InputError(
                f"Expected at least 2 training movies, one of them for early stopping, got {len(names)} "
                f"({len(movies)} clips); 'validation: {{how: tail}}' splits inside a movie."
            )
        count = min(len(names) - 1, max(1, round(settings.fraction * len(names))))
        chosen = np.random.default_rng([seed, 0]).choice(names, count, replace=False)
        held_out = np.isin(movies, chosen)
    if held_out.all():
        raise InputError(
            f"Expected clips to fit in addition to those for early stopping, got {len(movies)} in all."
        )
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def l1_weight(settings: OptimisationConfig, epoch: int) -> float:
    """Weight of the L1 penalty in an epoch (from 1)."""
    compounded = math.exp(-settings.l1_compounding * epoch * (epoch - 1) / 2)
    return settings.l1 * settings.l1_decay ** (epoch - 1) * compounded


def _learning_rate(settings: OptimisationConfig, epoch: int, step: int, steps: int, width: int) -> float:
    """Rate of a step (from 0) in an epoch (from 1)."""
    done = (epoch - 1) * steps + step
    if settings.schedule == "noam":
        return width**-0.5 * min((done + 1) ** -0.5, (done + 1) * settings.warm_up**-1.5)
    if settings.schedule == "cosine":
        rise = min(1.0, (done + 1) / settings.warm_up)
        return (
            rise * settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done / (settings.epochs * steps)))
        )
    decay = settings.decay if settings.schedule == "exponential" else 1.0
    return settings.learning_rate * decay ** (epoch - 1)


def _is_over(history: list[dict[str, float | None]], settings: OptimisationConfig) -> bool:
    if settings.patience is None or not history:
        return False
    losses = [row["validation_loss"] for row in history]
    return len(losses) - 1 - losses.index(min(losses)) >= settings.patience


def _epoch_seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> 1)


def _writer(logs: Path | None, purge_step: int) -> Any:
    if logs is None:
        return None
    from torch.utils.tensorboard import SummaryWriter  # two seconds of imports

    return SummaryWriter(str(logs), purge_step=purge_step)


def _content(
    trained: Mapping[str, Tensor],
    optimiser: torch.optim.Optimizer,
    best: Mapping[str, Tensor],
    history: list[dict[str, float | None]],
    inside: Callable[[], Content] = lambda: ({}, None),
) -> Content:
    """State of a training, after an epoch or inside one."""
    tensors = {f"network/{name}": tensor for name, tensor in trained.items()}
    tensors |= {f"best/{name}": tensor for name, tensor in best.items()}
    for index, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser/{index}/{name}": tensor for name, tensor in moments.items()}
    more, values = inside()
    tensors |= {f"inside/{name}": tensor for name, tensor in more.items()}
    return tensors, {"history": history, "inside": values}


def _inside(rng: torch.Generator, total: Tensor, step: int, started: float) -> Content:
    """Position inside an epoch after a step: sum of losses, states of the generators, seconds taken."""
    tensors = {"total": total, "rng": rng.get_state(), "random": torch.get_rng_state()}
    if total.is_cuda:
        tensors["random_cuda"] = torch.cuda.get_rng_state(total.device)
    return tensors, {"step": step, "seconds": time.monotonic() - started}


def _restore_generators(rng: torch.Generator, inside: Mapping[str, Any], device: str) -> None:
    rng.set_state(inside["rng"].cpu())
    torch.set_rng_state(inside["random"].cpu())
    if "random_cuda" in inside:
        torch.cuda.set_rng_state(inside["random_cuda"].cpu(), device)


def _set(trained: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, tensor in trained.items():
            tensor.copy_(values[name])


def _resume(checkpoint: Checkpoint, trained: Mapping[str, Tensor], optimiser: torch.optim.Optimizer):
    """Load a stored training: its history, best weights, and position inside the next epoch, if any."""
    stored = checkpoint.read("fit")
    if stored is None:
        return [], {}, None
    tensors, values = stored
    parts: dict[str, dict[str, Tensor]] = {"network": {}, "best": {}, "optimiser": {}, "inside": {}}
    for key, tensor in tensors.items():
        part, name = key.split("/", 1)
        parts[part][name] = tensor
    _set(trained, parts["network"])
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in parts["optimiser"].items():
        index, key = name.split("/")
        moments.setdefault(int(index), {})[key] = tensor
    optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})
    history, inside = values["history"], values["inside"]
    more = f" and step {inside['step']} of the next" if inside else ""
    print(f"Resuming after epoch {len(history) - 1}{more} from {checkpoint.folder}.", file=sys.stderr)
    return history, parts["best"], inside and {**parts["inside"], **inside}
