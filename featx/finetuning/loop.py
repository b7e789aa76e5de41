"""The training loop: batches through the trained part and a linear head, the best weights kept, the state kept against a kill.

Nothing in it draws at random but the order of batches, which seed and epoch decide, so a run repeats, and goes on after a kill as
if nothing had been. The best epoch is the one of least refined loss on the validation part; whether it is better than the start
is not asked here.
"""

from __future__ import annotations

import contextlib
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featx.errors import FeatxWarning
from featx.finetuning.ahead import ahead
from featx.finetuning.checkpoints import Checkpoints
from featx.finetuning.course import Course, EpochRecord, Outcome, Task
from featx.finetuning.judging import losses, refined_losses
from featx.finetuning.linear_head import StandardHead
from featx.finetuning.material import Material, runs_of
from featx.finetuning.schedule import batch_order, rate_factor
from featx.progress import progress_bar

__all__ = ["has_bfloat16", "run"]

_CLIP_NORM = 1.0
"""Of all gradients together (Pascanu et al. 2013). Steps of a network that was trained long ago are seldom larger."""

_CHECKPOINT_S = 60.0


def has_bfloat16(device: torch.device) -> bool:
    """Whether the hardware computes in bfloat16; where it does not, autocast would be slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16") or found.get("arm_bf16"))


def run(
    task: Task,
    course: Course,
    checkpoints: Checkpoints,
    *,
    tell: Callable[[EpochRecord | str], None] = lambda found: None,
    verbose: bool = False,
) -> Outcome:
    """Train; afterwards the module holds the best weights.

    Parameters
    ----------
    task : Task
    course : Course
    checkpoints : Checkpoints
        Of this very run: a state found there is taken up, and a run that ended there is not done again.
    tell : callable
        Told of every epoch, and of what an earlier run left.
    verbose : bool
        Show the progress of an epoch on a terminal.

    Warns
    -----
    FeatxWarning
        The training diverged; the best weights before that are kept.
    """
    training = _Training(task, course)
    kept = checkpoints.load()
    training.restore(kept)
    if kept is not None and kept["ended"]:
        tell(f"trained by an earlier run, in {training.epoch} epochs:")
        for record in training.history:
            tell(record)
        return training.outcome()
    if kept is not None:
        tell(f"going on where an earlier run was, after epoch {len(training.history) - 1}")
    if not training.history:
        tell(training.assess(loss=None, seconds=0.0))
    while training.goes_on:
        n_done = training.step
        description = f"epoch {training.epoch}/{course.epochs}"
        with progress_bar(training.steps_an_epoch, description, enabled=None if verbose else False) as bar:
            bar.update(n_done)
            loss, seconds = training.pass_through(checkpoints, bar.update)
        if not math.isfinite(loss):
            warnings.warn(
                f"the training diverged in epoch {training.epoch} (its loss is not finite): what was best before is kept. Lower "
                f"the learning rate, {course.learning_rate:g} here.",
                FeatxWarning,
                stacklevel=2,
            )
            checkpoints.remove()
            return training.outcome()
        tell(training.assess(loss=loss, seconds=seconds))
        checkpoints.save(training.state())
    checkpoints.end(training.state(ended=True))
    return training.outcome()


class _Training:
    """The state of a training."""

    def __init__(self, task: Task, course: Course) -> None:
        self.task, self.course = task, course
        self.device = next(task.module.parameters()).device
        start = task.start
        self.linear = torch.nn.Linear(start.weight.shape[1], len(start.bias)).to(self.device)
        with torch.no_grad():
            self.linear.weight.copy_(torch.from_numpy(start.weight))
            self.linear.bias.copy_(torch.from_numpy(start.bias))
        self.mean, self.scale, self.class_weights = (
            torch.from_numpy(values).to(self.device, torch.float32)
            for values in (start.mean, start.scale, task.class_weights)
        )
        self.optimizer = torch.optim.AdamW(self._parameter_groups(), lr=course.learning_rate)
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.factors = [group["factor"] for group in self.optimizer.param_groups]
        self.steps_an_epoch = -(-len(task.training) // course.batch_size)
        self.epoch = 0  # the one that is going on, or ended last
        self.step = 0  # steps of it that are done
        self.sums = [0.0, 0.0, 0.0]  # of it: weighted losses, weights, seconds
        self.history: list[EpochRecord] = []
        self.best_epoch = 0
        self.best: list[Tensor] = self._weights()

    def _parameter_groups(self) -> list[dict[str, Any]]:
        named = dict(self.task.module.named_initialisers())
        decay = self.course.weight_decay
        groups = [
            {
                "params": [named[name] for name in group.names],
                "factor": group.factor,
                "weight_decay": decay if group.decays else 0.0,
            }
            for group in self.task.groups
        ]
        head = [
            {"params": [self.linear.weight], "factor": 1.0, "weight_decay": decay},
            {"params": [self.linear.bias], "factor": 1.0, "weight_decay": 0.0},
        ]
        return groups + head

    # --- the course of things ---

    @property
    def goes_on(self) -> bool:
        """Whether there is an epoch to begin or to end."""
        if self.epoch > len(self.history) - 1:
            return True  # taken up in the middle of it
        patience = self.course.patience
        waited = self.epoch - self.best_epoch
        if self.epoch >= self.course.epochs or (
            patience is not None and self.best_epoch and len(self.task.validation) and waited >= patience
        ):
            return False
        self.epoch, self.step, self.sums = self.epoch + 1, 0, [0.0, 0.0, 0.0]
        return True

    def pass_through(self, checkpoints: Checkpoints, advance: Callable[[int], None]) -> tuple[float, float]:
        """The steps of the epoch that are left; its mean loss and seconds."""
        task, course = self.task, self.course
        order = batch_order(
            task.training,
            course.batch_size,
            seed=course.seed,
            epoch=self.epoch,
            lengths=task.material.lengths,
        )[self.step :]
        began_s = kept_s = time.monotonic()
        took_s = self.sums[2]
        for batch, logits in zip(order, self._forward(task.material, order, self.epoch), strict=True):
            codes = torch.from_numpy(task.codes[batch]).to(self.device)
            weights = self.class_weights[codes]
            losses = torch.nn.functional.cross_entropy(logits, codes, reduction="none")
            loss = (losses * weights).sum() / weights.sum()
            self.optimizer.zero_grad()
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(self.parameters, _CLIP_NORM)
            value = float(loss.detach())
            if not math.isfinite(value) or not bool(torch.isfinite(norm)):
                return math.nan, 0.0
            self._set_rates()
            self.optimizer.step()
            weight = float(weights.sum())
            self.step += 1
            self.sums = [
                self.sums[0] + value * weight,
                self.sums[1] + weight,
                took_s + time.monotonic() - began_s,
            ]
            advance(1)
            if time.monotonic() - kept_s > _CHECKPOINT_S:
                checkpoints.save(self.state())
                kept_s = time.monotonic()
        return self.sums[0] / self.sums[1], self.sums[2]

    def _set_rates(self) -> None:
        done = (self.epoch - 1) * self.steps_an_epoch + self.step
        rate = self.course.learning_rate * rate_factor(done, self.course.epochs * self.steps_an_epoch)
        for group, factor in zip(self.optimizer.param_groups, self.factors, strict=True):
            group["lr"] = rate * factor

    def _forward(
        self, material: Material, batches: Sequence[NDArray[np.intp]], epoch: int
    ) -> Iterator[Tensor]:
        """Logits of every batch, float32 (n, n_classes), made as they are asked for."""
        task = self.task
        made = ahead(
            lambda batch: runs_of(
                material.take(batch.tolist(), epoch),
                task.module.input_names,
                task.batching,
                fixed_batch=task.fixed_batch,
            ),
            batches,
            n_threads=material.n_threads,
        )
        with contextlib.closing(made):
            for runs in made:
                places, vectors = [], []
                for one in runs:
                    inputs = [torch.from_numpy(array).to(self.device) for array in one.inputs]
                    with torch.autocast(self.device.type, torch.bfloat16, enabled=self.course.bfloat16):
                        found = task.module(*inputs)[0]
                    places.append(one.places)
                    vectors.append(found[: len(one.places)].float())
                whole = torch.cat(vectors) if len(vectors) > 1 else vectors[0]
                if len(places) > 1:
                    whole = whole[torch.from_numpy(np.argsort(np.concatenate(places))).to(self.device)]
                yield self.linear((whole - self.mean) / self.scale)

    def assess(self, *, loss: float | None, seconds: float) -> EpochRecord:
        """Judge the weights as they are, keep them if they are the best of a training, and note the epoch."""
        figures = self._validated() if len(self.task.validation) else (None, None, None)
        record = EpochRecord(
            epoch=self.epoch,
            loss=loss,
            validation_loss=figures[0],
            validation_refined_loss=figures[1],
            validation_balanced_accuracy=figures[2],
            learning_rate=self.optimizer.param_groups[-1]["lr"] if loss is not None else 0.0,
            seconds=round(seconds, 3),
        )
        refined = [one.validation_refined_loss for one in self.history[1:]]
        # Without a validation part the last weights are the best; equal figures are no reason to leave the earlier ones.
        if self.epoch and (
            figures[1] is None or figures[1] < min((r for r in refined if r is not None), default=math.inf)
        ):
            self.best_epoch, self.best = self.epoch, self._weights()
        self.history.append(record)
        return record

    def _validated(self) -> tuple[float, float, float]:
        """Of the validation part the log loss, the same refined, and the balanced accuracy."""
        task, size = self.task, self.course.batch_size
        order = task.validation
        if task.validation_material.lengths is not None:
            order = order[np.argsort(task.validation_material.lengths[order], kind="stable")]
        batches = [order[at : at + size] for at in range(0, len(order), size)]
        with torch.no_grad():
            made = torch.cat(list(self._forward(task.validation_material, batches, 0)))
        logits, codes = made.double().cpu().numpy(), task.codes[order]
        weights = task.class_weights[codes]
        right = logits.argmax(1) == codes
        recalls = [right[codes == code].mean() for code in np.unique(codes)]
        loss = float(np.average(losses(logits, codes), weights=weights))
        return (
            loss if math.isfinite(loss) else math.inf,
            float(np.average(refined_losses(logits, codes, weights), weights=weights)),
            float(np.mean(recalls)),
        )

    # --- weights, and the state against a kill ---

    def _weights(self) -> list[Tensor]:
        return [p.detach().to("cpu", copy=True) for p in self.parameters]

    def _set_weights(self, values: Sequence[Tensor]) -> None:
        with torch.no_grad():
            for parameter, value in zip(self.parameters, values, strict=True):
                parameter.copy_(value)

    def state(self, *, ended: bool = False) -> dict[str, Any]:
        """All that is needed to go on; of a training that has ended, what came of it."""
        going_on = {"weights": self._weights(), "optimizer": self.optimizer.state_dict()}
        return {
            "ended": ended,
            "epoch": self.epoch,
            "step": self.step,
            "sums": self.sums,
            "history": [asdict(record) for record in self.history],
            "best_epoch": self.best_epoch,
            "best": self.best,
            **({} if ended else going_on),
        }

    def restore(self, state: dict[str, Any] | None) -> None:
        """Go on from a state of :meth:`state`; None begins."""
        if state is None:
            return
        self.epoch, self.step, self.sums = state["epoch"], state["step"], state["sums"]
        self.history = [EpochRecord(**values) for values in state["history"]]
        self.best_epoch, self.best = state["best_epoch"], state["best"]
        if not state["ended"]:
            self._set_weights(state["weights"])
            self.optimizer.load_state_dict(state["optimizer"])

    def outcome(self) -> Outcome:
        """Put the best weights into the module."""
        self._set_weights(self.best)
        start = self.task.start
        head = StandardHead(
            start.mean,
            start.scale,
            self.linear.weight.detach().cpu().numpy().astype(np.float64),
            self.linear.bias.detach().cpu().numpy().astype(np.float64),
        )
        return Outcome(head=head, history=tuple(self.history), best_epoch=self.best_epoch)
