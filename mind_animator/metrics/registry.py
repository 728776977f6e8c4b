"""All metrics: those of this package, and those in files that a user names."""

import importlib
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType

from mind_animator.config.models import ModelsConfig
from mind_animator.errors import InputError
from mind_animator.metrics.base import Metric, Network

_added: dict[Path, tuple[type[Metric], ...]] = {}  # metrics of users' files, by file


def open_metrics(names: Iterable[str] = ("standard",), n_ways: Sequence[int] = (2, 50)) -> list[Metric]:
    """Metrics in the order of tables.

    Parameters
    ----------
    names : iterable of str
        ``standard``, ``all``, a metric's name, the name of its module (all its variants), or the path of a Python
        file (``*.py``), whose metrics are added. A file is loaded once per process.
    n_ways : sequence of int
        Numbers of candidates of the n-way accuracies.

    Raises
    ------
    InputError
        If a name is unknown, or a file does not define a metric.
    """
    chosen: dict[str, Metric] = {}
    for name in names:
        for metric in _select(str(name), n_ways):
            chosen.setdefault(metric.name, metric)
    return sorted(chosen.values(), key=lambda metric: metric.order)


def find_metric(name: str) -> Metric:
    """The metric of this name, n-way accuracies of any n and metrics of decoded features included.

    Raises
    ------
    InputError
        If there is none.
    """
    for kind in _kinds():
        if (metric := kind.named(name)) is not None:
            return metric
    raise InputError(
        f"Expected the name of a metric, got '{name}'. A metric of your own file is known once scoring.metrics "
        "names the file."
    )


def networks_of(metrics: Iterable[Metric]) -> dict[str, Network]:
    """Networks that metrics need, by their names."""
    return {network.name: network for metric in metrics for network in metric.networks}


def check_models(models: ModelsConfig, others: Iterable[str] = ()) -> None:
    """Raise an `InputError` if ``config.models`` has a key that neither a model, a network of a metric, nor
    ``others`` has."""
    known = {*others, *(network.model for network in networks_of(open_metrics(["all"])).values())}
    known |= {network.model for kinds in _added.values() for kind in kinds for network in kind().networks}
    unknown = sorted(set(models.model_extra or {}) - known)
    if unknown:
        expected = sorted({*type(models).model_fields, *known})
        raise InputError(f"config.models.{unknown[0]}: is not a known key, one of {expected}.")


def metric_file(metric: Metric) -> Path:
    """The file that defines a metric."""
    return Path(inspect.getfile(type(metric))).resolve()


def _select(name: str, n_ways: Sequence[int]) -> list[Metric]:
    if name.endswith(".py"):
        return [metric for kind in _load(Path(name).resolve()) for metric in kind.variants(n_ways)]
    if name in ("standard", "all"):
        kinds = [kind for kind in _own_kinds() if kind.standard or name == "all"]
    else:
        kinds = [kind for kind in _own_kinds() if _module(kind) == name]
    found = [metric for kind in kinds for metric in kind.variants(n_ways)]
    if not found and (metric := next(filter(None, (kind.named(name) for kind in _own_kinds())), None)):
        found = [metric] if metric.variants(n_ways) else []
    if not found:
        known = sorted({_module(kind) for kind in _own_kinds() if kind.variants(n_ways)})
        raise InputError(
            f"config.scoring.metrics = '{name}': must be 'standard', 'all', a Python file (*.py) or one of {known}."
        )
    return found


def _module(kind: type[Metric]) -> str:
    return kind.__module__.rpartition(".")[2]


def _kinds() -> tuple[type[Metric], ...]:
    return _own_kinds() + tuple(kind for kinds in _added.values() for kind in kinds)


@cache
def _own_kinds() -> tuple[type[Metric], ...]:
    package = importlib.import_module("mind_animator.metrics")
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    return tuple(
        kind for name in names for kind in _defined(importlib.import_module(f"{package.__name__}.{name}"))
    )


def _defined(module: ModuleType) -> tuple[type[Metric], ...]:
    """Metrics that a module defines itself."""
    return tuple(
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, Metric)
        and not inspect.isabstract(value)
        and value.__module__ == module.__name__
        and not value.__name__.startswith("_")
    )


def _load(path: Path) -> tuple[type[Metric], ...]:
    if path in _added:
        return _added[path]
    if not path.is_file():
        raise InputError(f"scoring.metrics: expected a Python file at {path}, found none.")
    spec = importlib.util.spec_from_file_location(f"metrics_of_{path.stem}_{len(_added)}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(
            f"scoring.metrics: expected a Python file that can be imported at {path}, got {type(error).__name__}: "
            f"{error}."
        ) from error
    kinds = _defined(module)
    if not kinds:
        raise InputError(f"scoring.metrics: expected a subclass of Metric in {path}, found none.")
    taken = {metric.name for kind in _kinds() for metric in kind.variants((2, 50))}
    for kind in kinds:
        missing = [name for name in ("name", "label") if not getattr(kind, name, "")]
        if missing:
            raise InputError(f"{path}: expected class {kind.__name__} to define '{missing[0]}', found none.")
        if kind.name in taken:
            raise InputError(f"{path}: expected a new name of a metric, got '{kind.name}', which is taken.")
    _added[path] = kinds
    return kinds
