"""Rows of keys and values, one for each text under way, where a session's model runs.

A step reads and writes them in place, so both are bound to the same memory.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime

from textmill.gpt2.architecture import Architecture


class Rows(ABC):
    """Buffers of shape (slots, heads, window, width / heads), two for each layer: keys, then values."""

    def __init__(
        self, architecture: Architecture, slots: int, kind: type[np.generic], device: str, number: int
    ) -> None:
        """Describe them; `device` and its number are ONNX Runtime's, such as `cpu` and 0."""
        self._row = (architecture.heads, architecture.window, architecture.width // architecture.heads)
        self._shape = (slots, *self._row)
        self._kind = kind
        self._bytes = int(np.prod(self._row)) * np.dtype(kind).itemsize  # of one row
        self._place = device, number
        self._count = 2 * architecture.layers
        self._addresses: list[int] = []

    def bind(self, binding: onnxruntime.IOBinding, first: int, end: int) -> None:
        """Bind the rows from first to end as what a step reads and what it writes."""
        shape = (end - first, *self._row)
        for index, address in enumerate(self._addresses):
            name = f"{index // 2}.{('key', 'value')[index % 2]}"
            place = (*self._place, self._kind, shape, address + first * self._bytes)
            binding.bind_input(f"past_key_values.{name}", *place)
            binding.bind_output(f"present.{name}", *place)

    @abstractmethod
    def copy(self, source: int, target: int, length: int) -> None:
        """Copy at least the first `length` tokens' keys and values from one row to another."""


class HostRows(Rows):
    """Rows in this machine's memory."""

    def __init__(self, architecture: Architecture, slots: int, kind: type[np.generic]) -> None:
        super().__init__(architecture, slots, kind, "cpu", 0)
        # zeros are not backed by memory until they are written, so unused rows cost nothing
        self._buffers = [np.zeros(self._shape, kind) for _ in range(self._count)]
        self._addresses = [buffer.ctypes.data for buffer in self._buffers]

    def copy(self, source: int, target: int, length: int) -> None:
        for buffer in self._buffers:
            buffer[target, :, :length] = buffer[source, :, :length]


class DeviceRows(Rows):
    """Rows in a device's memory, which only a session on it can reach: so a graph copies them."""

    def __init__(
        self,
        architecture: Architecture,
        slots: int,
        kind: type[np.generic],
        place: tuple[str, int],
        copier: onnxruntime.InferenceSession,
    ) -> None:
        """Fill them with zeros: what a kernel reads past a text's end, and gives no weight, must be finite.

        Args:
            place: ONNX Runtime's name of the device, and its number.
            copier: a session there over `graph.copying`.
        """
        super().__init__(architecture, slots, kind, *place)
        zeros = np.zeros(self._shape, kind)
        self._buffers = [onnxruntime.OrtValue.ortvalue_from_numpy(zeros, *place) for _ in range(self._count)]
        self._addresses = [int(buffer.data_ptr()) for buffer in self._buffers]
        self._copier = copier

    def copy(self, source: int, target: int, length: int) -> None:
        size: Sequence[int] = (int(np.prod(self._row)),)
        for address in self._addresses:
            binding: Any = self._copier.io_binding()
            binding.bind_input("source", *self._place, self._kind, size, address + source * self._bytes)
            binding.bind_output("target", *self._place, self._kind, size, address + target * self._bytes)
            self._copier.run_with_iobinding(binding)
