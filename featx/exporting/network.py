"""A network as the exporters take it: positional inputs, and a tuple of named outputs, whatever its own module returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.parameter import UninitializedParameter

from featx.errors import ConversionError, ParameterError
from featx.exporting.inputs import ImageInputs, TextInputs

__all__ = ["Network", "Original", "Output", "frozen", "named_tensors"]


@dataclass(frozen=True, slots=True)
class Output:
    """One output of the exported graph.

    Parameters
    ----------
    name : str
        What the graph calls it.
    key : str
        What the module calls it; see :func:`named_tensors`.
    first : int
        Of tokens (n, t, d), the first that is kept.
    last : int or None
        Of tokens, the end of those that are kept, counted from behind; None keeps all.
    """

    name: str
    key: str
    first: int = 0
    last: int | None = None

    def take(self, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """This output of what a module made."""
        found = tensors[self.key]
        return found if (self.first, self.last) == (0, None) else found[:, self.first : self.last]


class Network(torch.nn.Module):
    """A module with its outputs chosen.

    Parameters
    ----------
    model : Module
        Not changed. Its name here becomes the beginning of tensor names in the graph.
    outputs : sequence of Output
        At least one.
    keywords : sequence of str, optional
        Names of the module's parameters that the inputs go to; None gives them by position.
    """

    def __init__(
        self, model: torch.nn.Module, outputs: Sequence[Output], keywords: Sequence[str] | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.outputs = tuple(outputs)
        self.keywords = None if keywords is None else tuple(keywords)
        self.training = (
            False  # of this wrapper alone: the exporters put all its parts back into the mode that it is in
        )

    def forward(self, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The chosen outputs, in their order."""
        tensors = named_tensors(self.call(values))
        return tuple(output.take(tensors) for output in self.outputs)

    def call(self, values: Sequence[torch.Tensor]) -> Any:
        """What the module itself returns."""
        if self.keywords is None:
            return self.model(*values)
        return self.model(**dict(zip(self.keywords, values, strict=True)))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next((p.device for p in self.model.parameters()), torch.device("cpu"))

    def run(self, values: Sequence[NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """The outputs by name, for inputs as arrays."""
        tensors = [
            torch.tensor(value, device=self.device) for value in values
        ]  # copies: a module may write into them
        with torch.no_grad():
            made = self(*tensors)
        return {
            output.name: tensor.float().cpu().numpy()
            for output, tensor in zip(self.outputs, made, strict=True)
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """What is exported, and what goes into the folder beside the graph.

    Parameters
    ----------
    name : str
        What messages call it.
    source : str
        Where it came from, in words that say nothing of this machine.
    network : Network
    inputs : ImageInputs or TextInputs
        What the network takes.
    files : mapping of str to bytes
        Name in the folder, with ``/``, to content.
    own_pixels : callable or None
        The source's own preprocessing: uint8 RGB (h, w, 3) to float32 (1, channels, h, w). None where featx's is used instead.
    own_tokens : callable or None
        The source's own tokenizer: a text to token ids. None where there is none but ``tokenizer.json``.
    revision, licence : str or None
        Commit of a hub's repository; the licence that its README names.
    versions : mapping of str to str
        Further packages that made the network.
    notes : tuple of str
        What a user should know: sentences.
    """

    name: str
    source: str
    network: Network
    inputs: ImageInputs | TextInputs
    files: Mapping[str, bytes]
    own_pixels: Callable[[NDArray[np.uint8]], NDArray[np.float32]] | None = None
    own_tokens: Callable[[str], list[int]] | None = None
    revision: str | None = None
    licence: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def named_tensors(made: Any) -> dict[str, torch.Tensor]:
    """What a module returned, by name: the keys of a mapping, ``output``, or ``output_0``, ``output_1`` ... of a sequence.

    Raises
    ------
    ConversionError
        There is no tensor in it.
    """
    if isinstance(made, torch.Tensor):
        return {"output": made}
    if isinstance(made, tuple | list):
        made = {f"output_{i}": value for i, value in enumerate(made)}
    items = made.items() if isinstance(made, Mapping) else ()
    found = {str(name): value for name, value in items if isinstance(value, torch.Tensor)}
    if not found:
        raise ConversionError(
            f"the module returns {type(made).__name__} without a tensor in it. Wrap it in a module that returns the embedding."
        )
    return found


@contextmanager
def frozen(model: torch.nn.Module) -> Iterator[None]:
    """A module in evaluation mode and without a cache of keys and values; as it was afterwards.

    Raises
    ------
    ParameterError
        Its weights are not float32, or have no values yet.
    """
    for name, weights in model.named_parameters():
        if isinstance(weights, UninitializedParameter):
            raise ParameterError(
                f"the module's weights {name} have no values yet: a lazy module gets them when it first runs. Load its trained "
                "weights first."
            )
        if weights.is_floating_point() and weights.dtype != torch.float32:
            raise ParameterError(
                f"the module's weights are {weights.dtype} ({name}), and featx exports float32. Call module.float() first."
            )
    training = {part: part.training for part in model.modules()}
    config: Any = getattr(model, "config", None)
    caches = getattr(config, "use_cache", False)
    try:
        if caches:
            config.use_cache = False
        model.eval()
        yield
    finally:
        if caches:
            config.use_cache = caches
        for part, was in training.items():
            part.training = was
