"""``FineTuneClassifier``: a backbone tuned together with a linear head, as a scikit-learn classifier.

Owns the order of things: the frozen probe, the frozen part computed once, training from there, and what is kept of it. Nothing is
loaded before ``fit``; predictions run on ONNX Runtime like those of any backbone, so only ``fit`` and writing folders need torch.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from featx.backbone_features import BackboneFeatures
from featx.backbones.augment import Augment
from featx.backbones.backbone import Backbone
from featx.errors import DatasetError, ParameterError
from featx.evaluation.columns import check_groups, check_labels
from featx.evaluation.remembered import remember_keys
from featx.features import ImageFeatures, TextFeatures
from featx.finetuning.choosing import Choice
from featx.finetuning.course import Course, EpochRecord
from featx.finetuning.fitting import fit_request
from featx.finetuning.linear_head import LinearHead
from featx.finetuning.places import check_place
from featx.finetuning.request import Request
from featx.finetuning.settings import (
    SEEDS,
    augment_of,
    boundary_of,
    check_class_weight,
    check_parameters,
    fraction_of,
    tell,
)
from featx.finetuning.tuned import TunedNetwork

__all__ = ["FineTuneClassifier"]


class FineTuneClassifier(ClassifierMixin, BaseEstimator):
    """A classifier of images or texts: the last part of a backbone is trained together with a linear head.

    First the head alone is fitted on frozen vectors, by scikit-learn; then head and network are trained from there, which keeps
    what the network knows better than beginning with a random head (LP-FT, Kumar et al. 2022). What lies before the frozen
    boundary is computed once and kept, so an epoch costs what is trained. The epoch that does best on a validation part is kept,
    and behind it a head fitted anew on its vectors, where that is the better one. Where the validation part does not say by more
    than one standard error that this beats the frozen probe, the probe is the result, and :attr:`best_epoch_` is 0.

    Parameters
    ----------
    backbone : str, path, Backbone, ImageFeatures or TextFeatures, default="compact"
        A reference as :class:`featx.ImageFeatures` takes it; or an unfitted features transformer, whose tap, pooling,
        preprocessing, cache and workers are then meant. Its device is not: that is `device`.
    freeze_until : str, float or None, default=None
        A tap (``"stage3"``, ``"layer4"``) or tensor up to which the network stays as it is; or the share of its weights to freeze
        at least; or None: all of it is trained, which costs most.
    epochs : int, default=10
        At most. The learning rate is led down over so many.
    learning_rate : float, default=1e-4
        Of AdamW for the head and the last weights, at most 1e30; `layer_decay` lowers it towards the input.
    warm_start_head : bool, default=True
        Begin with the frozen probe; False begins with a head of zeros.
    refit_head : bool, default=True
        Fit a head anew on the tuned vectors, by scikit-learn, and take it where the validation part says that it is better, or
        where there is none.
    augment : Augment, dict or None, default=None
        Of pictures: every epoch sees a view of its own. What is frozen is then computed anew for each.
    batch_size : int, default=32
    class_weight : "balanced", dict or None, default="balanced"
        As in scikit-learn; for the probe, the training and the validation figure. Numbers from 1e-6 to 1e6: leave out the samples
        of a class that is not to count.
    layer_decay : float, default=0.8
        Factor of the learning rate for each stage or layer that lies between a weight and the output.
    weight_decay : float, default=0.01
        AdamW's, of kernels and matrices; at most 1e6.
    validation_fraction : float or None, default=0.1
        Share of the samples that is set aside to choose by, groups and copies kept together; where a class is too small for it,
        more. None: nothing is, and the last epoch is kept, whatever it is worth.
    patience : int or None, default=5
        Stop after so many epochs that did no better on the validation part than an earlier one; None never does.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Arithmetic of the training; "auto" takes bfloat16 where the hardware has it. Weights are float32 in any case.
    device : str, default="auto"
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``. By name it computes, in torch and ONNX Runtime both, or raises.
    checkpoints : "default", path or None, default="default"
        Where the state of a running training is kept, so that the same ``fit`` goes on after a kill, and the best weights of a
        finished one, so that the same ``fit`` is not trained again: no more than 2 GiB, for two weeks. ``"default"`` is a folder
        beside the default cache. Nothing is kept without a seed in `random_state`, as no ``fit`` is then the same.
    random_state : int or None, default=0
        Seed of the validation part, of the order of batches and of views. With a number a fit repeats on one machine, bit for bit
        on a CPU.
    verbose : bool, default=False
        A line an epoch on standard error, and progress on a terminal.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    history_ : tuple of EpochRecord
        For epoch 0, the start, and every epoch: ``loss``, ``validation_loss``, ``validation_refined_loss`` (by which the epoch is
        chosen), ``validation_balanced_accuracy``, ``learning_rate``, ``seconds``.
    best_epoch_ : int
        The epoch whose weights were kept; 0 is the frozen probe.
    choice_ : Choice
        What was kept and why: ``network`` ("tuned" or "frozen"), ``head`` ("trained", "refitted" or "probe"), and of the
        validation part ``n_validation``, the figures ``frozen`` and ``tuned``, and their ``gain`` with its standard error.
    n_iter_ : int
        Epochs trained.
    head_ : LinearHead
        ``weight`` (n_classes, d) and ``bias`` (n_classes,), on vectors of :attr:`backbone_`.
    backbone_ : Backbone
        The tuned backbone, for :class:`featx.ImageFeatures` or :class:`featx.TextFeatures`. Its files last as long as the
        process: keep them with :meth:`save_backbone`.
    n_trained_, n_frozen_ : int
        Numbers in the weights that were trained, and in those that were not.

    Notes
    -----
    X is what :class:`featx.ImageFeatures` and :class:`featx.TextFeatures` take.

    ``featx.evaluate`` and ``featx.compare`` hand groups on to ``fit``. ``cross_val_score(..., groups=g)`` keeps them together in
    its own folds only: pass ``params={"groups": g}`` as well, and of a step of a Pipeline ``{"step__groups": g}``.

    Fine-tuning pays where there are many samples, or samples unlike those that the backbone knows. Compare:
    ``featx.compare({"frozen": ..., "tuned": FineTuneClassifier(...)}, X, y)``.

    Torch takes this process's share of the cores. Where other work keeps them busy, one thread is several times faster than two
    that wait for each other: set ``OMP_NUM_THREADS=1``.

    A pickle holds the tuned weights and refers to the files of the backbone that they came from. :meth:`to_pipeline` gives what
    :func:`featx.save` writes.

    Examples
    --------
    >>> model = FineTuneClassifier("compact", freeze_until="stage3", epochs=5)
    >>> grid = {"freeze_until": ["stage2", "stage3"], "learning_rate": [1e-4, 3e-4]}  # for GridSearchCV
    """

    fit_keeps_groups = True
    """``fit(groups=...)`` keeps groups together in its validation part."""

    def __init__(
        self,
        backbone: str | os.PathLike[str] | Backbone | BackboneFeatures = "compact",
        *,
        freeze_until: str | float | None = None,
        epochs: int = 10,
        learning_rate: float = 1e-4,
        warm_start_head: bool = True,
        refit_head: bool = True,
        augment: Augment | dict[str, Any] | None = None,
        batch_size: int = 32,
        class_weight: str | dict[Any, float] | None = "balanced",
        layer_decay: float = 0.8,
        weight_decay: float = 0.01,
        validation_fraction: float | None = 0.1,
        patience: int | None = 5,
        precision: str = "auto",
        device: str = "auto",
        checkpoints: str | os.PathLike[str] | None = "default",
        random_state: int | None = 0,
        verbose: bool = False,
    ) -> None:
        self.backbone = backbone
        self.freeze_until = freeze_until
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.warm_start_head = warm_start_head
        self.refit_head = refit_head
        self.augment = augment
        self.batch_size = batch_size
        self.class_weight = class_weight
        self.layer_decay = layer_decay
        self.weight_decay = weight_decay
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.precision = precision
        self.device = device
        self.checkpoints = checkpoints
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Fit the probe, compute what is frozen, but for what is stored, and train the rest.

        Parameters
        ----------
        X : sequence of samples
        y : array-like of shape (n_samples,)
            Labels, strings included.
        groups : array-like of shape (n_samples,), optional
            What the validation part keeps together, such as the slices of a patient.

        Raises
        ------
        MissingExtraError
            torch is not installed.
        ParameterError
            A parameter out of its range, or a boundary that the network does not have.
        DatasetError
            Labels or groups that fit neither each other nor X.
        GraphError
            The trained part has an operator that cannot be trained; the message says behind which tap there is none.
        SampleError, BackboneError, DeviceError
            As of the features.
        OutputError
            The folder given for checkpoints cannot be written, or the temporary one.

        Warns
        -----
        FeatxWarning
            The training diverged, or the frozen part leaves more than 20 GiB of rows.
        """
        if y is None:
            raise DatasetError("FineTuneClassifier requires y to be passed, but the target y is None.")
        request = self._request()
        features = request.features.fit(None)
        if len(features.spaces_) != 1:
            raise ParameterError("backbone: features of several taps cannot be tuned. Name one.")
        samples = features.samples_of(X)
        labels = check_labels(y)  # as they are: in a column of scikit-learn's True would become 1.0
        if len(labels) != len(samples):
            raise DatasetError(f"y: {len(labels)} labels for {len(samples)} samples. Give one a sample.")
        check_class_weight(self.class_weight, labels)
        units = None if groups is None else check_groups(groups, len(samples))
        fitted = fit_request(request, samples, labels, units)
        self.classes_ = fitted.classes
        self.history_: tuple[EpochRecord, ...] = fitted.history
        self.best_epoch_ = fitted.best_epoch
        self.choice_: Choice = fitted.choice
        self.n_iter_ = len(fitted.history) - 1
        self.head_: LinearHead = fitted.head
        self.n_trained_, self.n_frozen_ = fitted.n_trained, fitted.n_frozen
        self._tuned: TunedNetwork = fitted.tuned
        self._features = request.features
        self._predicting: BackboneFeatures | None = None
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Labels of samples, shape (n,)."""
        best = self.predict_proba(X).argmax(axis=1)
        found: NDArray[Any] = self.classes_[best]
        return found

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probabilities (n, n_classes), columns in the order of ``classes_``."""
        vectors = self._vectors(X)
        return self.head_.probabilities(vectors)

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Decision values: of two classes (n,), the log-odds of the second; else (n, n_classes), logits."""
        vectors = self._vectors(X)
        return self.head_.decision_values(vectors)

    # --- the tuned backbone ---

    @property
    def backbone_(self) -> Backbone:
        """The tuned backbone; see the class."""
        check_is_fitted(self, "_tuned")
        return self._tuned.backbone(handed_out=True)

    def save_backbone(
        self,
        out: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        card: Mapping[str, Any] | None = None,
        remember_samples: bool = True,
    ) -> Path:
        """Write the tuned backbone as a folder that others can use.

        Parameters
        ----------
        out : path
            The folder to make, in Hugging Face layout, with a card that says from what, on what and how well it was tuned. Where
            the frozen network was kept, a copy of it, whose card says that nothing was.
        overwrite : bool, default=False
            Replace a backbone that featx wrote.
        card : mapping, optional
            Further entries of the card, such as figures on held-out samples.
        remember_samples : bool, default=True
            Keep content digests of the samples that it was tuned on in the folder, so that figures on them cannot be mistaken for
            figures on new ones (:attr:`featx.Backbone.tuned_on`).

        Raises
        ------
        OutputError, DigestMismatchError, ConversionError
            See :func:`featx.finetuning.write_back`.
        """
        check_is_fitted(self, "_tuned")
        return self._tuned.write(out, overwrite=overwrite, card=card, remember_samples=remember_samples)

    def to_pipeline(self) -> Pipeline:
        """The same model as a fitted Pipeline of features and ``LogisticRegression``, for :func:`featx.save`."""
        features, head = self.parts(fitted=True)
        lasting = clone(features).set_params(backbone=self.backbone_).fit(None)
        pipeline = Pipeline([("features", lasting), ("head", head)])
        remember_keys(pipeline, np.unique(self._tuned.tuned_on, axis=0))
        return pipeline

    # --- in two parts, for whoever explains or judges what was fitted ---

    def parts(self, *, fitted: bool) -> tuple[BackboneFeatures, LogisticRegression | None]:
        """The features, and what follows them: the tuned ones, whose files last as long as they do, and ``LogisticRegression``;
        or the unfitted ones of the backbone as it is, and None, as no head is fitted on them alone."""
        if not fitted:
            features = self._make_features()
            skips = isinstance(self.backbone, BackboneFeatures) and self.backbone.on_error == "nan"
            return features.set_params(on_error="nan") if skips else features, None
        tuned = copy.copy(self._predictor())
        tuned.__dict__["_files"] = self._tuned.files  # which are gone when nobody holds them
        head = LogisticRegression(class_weight=self.class_weight)
        weight, bias = self.head_.weight, self.head_.bias
        if len(bias) == 2:
            weight, bias = weight[1:] - weight[:1], bias[1:] - bias[:1]
        head.coef_, head.intercept_, head.classes_ = weight, bias, self.classes_
        head.n_features_in_, head.n_iter_ = weight.shape[1], np.asarray([self.n_iter_], dtype=np.int32)
        return tuned, head

    def _predictor(self) -> BackboneFeatures:
        """Features on the tuned backbone, fitted."""
        check_is_fitted(self, "_tuned")
        if self._predicting is None:
            self._predicting = clone(self._features).set_params(backbone=self._tuned.backbone()).fit(None)
        return self._predicting

    def _vectors(self, X: Any) -> NDArray[np.float32]:
        vectors: NDArray[np.float32] = self._predictor().transform(X)
        return vectors

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return {**state, "_predicting": None} if "_predicting" in state else state

    # --- parameters ---

    def _request(self) -> Request:
        """The parameters, checked."""
        check_parameters(self.get_params(deep=False))
        augment = augment_of(self.augment)
        seed, checkpoints = self.random_state, self.checkpoints
        if checkpoints is not None and checkpoints != "default":
            check_place(Path(checkpoints).expanduser(), "the state of a training")
        if seed is None:
            seed = int(np.random.default_rng().integers(SEEDS))
            checkpoints = None  # no other fit draws this seed
        return Request(
            features=self._make_features(),
            boundary=boundary_of(self.freeze_until),
            freeze_until=self.freeze_until
            if self.freeze_until is None or isinstance(self.freeze_until, str)
            else float(self.freeze_until),
            augment=augment,
            class_weight=self.class_weight,
            warm_start_head=bool(self.warm_start_head),
            refit_head=bool(self.refit_head),
            layer_decay=float(self.layer_decay),
            validation_fraction=fraction_of(self.validation_fraction),
            course=Course(
                epochs=int(self.epochs),
                batch_size=int(self.batch_size),
                learning_rate=float(self.learning_rate),
                weight_decay=float(self.weight_decay),
                patience=None if self.patience is None else int(self.patience),
                seed=int(seed),
                bfloat16=self.precision == "bfloat16",
            ),
            precision=self.precision,
            device=self.device,
            checkpoints=checkpoints,
            tell=tell if self.verbose else None,
        )

    def _make_features(self) -> BackboneFeatures:
        """Unfitted features of the backbone as it is; a sample that cannot be read is an error in training."""
        given = self.backbone
        if isinstance(given, BackboneFeatures):
            return clone(given).set_params(device=self.device, on_error="raise", verbose=bool(self.verbose))
        kind = TextFeatures if Backbone.open(given).info.modality == "text" else ImageFeatures
        return kind(given, device=self.device, verbose=bool(self.verbose))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.input_tags.string = True
        tags.input_tags.three_d_array = True
        tags.no_validation = True
        tags.non_deterministic = self.random_state is None
        return tags
