"""One fit, from a request to a tuned network: probe, split, frozen part, training, and what is kept of it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.utils.class_weight import compute_class_weight

from featx import finetuning
from featx._version import __version__
from featx.backbone_features import BackboneFeatures
from featx.errors import (
    ConversionError,
    FeatxWarning,
    GraphError,
    ParameterError,
)
from featx.evaluation.leaks import content_groups
from featx.evaluation.units import join_units
from featx.finetuning.choosing import Choice, Labelled, choose, fit_probe
from featx.finetuning.computing import computing, torch_device
from featx.finetuning.course import Course, EpochRecord, Task
from featx.finetuning.describing import card_of
from featx.finetuning.linear_head import LinearHead, StandardHead
from featx.finetuning.preparing import materials, plan_of, validation_part
from featx.finetuning.request import Request
from featx.finetuning.schedule import weight_groups
from featx.finetuning.splitting import Split, split_backbone
from featx.finetuning.tuned import TunedNetwork
from featx.store.digest import Keys, digest_array, digest_json
from featx.store.locate import default_cache_folder

if TYPE_CHECKING:
    import torch

__all__ = ["Fitted", "fit_request"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fitted:
    """What a fit gives.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
    head : LinearHead
        On vectors of what was kept.
    tuned : TunedNetwork
        The network as it was, where that was kept.
    history : tuple of EpochRecord
    best_epoch : int
        0 where the frozen network was kept.
    choice : Choice
    n_trained, n_frozen : int
        Numbers in weights.
    """

    classes: NDArray[Any]
    head: LinearHead
    tuned: TunedNetwork
    history: tuple[EpochRecord, ...]
    best_epoch: int
    choice: Choice
    n_trained: int
    n_frozen: int


def fit_request(
    request: Request, samples: Sequence[Any], labels: NDArray[Any], groups: NDArray[np.intp] | None
) -> Fitted:
    """Fit.

    Parameters
    ----------
    request : Request
        Its features are fitted.
    samples : sequence of n
    labels : ndarray, shape (n,)
    groups : ndarray of int, shape (n,), or None

    Raises
    ------
    MissingExtraError, ParameterError, DatasetError, GraphError, SampleError, BackboneError, DeviceError, OutputError
        As :meth:`featx.FineTuneClassifier.fit`.
    """
    finetuning.GraphModule  # noqa: B018  # says how to install torch, before any work
    device = torch_device(request.device)
    features = request.features
    split = _split(request)
    extraction = features.extract(samples)
    classes, codes = np.unique(labels, return_inverse=True)
    seed = request.course.seed
    units = _units(extraction.keys, groups)
    training, validation = validation_part(labels, units, request.validation_fraction, seed=seed)
    weights = compute_class_weight(request.class_weight, classes=classes, y=labels[training])
    frozen = extraction.vectors
    probe = fit_probe(frozen[training], labels[training], request.class_weight)
    start = probe if request.warm_start_head else StandardHead.of_nothing(frozen[training], len(classes))
    verbose = request.tell is not None
    read, judged = materials(
        features,
        samples,
        split,
        extraction.keys,
        augment=request.augment,
        seed=seed,
        validation=validation,
        verbose=verbose,
    )
    from featx.finetuning.checkpoints import Checkpoints
    from featx.finetuning.graph_module import GraphModule
    from featx.finetuning.loop import has_bfloat16, run

    bfloat16 = request.precision == "bfloat16" or (request.precision == "auto" and has_bfloat16(device))
    course = replace(request.course, bfloat16=bfloat16)
    checkpoints = Checkpoints(
        _checkpoint_root(request.checkpoints),
        _run_id(request, course, split, extraction.keys, codes, training, weights, device),
        required=request.checkpoints != "default",
    )
    module = GraphModule.of(split).to(device)
    task = Task(
        module=module,
        start=start,
        groups=weight_groups(split, request.layer_decay),
        material=read,
        validation_material=judged,
        batching=plan_of(features).batching,
        fixed_batch=split.backbone.info.fixed_batch,
        codes=codes.astype(np.int64),
        training=training,
        validation=validation,
        class_weights=np.asarray(weights, dtype=np.float64),
    )
    tell = request.tell or (lambda found: None)
    with computing(device):
        outcome = run(task, course, checkpoints, tell=tell, verbose=verbose)
    arrays = module.arrays() if outcome.best_epoch else None

    def network(arrays: dict[str, NDArray[Any]] | None, card: dict[str, Any]) -> TunedNetwork:
        return TunedNetwork(
            split,
            request.boundary,
            arrays,
            name=f"{split.backbone.name}-tuned",
            card=card,
            tuned_on=extraction.keys,
        )

    known = Labelled(
        labels=labels,
        codes=task.codes,
        training=training,
        validation=validation,
        units=units,
        class_weight=request.class_weight,
        class_weights=task.class_weights,
    )
    head, choice = choose(
        frozen,
        None if arrays is None else _vectors(features, network(arrays, {}), samples),
        probe.folded(),
        outcome.head.folded(),
        known,
        refit=request.refit_head,
    )
    tell(choice)
    best_epoch = outcome.best_epoch if choice.network == "tuned" else 0
    card = {"tuning": card_of(request, course, labels, units, choice, best_epoch, len(outcome.history) - 1)}
    return Fitted(
        classes=classes,
        head=head,
        tuned=network(arrays if best_epoch else None, card),
        history=outcome.history,
        best_epoch=best_epoch,
        choice=choice,
        n_trained=split.n_trainable,
        n_frozen=split.n_frozen,
    )


def _split(request: Request) -> Split:
    features = request.features
    try:
        return split_backbone(features.backbone_, features.spaces_[0], request.boundary)
    except ParameterError as error:
        given = request.freeze_until
        reason = str(error).removeprefix(f"boundary {given!r}: ")
        if isinstance(given, int | float):
            reason = f"at most {1 - given:.3g} of the weights are to be trained. {reason}"
        raise ParameterError(f"freeze_until={given!r}: {reason}") from error


def _units(keys: Keys, groups: NDArray[np.intp] | None) -> NDArray[np.intp]:
    """What belongs together: groups, joined by the copies that they share."""
    given = [each for each in (groups, content_groups(keys)) if each is not None]
    return join_units(len(keys), given, np.empty((0, 2), dtype=np.intp))


def _vectors(
    features: BackboneFeatures, tuned: TunedNetwork, samples: Sequence[Any]
) -> NDArray[np.float32] | None:
    """Vectors (n, d) by the tuned network, on ONNX Runtime as predictions are; None where it cannot be run."""
    try:
        backbone = tuned.backbone()
    except (ConversionError, GraphError) as error:
        warnings.warn(
            "the tuned network cannot be written as it was trained, so the frozen one is kept. Lower the learning rate. "
            f"({error})",
            FeatxWarning,
            stacklevel=4,
        )
        return None
    found: NDArray[np.float32] = clone(features).set_params(backbone=backbone).fit(None).transform(samples)
    return found


def _checkpoint_root(checkpoints: str | os.PathLike[str] | None) -> Path | None:
    if checkpoints is None:
        return None
    if isinstance(checkpoints, str) and checkpoints == "default":
        cache = Path(os.path.abspath(default_cache_folder()))
        return cache.with_name(f"{cache.name}-finetuning")
    return Path(checkpoints).expanduser()


def _run_id(
    request: Request,
    course: Course,
    split: Split,
    keys: Keys,
    codes: NDArray[np.intp],
    training: NDArray[np.intp],
    class_weights: NDArray[np.float64],
    device: torch.device,
) -> str:
    """Digest of everything that decides a run; where it differs, the state of another run means nothing."""
    return digest_json(
        {
            "versions": [__version__, version("torch")],
            "space": split.space.to_dict(),
            "boundary": [one.tensor for one in split.boundary],
            "trained": list(split.trainable),
            "samples": digest_array(np.ascontiguousarray(keys)).hex(),
            "labels": digest_array(codes.astype(np.int64)).hex(),
            "training": digest_array(training.astype(np.int64)).hex(),
            "course": asdict(course),
            # In numbers: under other labels a dict's keys mean other classes.
            "class_weights": digest_array(np.ascontiguousarray(class_weights, dtype=np.float64)).hex(),
            "class_weight": str(request.class_weight),
            "layer_decay": request.layer_decay,
            "warm_start_head": request.warm_start_head,
            "augment": None if request.augment is None else asdict(request.augment),
            "device": device.type,
        }
    )
