"""An ONNX Runtime session over a bundle, with a row of preallocated keys and values for each text under way.

Past and present are bound to the same memory (IOBinding), so a step copies neither cache nor logits. What a row gives
depends on no other row, to the last bit: a test holds ONNX Runtime to it.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from textmill.errors import UserError
from textmill.gpt2 import bundle
from textmill.gpt2.architecture import Architecture

_QUIET = 3  # ONNX Runtime's log level: errors only
# weights; with a million of them, two threads gain a quarter on an idle machine and lose a third on a busy one
_WORTH_SHARING = 5_000_000
_Array = NDArray[np.float32] | NDArray[np.int64] | NDArray[np.int32]


class Session:
    """The model of one bundle and its rows; for one thread at a time."""

    def __init__(self, directory: Path, slots: int, threads: int = 0, precision: str = "auto") -> None:
        """Load the graph.

        Args:
            slots: rows, that is texts under way at once.
            threads: CPU threads; 0 takes all cores this process may use, or one for a small model.
            precision: of the weights: float32, or one that the bundle was written with; auto: the latter, if there is
                one. With int4, a row alone and one beside others may differ in the last bits.

        Raises:
            UserError: the bundle has no graph of this precision, or ONNX Runtime refuses it.
        """
        if precision == "auto":
            precision = bundle.precisions(directory)[-1]
        graph = directory / bundle.graph_name(precision)
        if not graph.exists():
            raise UserError(
                f"The model at {directory} has no graph in {precision}, only {', '.join(bundle.precisions(directory))}; "
                "choose one of these, or train with that precision."
            )
        self.architecture: Architecture = bundle.read_architecture(directory)
        self.slots = slots
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or _threads_for(self.architecture)
        # waiting threads sleep: spinning gained nothing on an idle machine and cost 40% on a busy one
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = _QUIET
        try:
            self._session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises classes of its own that share only this base
            raise UserError(
                f"ONNX Runtime cannot load the model at {directory}: {error}; make the bundle again."
            ) from error
        shape = self.architecture
        row = (shape.heads, shape.window, shape.width // shape.heads)
        # zeros are not backed by memory until they are written, so unused rows cost nothing
        self._cache = [np.zeros((slots, *row), np.float32) for _ in range(2 * shape.layers)]
        self._steps: dict[int, _Step] = {}

    def forward(self, row: int, tokens: Sequence[int], start: int, wanted: Sequence[int]) -> NDArray[np.float32]:
        """Read tokens into one row, after the `start` tokens that it holds, and score what may follow some of them.

        Args:
            wanted: which of the tokens, counted from this call's first, are asked about.

        Returns:
            Logits, shape (len(wanted), vocabulary).
        """
        count = len(tokens)
        inputs: dict[str, _Array] = {
            "input_ids": np.array([tokens], np.int64),
            "position_ids": np.arange(start, start + count, dtype=np.int64)[None],
            "seqlens_k": np.array([start + count - 1], np.int32),
            "total_sequence_length": np.array(start + count, np.int32),
            "logit_positions": np.array(wanted, np.int64),
        }
        logits = np.empty((1, len(wanted), self.architecture.vocabulary), np.float32)
        self._session.run_with_iobinding(self._bind(inputs, logits, row, row + 1))
        return logits[0]

    def step(self, tokens: Sequence[int], lengths: Sequence[int]) -> NDArray[np.float32]:
        """Read one token into each of the first rows and score what may follow it.

        Args:
            tokens: one for each row from the first on.
            lengths: how many tokens each of these rows holds already.

        Returns:
            Logits, shape (len(tokens), vocabulary); overwritten by the next step.
        """
        rows = len(tokens)
        if rows not in self._steps:
            self._steps[rows] = _Step(self, rows)
        step = self._steps[rows]
        step.tokens[:, 0] = tokens
        step.positions[:, 0] = lengths
        step.last[:] = lengths
        step.longest[...] = max(lengths) + 1
        self._session.run_with_iobinding(step.binding)
        return step.logits[:, 0]

    def copy_row(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` tokens' keys and values from one row to another."""
        for buffer in self._cache:
            buffer[target, :, :length] = buffer[source, :, :length]

    def _bind(
        self, inputs: dict[str, _Array], logits: NDArray[np.float32], first: int, end: int
    ) -> onnxruntime.IOBinding:
        """A binding of these arrays and the cache of rows first to end; the arrays must outlive it."""
        binding = self._session.io_binding()
        for name, array in inputs.items():
            binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        for index, buffer in enumerate(self._cache):
            name = f"{index // 2}.{('key', 'value')[index % 2]}"
            rows = buffer[first:end]
            binding.bind_input(f"past_key_values.{name}", "cpu", 0, np.float32, rows.shape, rows.ctypes.data)
            binding.bind_output(f"present.{name}", "cpu", 0, np.float32, rows.shape, rows.ctypes.data)
        binding.bind_output("logits", "cpu", 0, np.float32, logits.shape, logits.ctypes.data)
        return binding


def _threads_for(architecture: Architecture) -> int:
    # said outright, because at 0 ONNX Runtime pins a thread to each core, in the way of everything else there
    return len(os.sched_getaffinity(0)) if architecture.parameters >= _WORTH_SHARING else 1


class _Step:
    """The arrays of a step over the first so many rows, and their binding, made once and used again."""

    def __init__(self, session: Session, rows: int) -> None:
        self.tokens = np.zeros((rows, 1), np.int64)
        self.positions = np.zeros((rows, 1), np.int64)
        self.last = np.zeros(rows, np.int32)
        self.longest = np.zeros((), np.int32)
        self.wanted = np.zeros(1, np.int64)
        self.logits = np.zeros((rows, 1, session.architecture.vocabulary), np.float32)
        inputs: dict[str, _Array] = {
            "input_ids": self.tokens,
            "position_ids": self.positions,
            "seqlens_k": self.last,
            "total_sequence_length": self.longest,
            "logit_positions": self.wanted,
        }
        self.binding = session._bind(inputs, self.logits, 0, rows)
