"""What does an epoch of fine-tuning cost, and is a tuned backbone better than the frozen one?

    python benchmarks/finetuning.py --cost [--save]
    python benchmarks/finetuning.py --sets hymenoptera bccd covid ade [--save]

**Cost.** The frozen part is cached, so an epoch should cost what its trained part costs: a forward and a backward pass, which is
about twice a forward, and the optimiser. Held against three times a forward pass of the trained part in torch on the same rows,
in the same batches and arithmetic; at most 1.5 was asked for. Beside it stands what torch's forward and backward pass take by
themselves: what is between the two is featx's, what is above 1 in the second is torch's. Seconds of processor time, as the
machine is shared.

**Quality.** ``FineTuneClassifier`` against a logistic head on the frozen backbone: the same split, the same bootstrap draws, 95 %
intervals over groups where there are any, paired differences. Epoch, head, and whether to leave the frozen network at all, are
chosen on a validation part inside the training part.

Expected before anything was run: on few photographs of things that the backbone knows, nothing or a loss; gains where samples
are many or unlike photographs. Rates, epochs and views of the pictures were settled on folds of the training part of hymenoptera
and on the training and validation parts of COVID-CT; its test part, and everything else here, was looked at with them settled.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import SHARED, filled_skeleton, parser, report

import featx
from featx.errors import FeatxWarning
from featx.finetuning import GraphModule, split_backbone
from featx.finetuning.checkpoints import Checkpoints
from featx.finetuning.course import Course, Task
from featx.finetuning.linear_head import StandardHead
from featx.finetuning.loop import has_bfloat16, run
from featx.finetuning.material import runs_of
from featx.finetuning.preparing import materials, plan_of
from featx.finetuning.schedule import weight_groups

VARIED = {
    "horizontal_flip": True,
    "rotation_range": 15,
    "width_shift_range": 0.1,
    "height_shift_range": 0.1,
    "zoom_range": (0.7, 1.15),
    "brightness_range": (0.7, 1.3),
    "contrast_range": (0.7, 1.3),
}
SETS: dict[str, dict[str, Any]] = {
    "hymenoptera": {
        "data": "hymenoptera_small",
        "backbone": "mobilenet_v2",
        "freeze_until": "stage2",
        "learning_rate": 3e-5,
        "augment": VARIED,
    },
    "hymenoptera-compact": {
        "data": "hymenoptera_small",
        "backbone": "compact",
        "augment": VARIED,
    },
    "bccd": {"data": "bccd_crops", "backbone": "mobilenet_v2", "freeze_until": "stage2"},
    "bccd-compact": {"data": "bccd_crops", "backbone": "compact", "freeze_until": "stage1"},
    "covid": {
        "data": "covid_ct_small",
        "backbone": "mobilenet_v2",
        "epochs": 12,
        "augment": VARIED,
        "validation_fraction": 0.2,
    },
    "covid-by-patient": {
        "data": "covid_ct_small",
        "backbone": "mobilenet_v2",
        "epochs": 12,
        "augment": VARIED,
        "validation_fraction": 0.2,
        "folds": 5,
    },
    "ade": {
        "data": "ade_corpus/ade_corpus.csv",
        "backbone": "minilm",
        "freeze_until": "layer4",
        "epochs": 4,
    },
}
"""ade_corpus has no split: a fifth is held out, articles kept together."""

COSTS = (
    ("mobilenet_v2", "stage3"),
    ("compact", "stage2"),
    ("minilm", "layer4"),
    ("resnet18", "stage3"),
    ("efficientnet_b0", "stage3"),
)
SKELETONS = ("resnet18", "efficientnet_b0")  # seeded random weights: what they cost does not depend on them
FIGURES = ("accuracy", "balanced_accuracy", "roc_auc", "log_loss")
N, BATCH = 128, 32


def reference(name: str) -> str:
    path = SHARED / "weights" / name
    return str(path) if path.is_dir() else name


def samples_of(modality: str, n: int) -> list[Any]:
    """Real pictures, or sentences of the usual length."""
    dataset = featx.read_dataset(
        SHARED / "data" / ("hymenoptera_small" if modality == "image" else "ade_corpus/ade_corpus.csv")
    )
    return list(dataset.samples[:n])


def cost(name: str, boundary: str, rounds: int, folder: Path) -> dict[str, Any]:
    """Processor seconds of an epoch and of a forward pass over the trained part, by arithmetic."""
    backbone = str(filled_skeleton(name, folder)) if name in SKELETONS else reference(name)
    modality = featx.Backbone.open(backbone).info.modality
    kind = featx.ImageFeatures if modality == "image" else featx.TextFeatures
    features = kind(backbone, cache=str(folder / "cache")).fit(None)
    split = split_backbone(features.backbone_, features.spaces_[0], boundary)
    samples = samples_of(modality, N)
    material, _ = materials(
        features,
        samples,
        split,
        features.content_keys(samples),
        augment=None,
        seed=0,
        validation=np.arange(0),
        verbose=False,
    )
    everything = np.arange(len(samples))
    batching = plan_of(features).batching
    order = everything if material.lengths is None else np.argsort(material.lengths, kind="stable")
    batches = [order[at : at + BATCH] for at in range(0, len(order), BATCH)]
    head = StandardHead.of_nothing(features.transform(samples), 2)
    found = {}
    for bfloat16 in (False, True) if has_bfloat16(torch.device("cpu")) else (False,):
        task = Task(
            module=GraphModule.of(split),
            start=head,
            groups=weight_groups(split, 0.8),
            material=material,
            validation_material=material,
            batching=batching,
            fixed_batch=None,
            codes=everything % 2,
            training=everything,
            validation=np.arange(0),
            class_weights=np.ones(2),
        )
        ratios = sorted(_ratios(task, batches, bfloat16, rounds))
        ratio, bare, forward_s = ratios[len(ratios) // 2]
        word = "bfloat16" if bfloat16 else "float32"
        print(
            f"{name} behind {boundary}, {word}: an epoch is {ratio:.2f} x 3 x forward, torch alone {bare:.2f} "
            f"({forward_s:.2f} s a forward pass of {N})",
            flush=True,
        )
        found[word] = {
            "epoch_over_3_forward": ratio,
            "torch_alone_over_3_forward": bare,
            "forward_cpu_s": forward_s,
            "rounds": rounds,
        }
    return found


def _pass(task: Task, batches: list[Any], bfloat16: bool, *, backward: bool) -> None:
    """Torch alone: a forward pass over everything, and with ``backward`` the gradients of every batch."""
    for batch in batches:
        for one in runs_of(task.material.take(batch.tolist(), 1), task.module.input_names, task.batching):
            with torch.set_grad_enabled(backward), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                (vectors,) = task.module(*map(torch.from_numpy, one.inputs))
            if backward:
                vectors.float().sum().backward()
                task.module.zero_grad()


def _epoch(task: Task, bfloat16: bool) -> None:
    course = Course(
        epochs=1,
        batch_size=BATCH,
        learning_rate=1e-5,
        weight_decay=0.01,
        patience=None,
        seed=0,
        bfloat16=bfloat16,
    )
    run(task, course, Checkpoints(None, ""))


def _ratios(
    task: Task, batches: list[Any], bfloat16: bool, rounds: int
) -> Iterator[tuple[float, float, float]]:
    """An epoch and torch's two passes over three forward passes, and a forward pass in processor seconds; the first round is not
    counted."""
    for number in range(rounds + 1):
        began_s = time.process_time()
        _pass(task, batches, bfloat16, backward=False)
        forward_s = time.process_time() - began_s
        _pass(task, batches, bfloat16, backward=True)
        both_s = time.process_time() - began_s - forward_s
        _epoch(task, bfloat16)
        epoch_s = time.process_time() - began_s - forward_s - both_s
        if number:
            yield epoch_s / (3 * forward_s), both_s / (3 * forward_s), forward_s


def quality(name: str, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Figures of frozen and tuned on the held-out parts or folds, their difference, and seconds."""
    settings = {**SETS[name], **chosen}
    backbone = settings.pop("backbone")
    dataset = featx.read_dataset(SHARED / "data" / settings.pop("data"))
    with tempfile.TemporaryDirectory() as cache:
        kind = featx.ImageFeatures if dataset.modality == "image" else featx.TextFeatures
        features = kind(reference(backbone), cache=cache).fit(None)
        began_s = time.perf_counter()
        features.transform(dataset.samples)
        vectors_s = time.perf_counter() - began_s
        tuning = featx.finetune(
            dataset,
            backbone=reference(backbone),
            features={"cache": cache},
            checkpoints=None,
            verbose=True,
            **settings,
        )
        took_s = time.perf_counter() - began_s - vectors_s
    found = tuning.comparison
    rows: dict[str, Any] = {
        "seconds": took_s,
        "frozen_vectors_s": vectors_s,
        "best_epoch": tuning.classifier.best_epoch_,
        "head": tuning.classifier.choice_.head,
    }
    for evaluation in found.evaluations:
        for judgement in evaluation.judgements:
            figures = {figure: judgement.figures[figure] for figure in FIGURES if figure in judgement.figures}
            words = f"{judgement.part} a {judgement.level}"
            rows[f"{evaluation.name}, {words}"] = {k: v.to_dict() for k, v in figures.items()}
            shown = (f"{figure} {value}" for figure, value in figures.items())
            print(f"{name:22} {backbone:13} {evaluation.name:7} {words}", *shown, sep="   ", flush=True)
    gains = {figure: found.difference("tuned", "frozen", figure) for figure in FIGURES}
    print(
        "  tuned - frozen:",
        *(f"{figure} {gain}" for figure, gain in gains.items()),
        f"kept epoch {rows['best_epoch']} of {tuning.classifier.n_iter_}, head {rows['head']}; "
        f"{took_s:.0f} s in all, frozen vectors {vectors_s:.0f} s",
        flush=True,
    )
    return {**rows, "tuned - frozen": {figure: gain.to_dict() for figure, gain in gains.items()}}


def main() -> None:
    arguments = parser(__doc__, rounds=5)
    arguments.add_argument("--cost", action="store_true")
    arguments.add_argument("--sets", nargs="*", default=[], choices=list(SETS))
    arguments.add_argument("--epochs", type=int, help="others than the set's own")
    arguments.add_argument("--folds", type=int, help="others than the set's own")
    given = arguments.parse_args()
    warnings.simplefilter("ignore", FeatxWarning)  # copies in these sets are known
    figures: dict[str, Any] = {}
    if given.cost:
        with tempfile.TemporaryDirectory() as cache:
            for name, boundary in COSTS:
                figures[f"{name} behind {boundary}"] = cost(name, boundary, given.rounds, Path(cache))
    for name in given.sets:
        chosen = {key: getattr(given, key) for key in ("epochs", "folds") if getattr(given, key)}
        figures[name] = quality(name, chosen)
    report(__file__, given, figures)


if __name__ == "__main__":
    main()
