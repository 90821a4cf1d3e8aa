"""An ONNX Runtime session over a bundle, with a row of preallocated keys and values for each text under way.

Past and present are bound to the same memory (IOBinding), so a step copies neither cache nor logits, but for the
logits of a GPU. What a row gives depends on no other row, to the last bit: a test holds ONNX Runtime to it on CPUs.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from textmill.gpt2.architecture import Architecture
from textmill.gpt2.formats import bundle
from textmill.gpt2.inference.kv_cache import DeviceRows, HostRows, Rows
from textmill.ground.errors import UserError

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_QUIET = 3  # ONNX Runtime's log level: errors only
# weights; with a million of them, two threads gain a quarter on an idle machine and lose a third on a busy one
_WORTH_SHARING = 5_000_000
_LONGEST_REASON = 300  # characters of ONNX Runtime's own words
_Array = NDArray[np.float32] | NDArray[np.int64] | NDArray[np.int32]


class Session:
    """The model of one bundle and its rows; for one thread at a time."""

    def __init__(
        self, directory: Path, slots: int, threads: int = 0, precision: str = "auto", device: str = "cpu"
    ) -> None:
        """Load the graph.

        Args:
            slots: rows, that is texts under way at once.
            threads: CPU threads; 0 takes all cores this process may use, or one for a small model. Between the parts of
                a step they wait awake: of one text a step then takes a fifth less, but where another process wants
                a core that they have, two fifths more, so there take fewer.
            precision: of the weights: float32, or one that the bundle was written with; auto: the latter, if there is
                one. With int4, a row alone and one beside others may differ in the last bits. A GPU takes float16.
            device: cpu, cuda or cuda:N.

        Raises:
            UserError: the bundle has no graph of this precision, ONNX Runtime refuses it, or cannot use the device.
        """
        place = _place(device)
        precision = _precision(directory, precision, place[0])
        self.architecture: Architecture = bundle.read_architecture(directory)
        self.slots = slots
        self._load(directory, precision, threads, place)
        shape = self.architecture
        self._rows: Rows
        if precision == "float16":
            copier = _session(directory / bundle.COPYING, _options(1), place)
            self._rows = DeviceRows(shape, slots, np.float16, place, copier)
        else:
            self._rows = HostRows(shape, slots, np.float32)
        self._steps: dict[int, _Step] = {}
        if place[0] == "cuda":
            self._try()

    def _load(self, directory: Path, precision: str, threads: int, place: tuple[str, int]) -> None:
        options = _options(threads or _threads_for(self.architecture))
        try:
            self._session = _session(directory / bundle.graph_name(precision), options, place)
        except UserError:
            raise
        except Exception as error:  # ONNX Runtime raises classes of its own that share only this base
            raise UserError(
                f"ONNX Runtime cannot load the model at {directory}: {error}; make the bundle again."
            ) from error

    def _try(self) -> None:
        """Score a token, because a card that the kernels were not made for is noticed by no earlier call."""
        try:
            self.forward(0, [0], 0, [0])
        except Exception as error:  # ONNX Runtime raises classes of its own that share only this base
            raise UserError(
                f"ONNX Runtime cannot use the GPU: {str(error)[:_LONGEST_REASON]}. It needs compute capability 7.5 or "
                "higher and room for the model; on older cards use serve.engine: ctranslate2."
            ) from error

    def forward(self, row: int, tokens: Sequence[int], start: int, wanted: Sequence[int]) -> NDArray[np.float32]:
        """Read tokens into one row, after the `start` tokens that it holds, and score what may follow some of them.

        Args:
            wanted: which of the tokens, counted from this call's first, are asked about.

        Returns:
            Logits, shape (len(wanted), vocabulary).
        """
        count = len(tokens)
        asked = wanted or [0]  # ONNX Runtime's reductions, which int8 uses, give wrong shapes for no rows
        inputs: dict[str, _Array] = {
            "input_ids": np.array([tokens], np.int64),
            "position_ids": np.arange(start, start + count, dtype=np.int64)[None],
            "seqlens_k": np.array([start + count - 1], np.int32),
            "total_sequence_length": np.array(start + count, np.int32),
            "logit_positions": np.array(asked, np.int64),
        }
        logits = np.empty((1, len(asked), self.architecture.vocabulary), np.float32)
        self._session.run_with_iobinding(self._bind(inputs, logits, row, row + 1))
        return logits[0, : len(wanted)]

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
        # bound anew: what a device reads is copied to it when it is bound
        _bind_inputs(step.binding, step.inputs)
        self._session.run_with_iobinding(step.binding)
        return step.logits[:, 0]

    def copy_row(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` tokens' keys and values from one row to another."""
        self._rows.copy(source, target, length)

    def _bind(
        self, inputs: dict[str, _Array], logits: NDArray[np.float32], first: int, end: int
    ) -> onnxruntime.IOBinding:
        """A binding of these arrays and the cache of rows first to end; the arrays must outlive it."""
        binding = self._session.io_binding()
        _bind_inputs(binding, inputs)
        self._rows.bind(binding, first, end)
        binding.bind_output("logits", "cpu", 0, np.float32, logits.shape, logits.ctypes.data)
        return binding


def _bind_inputs(binding: onnxruntime.IOBinding, inputs: dict[str, _Array]) -> None:
    for name, array in inputs.items():
        binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)


def _place(device: str) -> tuple[str, int]:
    """ONNX Runtime's name of a device, and its number."""
    name, _, number = device.partition(":")
    if name == "cuda" and _CUDA not in onnxruntime.get_available_providers():
        raise UserError("This ONNX Runtime knows no GPUs; install the package onnxruntime-gpu in place of onnxruntime.")
    return name, int(number or 0)


def _precision(directory: Path, asked: str, device: str) -> str:
    present = bundle.precisions(directory)
    if device == "cuda" and asked not in ("auto", "float16"):
        raise UserError(f"A GPU runs models in float16, not in {asked}; set serve.precision to auto or float16.")
    if asked == "auto":
        asked = "float16" if device == "cuda" else present[-1]
    if asked not in present:
        raise UserError(
            f"The model at {directory} has no graph in {asked}, only {', '.join(present)}; "
            "choose one of these, or train with model.quantise: "
            f"{'float16 or int8' if asked == 'float16' else asked}."
        )
    return asked


def _options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _QUIET
    return options


def _session(graph: Path, options: onnxruntime.SessionOptions, place: tuple[str, int]) -> onnxruntime.InferenceSession:
    if place[0] == "cpu":
        return onnxruntime.InferenceSession(str(graph), options, providers=[_CPU])
    # CUDA's libraries may have come as Python packages, where the system's loader does not look
    onnxruntime.preload_dlls()
    session = onnxruntime.InferenceSession(str(graph), options, providers=[(_CUDA, {"device_id": place[1]}), _CPU])
    if session.get_providers()[0] != _CUDA:
        raise UserError(
            "ONNX Runtime cannot use the GPU; see that the driver is there and that CUDA's and cuDNN's libraries "
            "are those that its version asks for."
        )
    return session


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
        self.inputs: dict[str, _Array] = {
            "input_ids": self.tokens,
            "position_ids": self.positions,
            "seqlens_k": self.last,
            "total_sequence_length": self.longest,
            "logit_positions": self.wanted,
        }
        self.binding = session._bind(self.inputs, self.logits, 0, rows)
