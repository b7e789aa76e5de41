"""What features estimators share: parameters checked, feature spaces resolved, vectors by the one loop.

Owns the order of things in ``fit`` and ``transform``. What a modality's samples are, and what the network takes of them, its
estimator says. The work is in :mod:`featx.inference`, the vectors in :mod:`featx.store`.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from featx.backbones.backbone import Backbone, Preprocess
from featx.backbones.feature_space import FeatureSpace
from featx.errors import FeatxWarning, ParameterError, SampleError, SpaceMismatchError, without_advice
from featx.inference.batching import Batching
from featx.inference.contents import content_keys
from featx.inference.devices import Device, cpu_threads, parse_device, resolve_device
from featx.inference.extract import Extraction, extract
from featx.inference.plan import Plan
from featx.inference.reading import Source
from featx.inference.runtime import Session, session_pool
from featx.progress import progress_bar
from featx.store.digest import Keys
from featx.store.files import FileDigests
from featx.store.locate import open_cache
from featx.store.store import EmbeddingStore

__all__ = ["BackboneFeatures", "Feed", "HasParts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """How the samples of a modality reach the network.

    Parameters
    ----------
    source : Source
        How they are known by their content, and read.
    batching : Batching
        What runs together.
    batch_size : int
        Samples a run, about.
    probe, crowd : ndarray
        See :class:`featx.inference.runtime.Session`.
    """

    source: Source
    batching: Batching
    batch_size: int
    probe: NDArray[Any]
    crowd: NDArray[Any]


class BackboneFeatures(TransformerMixin, BaseEstimator):
    """A transformer from samples to the vectors of a frozen backbone. Use :class:`featx.ImageFeatures` or its like for texts."""

    backbone: Any
    tap: str | list[str]
    pooling: str
    device: str
    precision: str
    cache: Any
    batch_size: int | None
    n_workers: int | None
    on_error: str
    verbose: bool

    modality: str
    """``"image"`` or ``"text"``."""

    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the parameters and open the backbone; X is not looked at.

        Parameters
        ----------
        X : ignored
        y : ignored

        Raises
        ------
        ParameterError, BackboneError
        """
        self._check_parameters()
        backbone, spaces = self._resolve(open_cache(self.cache))
        self.backbone_ = backbone
        self.spaces_ = spaces
        self.n_features_out_ = sum(backbone.n_features(space) for space in spaces)
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Vectors of the samples in X.

        Parameters
        ----------
        X : sequence of samples
            See the class's notes.

        Returns
        -------
        ndarray of float32, shape (n, n_features_out_)
            In the order of X, writable.

        Raises
        ------
        InputError
            X is not a sequence of samples.
        SampleError
            A sample cannot be read, with ``on_error="raise"``; what was computed before is stored.
        SpaceMismatchError
            The backbone or a parameter changed since ``fit``.
        DeviceError
            The device cannot compute.
        """
        extraction = self.extract(X)
        if extraction.errors:
            _warn_of(extraction.errors)
        return extraction.vectors

    def extract(self, X: Any) -> Extraction:
        """Like :meth:`transform`, with content digests and failures beside the vectors.

        Returns
        -------
        Extraction
            ``vectors``, ``keys``, ``errors`` by index, ``n_computed``.
        """
        check_is_fitted(self)
        self._check_parameters()
        store = open_cache(self.cache)
        backbone, spaces = self._resolve(store)
        if spaces != self.spaces_:
            changes = [
                line for old, new in zip(self.spaces_, spaces, strict=False) for line in old.differences(new)
            ]
            raise SpaceMismatchError(
                f"{type(self).__name__} was fitted in another feature space ({'; '.join(changes) or 'other taps'}). "
                "Fit again, or restore the backbone and parameters it was fitted with."
            )
        samples = self.samples_of(X)
        device = resolve_device(self.device)
        feed = self._feed(backbone, device, store)
        plan = self._plan(backbone, spaces, store, device, feed)
        with progress_bar(len(samples), "embedding", enabled=bool(self.verbose)) as progress:
            extraction = extract(samples, plan, advance=progress.update)
        self._warn_of_feed(feed, extraction)
        return extraction

    def plans_of(self, preprocesses: Sequence[Preprocess]) -> list[Plan]:
        """How to compute vectors of the fitted taps with other preprocessings than the fitted one."""
        check_is_fitted(self)
        self._check_parameters()
        store, device = open_cache(self.cache), resolve_device(self.device)
        plans = []
        for preprocess in preprocesses:
            backbone = Backbone.open(self.backbone_, preprocess=preprocess)
            spaces = [backbone.space(s.tap, s.pooling, precision=s.precision) for s in self.spaces_]
            feed = self._feed(backbone, device, store)
            plans.append(self._plan(backbone, spaces, store, device, feed))
        return plans

    def content_keys(self, X: Any) -> Keys:
        """Content digests of the samples, those that :meth:`extract` gives; no vector is computed or looked up.

        Parameters
        ----------
        X : sequence of samples
            As for :meth:`transform`.

        Returns
        -------
        ndarray of uint8, shape (n, 16)
            Zeros where a sample cannot be read, with ``on_error="nan"``.

        Raises
        ------
        InputError, SampleError
            As :meth:`transform`.
        """
        check_is_fitted(self)
        samples = self.samples_of(X)
        store = open_cache(self.cache)
        source = self._feed(self.backbone_, resolve_device("cpu"), store).source
        n_workers = int(self.n_workers or cpu_threads())
        keys, errors = content_keys(samples, source, FileDigests(store), n_workers=n_workers)
        if errors and self.on_error == "raise":
            raise errors[min(errors)]
        return keys

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Names of the columns: the tap and a number, ``pooled_0``, ``pooled_1`` ...

        Parameters
        ----------
        input_features : ignored

        Returns
        -------
        ndarray of str objects, shape (n_features_out_,)
        """
        check_is_fitted(self)
        prefixes = _identifiers([space.tap for space in self.spaces_])
        names = [
            f"{prefix}_{i}"
            for prefix, space in zip(prefixes, self.spaces_, strict=True)
            for i in range(self.backbone_.n_features(space))
        ]
        return np.asarray(names, dtype=object)

    def looking_inside(
        self, change: Callable[[Any, Backbone, list[FeatureSpace]], Any]
    ) -> tuple[Session, Callable[[Any], list[NDArray[Any]]]] | None:
        """A session on a changed graph of the fitted features, and what it takes of samples; None where there is no such graph.

        Parameters
        ----------
        change : callable
            The cut graph, the backbone and the spaces of its outputs, to another graph of the same input.

        Returns
        -------
        session : Session
        inputs : callable
            Samples to a list of batches of one: uint8 (1, h, w, 3) or int32 (1, t).
        """
        check_is_fitted(self)
        device = resolve_device(self.device)
        feed = self._feed(self.backbone_, device, None)
        model = change(self.backbone_.cut(self.spaces_), self.backbone_, self.spaces_)
        if model is None:
            return None

        def inputs(X: Any) -> list[NDArray[Any]]:
            samples = self.samples_of(X)
            with feed.source.open(samples, 1) as reader:
                return [reader.network_input(i, *reader.read_again(i))[None] for i in range(len(samples))]

        return _open_session(self.backbone_, model, device, feed), inputs

    # --- what a modality says ---

    def samples_of(self, X: Any) -> Sequence[Any]:
        """X as a sequence of samples."""
        raise NotImplementedError

    def _preprocess(self, own: Backbone) -> Preprocess | None:
        """The preprocessing that the parameters ask for; None keeps the backbone's own."""
        raise NotImplementedError

    def _feed(self, backbone: Backbone, device: Device, store: EmbeddingStore | None) -> Feed:
        """How the samples reach the network."""
        raise NotImplementedError

    def _warn_of_feed(self, feed: Feed, extraction: Extraction) -> None:
        """Say what befell samples on the way, where somebody can act on it."""

    # --- what they share ---

    def _check_parameters(self) -> None:
        parse_device(self.device)
        if self.on_error not in ("raise", "nan"):
            raise ParameterError(f'on_error must be "raise" or "nan", got {self.on_error!r}.')
        for name in ("batch_size", "n_workers"):
            value = getattr(self, name)
            if value is not None and (
                isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1
            ):
                raise ParameterError(f"{name} must be a whole number of at least 1 or None, got {value!r}.")
        taps = self._taps()
        if not taps or not all(isinstance(tap, str) and tap for tap in taps):
            raise ParameterError(f"tap must be a name or a non-empty list of names, got {self.tap!r}.")
        if len(set(taps)) != len(taps):
            raise ParameterError(f"tap names a tap twice: {self.tap!r}.")

    def _taps(self) -> list[str]:
        return list(self.tap) if isinstance(self.tap, list | tuple) else [self.tap]

    def _resolve(self, store: EmbeddingStore | None) -> tuple[Backbone, list[FeatureSpace]]:
        backbone = self._open(FileDigests(store))
        return backbone, [backbone.space(tap, self.pooling, precision=self.precision) for tap in self._taps()]

    def _open(self, files: FileDigests) -> Backbone:
        return self.opened(Backbone.open(self.backbone, modality=self.modality, files=files))

    def opened(self, own: Backbone) -> Backbone:
        """A backbone with the preprocessing that the parameters ask for."""
        asked = self._preprocess(own)
        return own if asked is None else Backbone.open(own, preprocess=asked)

    def _plan(
        self,
        backbone: Backbone,
        spaces: list[FeatureSpace],
        store: EmbeddingStore | None,
        device: Device,
        feed: Feed,
    ) -> Plan:
        def session() -> Session:
            # Views differ in the pixels that they feed it only.
            key = (tuple(space.without_view().id for space in spaces), device)
            return session_pool().get(key, make)

        def make() -> Session:
            return _open_session(backbone, backbone.cut(spaces), device, feed)

        return Plan(
            spaces=tuple(spaces),
            widths=tuple(backbone.n_features(space) for space in spaces),
            source=feed.source,
            session=session,
            device=device,
            store=store,
            store_required=not (isinstance(self.cache, str) and self.cache == "default"),
            n_workers=int(self.n_workers or cpu_threads()),
            batching=feed.batching,
            batch_size=feed.batch_size,
            on_error=self.on_error,
            description={"backbone": backbone.name},
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.input_tags.string = True
        tags.no_validation = True
        tags.transformer_tags.preserves_dtype = []
        return tags


@runtime_checkable
class HasParts(Protocol):
    """An estimator of samples that holds its features, such as :class:`featx.AugmentedClassifier`."""

    def parts(self, *, fitted: bool) -> tuple[BackboneFeatures, Any]:
        """Its features, and what it fits on their vectors, of this fit or unfitted; None where that is fitted with them."""
        ...


def _open_session(backbone: Backbone, model: Any, device: Device, feed: Feed) -> Session:
    session = Session(
        model.SerializeToString(),
        device=device,
        external=backbone.external_data(model),
        fixed_batch=backbone.info.fixed_batch,
        coupled=backbone.info.coupled_by is not None,
        probe=feed.probe,
        crowd=feed.crowd,
    )
    backbone.verify()  # what was loaded is what the spaces are named after
    return session


def _identifiers(names: list[str]) -> list[str]:
    """Names as parts of column names; those that would be equal get their position."""
    plain = [re.sub(r"\W+", "_", name).strip("_") or "tap" for name in names]
    return [name if plain.count(name) == 1 else f"{name}_tap{at}" for at, name in enumerate(plain, 1)]


def _warn_of(errors: dict[int, SampleError]) -> None:
    first = [without_advice(str(errors[i])) for i in sorted(errors)[:3]]
    more = f" and {len(errors) - len(first)} more." if len(errors) > len(first) else ""
    warnings.warn(
        f"{len(errors)} sample(s) could not be embedded and are rows of NaN: {'; '.join(first)}{more}",
        FeatxWarning,
        stacklevel=4,  # _warn_of, transform, scikit-learn's wrapper of transform
    )
