"""``AugmentedClassifier``: a head trained on augmented views of the training samples, their vectors cached like any others.

Owns which views of which samples are looked at. The head's side of it is in :mod:`featx.view_head`, the vectors' in
:mod:`featx.view_features`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from featx.backbone_features import BackboneFeatures
from featx.backbones.augment import Augment, View
from featx.errors import DatasetError, ParameterError, without_advice
from featx.evaluation.columns import check_groups, check_labels
from featx.inference.extract import Extraction
from featx.view_features import extract_views
from featx.view_head import ViewHead

__all__ = ["AugmentedClassifier"]


def _of_head(method: str) -> Any:
    """Available where the head, fitted or not, has the method on means of views."""
    return available_if(
        lambda own: hasattr(
            own.view_head_ if hasattr(own, "view_head_") else ViewHead(own.head, tta=own.tta), method
        )
    )


class AugmentedClassifier(ClassifierMixin, BaseEstimator):
    """A classifier of pictures: frozen features, and a head trained on augmented views of them.

    A training sample is seen as it is and in ``n_views - 1`` augmented views, each weighing ``1 / n_views``: a sample counts once
    in all. Predictions are made on pictures as they are, or with `tta` on the mean over the same number of views. The vector of
    a view is stored as every vector is, so other folds, heads and parameters of a head read what the first fit computed.

    Parameters
    ----------
    features : ImageFeatures
        Not fitted itself; a clone is.
    head : classifier
        Usually from :func:`featx.make_head`. Its ``fit``, or that of its last step, takes ``sample_weight``.
    augment : Augment, dict or None
        What may happen to a picture; a dict is taken as ``Augment(**augment)``. None, or one by which nothing happens: the
        picture alone.
    n_views : int, default=8
        Views of a sample in all, the picture as it is included. 1 is training without augmentation.
    tta : bool, default=False
        Test-time augmentation: predict by the mean of the head's probabilities over the views of a sample (of its decision
        values where it has no probabilities). Takes `n_views` times as long.
    random_state : int, default=0
        Seed of the views. A number, as it is part of what a view is stored by.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    features_ : ImageFeatures
        Fitted.
    view_head_ : ViewHead
        The head fitted, as ``view_head_.head_``.

    Notes
    -----
    In cross-validation no view of a test sample is in training, as views are made inside ``fit`` of the samples that it is
    given. Folds that a head makes for itself (``make_head("svm")``, ``GridSearchCV``, ``CalibratedClassifierCV``) keep the views
    of a sample together. What a head sets aside without folds (``early_stopping`` of scikit-learn's networks) does not.

    Whether augmentation helps a frozen backbone depends on the data: compare, for example with
    ``featx.compare({"plain": ..., "augmented": ...}, X, y)``.

    Examples
    --------
    >>> from featx import Augment, ImageFeatures, make_head
    >>> flips = Augment(rotation_range=15, zoom_range=0.15, horizontal_flip=True)
    >>> model = AugmentedClassifier(ImageFeatures(), make_head("logistic"), flips, n_views=4)
    >>> grid = {"head__logistic__C": [0.001, 0.01, 0.1], "augment": [None, flips]}  # for GridSearchCV
    """

    fit_keeps_groups = True
    """``fit(groups=...)`` keeps groups together in folds of its own."""

    vector_parameters = ("features", "augment", "n_views", "random_state")
    """Parameters that decide vectors; the others are the head's side."""

    def __init__(
        self,
        features: Any,
        head: Any,
        augment: Augment | dict[str, Any] | None,
        *,
        n_views: int = 8,
        tta: bool = False,
        random_state: int = 0,
    ) -> None:
        self.features = features
        self.head = head
        self.augment = augment
        self.n_views = n_views
        self.tta = tta
        self.random_state = random_state

    def fit(self, X: Any, y: ArrayLike, groups: ArrayLike | None = None) -> AugmentedClassifier:
        """Compute the views' vectors, but for those that are stored, and fit the head on them.

        Parameters
        ----------
        X : sequence of pictures
            As for :class:`featx.ImageFeatures`. ``digest:`` samples where the vectors of all views are stored.
        y : array-like of shape (n_samples,)
            Labels, strings included.
        groups : array-like of shape (n_samples,), optional
            What folds that the head makes for itself keep together, such as the slices of a patient.

        Raises
        ------
        ParameterError
            A head that takes no ``sample_weight``, features of texts, or a parameter out of its range.
        DatasetError
            No labels, or another number than of samples; labels or groups that are missing or name nothing.
        SampleError, BackboneError, DeviceError
            As of the features. A sample that cannot be read is an error with ``on_error="nan"`` too: there is nothing to learn
            from.
        """
        if y is None:
            raise DatasetError("AugmentedClassifier requires y to be passed, but the target y is None.")
        features, view_head = self.parts(fitted=False)
        features.fit(None)
        samples = features.samples_of(X)
        labels = check_labels(y)
        if len(labels) != len(samples):
            raise DatasetError(f"y: {len(labels)} labels for {len(samples)} samples. Give one a sample.")
        units = None if groups is None else check_groups(groups, len(samples))
        extraction, vectors = self.vectors_of(features, samples, training=True)
        _refuse_unread(extraction)
        self.view_head_ = view_head.fit(vectors, labels, units)
        self.features_ = features
        self.classes_ = self.view_head_.classes_
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Labels of pictures, shape (n,)."""
        check_is_fitted(self)
        return self.view_head_.predict(self._vectors(X))

    @_of_head("predict_proba")
    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probabilities (n, n_classes), columns in the order of ``classes_``."""
        check_is_fitted(self)
        return self.view_head_.predict_proba(self._vectors(X))

    @_of_head("decision_function")
    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Decision values: (n,) for two classes, else (n, n_classes). With `tta` the logarithm of mean probabilities, for two
        classes their log-odds, so that they agree with :meth:`predict_proba`."""
        check_is_fitted(self)
        return self.view_head_.decision_function(self._vectors(X))

    # --- in two parts, for whoever computes vectors once for many fits ---

    def parts(self, *, fitted: bool) -> tuple[BackboneFeatures, ViewHead]:
        """The features, and the classifier of the vectors of views: those of this fit, or unfitted clones.

        Raises
        ------
        ParameterError
            The features are none of pictures.
        """
        if fitted:
            check_is_fitted(self)
            return self.features_, self.view_head_
        if not isinstance(self.features, BackboneFeatures) or self.features.modality != "image":
            raise ParameterError(
                f"features: expected an ImageFeatures, found {type(self.features).__name__}. Views are made of pictures."
            )
        return clone(self.features), ViewHead(self.head, tta=self.tta)

    def vectors_of(
        self, features: BackboneFeatures, X: Any, *, training: bool | NDArray[np.bool_]
    ) -> tuple[Extraction, NDArray[np.float32]]:
        """Vectors (n, v, d) by fitted features, pictures as they are first: v is 1 but for training and with `tta`.

        Without `tta`, and where `training` says of each sample whether it is trained on, views of the others are NaN.
        """
        wanted = training if isinstance(training, np.ndarray) and not self.tta else None
        views = self._views() if self.tta or np.any(training) else ()
        return extract_views(features, X, views, wanted=wanted)

    def _vectors(self, X: Any) -> NDArray[np.float32]:
        extraction, vectors = self.vectors_of(self.features_, X, training=False)
        _refuse_unread(extraction)
        return vectors

    def _views(self) -> tuple[View, ...]:
        n_views = self.n_views
        if isinstance(n_views, bool) or not hasattr(n_views, "__index__") or int(n_views) < 1:
            raise ParameterError(f"n_views must be a whole number of at least 1, got {n_views!r}.")
        if not isinstance(self.tta, bool | np.bool_):
            raise ParameterError(f"tta must be True or False, got {self.tta!r}.")
        augment = Augment.from_dict(self.augment) if isinstance(self.augment, Mapping) else self.augment
        if augment is not None and not isinstance(augment, Augment):
            raise ParameterError(f"augment: expected a featx.Augment or None, found {augment!r:.200}.")
        if augment is None or augment.is_identity:
            return ()
        return tuple(View(augment, number, self.random_state) for number in range(1, int(n_views)))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        if hasattr(self.features, "__sklearn_tags__"):
            tags.input_tags = get_tags(self.features).input_tags
        tags.no_validation = True
        return tags


def _refuse_unread(extraction: Extraction) -> None:
    """Raise the error of the first sample that has no vector: a head takes no NaN."""
    if not extraction.errors:
        return
    first = extraction.errors[min(extraction.errors)]
    more = f" ({len(extraction.errors)} in all)" if len(extraction.errors) > 1 else ""
    raise type(first)(
        f"{without_advice(first.message)} Leave it out{more}: a head can neither learn from it nor judge it. featx.evaluate and "
        "featx.predict leave such samples out themselves.",
        index=first.index,
        name=first.name,
        place=first.place,
    )
