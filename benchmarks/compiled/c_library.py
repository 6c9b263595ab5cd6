"""The C library of csrc/runtime, built from the sources, and its functions by ctypes."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np

from benchmarks import programs

RUNTIME = Path(__file__).resolve().parents[2] / "csrc" / "runtime"
DOUBLE, FLOATS = ctypes.c_double, ctypes.POINTER(ctypes.c_float)


class Error(ctypes.Structure):
    _fields_ = [("status", ctypes.c_int), ("message", ctypes.c_char * 248)]


class Decision(ctypes.Structure):
    _fields_ = [
        ("start", DOUBLE),
        ("end", DOUBLE),
        ("logits", FLOATS),
        ("probabilities", FLOATS),
        ("best", ctypes.c_size_t),
    ]


class Refused(Exception):
    """What the library says instead of a model or a classifier."""

    def __init__(self, error: Error) -> None:
        super().__init__(error.message.decode())
        self.status = error.status


def build(folder: Path, **definitions: str) -> Path:
    """Configure and build into the folder; that folder."""
    cmake = programs.cmake()
    defined = [f"-D{name}={value}" for name, value in definitions.items()]
    programs.run(cmake, "-S", str(RUNTIME), "-B", str(folder), *defined)
    programs.run(cmake, "--build", str(folder), "--parallel", "2")
    return folder


class Library:
    def __init__(self, path: Path) -> None:
        self.functions = ctypes.CDLL(str(path))
        for name, result, arguments in (
            ("wavenet_instruction_set", ctypes.c_char_p, []),
            ("wavenet_model_open", ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_void_p]),
            ("wavenet_model_free", None, [ctypes.c_void_p]),
            ("wavenet_model_sample_rate", DOUBLE, [ctypes.c_void_p]),
            ("wavenet_model_classes", ctypes.c_size_t, [ctypes.c_void_p]),
            ("wavenet_model_label", ctypes.c_char_p, [ctypes.c_void_p, ctypes.c_size_t]),
            (
                "wavenet_classifier_create",
                ctypes.c_void_p,
                [ctypes.c_void_p, DOUBLE, DOUBLE, ctypes.c_void_p],
            ),
            ("wavenet_classifier_free", None, [ctypes.c_void_p]),
            (
                "wavenet_classifier_push",
                ctypes.c_ssize_t,
                [ctypes.c_void_p, FLOATS, ctypes.c_size_t],
            ),
            ("wavenet_classifier_finish", None, [ctypes.c_void_p]),
            ("wavenet_classifier_read", ctypes.c_int, [ctypes.c_void_p, ctypes.c_void_p]),
            ("wavenet_classifier_reset", None, [ctypes.c_void_p]),
            ("wavenet_classifier_delay", DOUBLE, [ctypes.c_void_p]),
            (
                "wavenet_generator_create",
                ctypes.c_void_p,
                [ctypes.c_void_p, ctypes.c_uint64, DOUBLE, ctypes.c_void_p],
            ),
            ("wavenet_generator_free", None, [ctypes.c_void_p]),
            ("wavenet_model_frame_channels", ctypes.c_size_t, [ctypes.c_void_p]),
            ("wavenet_model_frame_samples", ctypes.c_size_t, [ctypes.c_void_p]),
            (
                "wavenet_generator_push",
                ctypes.c_ssize_t,
                [ctypes.c_void_p, FLOATS, ctypes.c_size_t],
            ),
            ("wavenet_generator_finish", None, [ctypes.c_void_p]),
            (
                "wavenet_generator_run",
                ctypes.c_ssize_t,
                [ctypes.c_void_p, FLOATS, ctypes.c_size_t],
            ),
            ("wavenet_generator_reset", None, [ctypes.c_void_p]),
            (
                "wavenet_stack_create",
                ctypes.c_void_p,
                [ctypes.c_void_p, ctypes.c_void_p],
            ),
            ("wavenet_stack_free", None, [ctypes.c_void_p]),
            ("wavenet_stack_inputs", ctypes.c_size_t, [ctypes.c_void_p]),
            ("wavenet_stack_outputs", ctypes.c_size_t, [ctypes.c_void_p]),
            ("wavenet_stack_push", None, [ctypes.c_void_p, FLOATS, ctypes.c_size_t, FLOATS]),
            ("wavenet_stack_reset", None, [ctypes.c_void_p]),
        ):
            function = getattr(self.functions, name)
            function.restype, function.argtypes = result, arguments


class _Made:
    """Something that the library makes of a model file; both are freed with it."""

    def __init__(self, library: Library, path: Path, kind: str, *arguments: object) -> None:
        self.c, error = library.functions, Error()
        self._free, self.made = getattr(self.c, f"wavenet_{kind}_free"), None
        self.model = self.c.wavenet_model_open(str(path).encode(), ctypes.byref(error))
        if self.model:
            create = getattr(self.c, f"wavenet_{kind}_create")
            self.made = create(self.model, *arguments, ctypes.byref(error))
        if not self.made:
            raise Refused(error)

    def __del__(self) -> None:
        self._free(self.made)
        self.c.wavenet_model_free(self.model)


class Listener(_Made):
    """A classifier of the library, with Python's names."""

    def __init__(self, library: Library, path: Path, window: float | None, hop: float) -> None:
        super().__init__(library, path, "classifier", window or 0.0, hop)
        self.classes = self.c.wavenet_model_classes(self.model)
        self.labels = tuple(
            self.c.wavenet_model_label(self.model, i).decode() for i in range(self.classes)
        )
        self.sample_rate = self.c.wavenet_model_sample_rate(self.model)

    @property
    def delay_seconds(self) -> float:
        return float(self.c.wavenet_classifier_delay(self.made))

    def push(self, samples: np.ndarray) -> list[tuple[float, float, np.ndarray]]:
        """(start, end, logits) of the decisions; the samples are float32 (n,)."""
        samples = np.ascontiguousarray(samples, np.float32)
        decisions = []
        while len(samples):
            pointer = samples.ctypes.data_as(FLOATS)
            taken = self.c.wavenet_classifier_push(self.made, pointer, len(samples))
            if taken < 0:
                raise ValueError("samples that are not finite")
            samples = samples[taken:]
            decisions += self.waiting()
        return decisions

    def finish(self) -> list[tuple[float, float, np.ndarray]]:
        self.c.wavenet_classifier_finish(self.made)
        decisions = []
        while some := self.waiting():
            decisions += some
        self.c.wavenet_classifier_reset(self.made)
        return decisions

    def waiting(self) -> list[tuple[float, float, np.ndarray]]:
        made = Decision()
        if not self.c.wavenet_classifier_read(self.made, ctypes.byref(made)):
            return []
        logits = np.ctypeslib.as_array(made.logits, (self.classes,)).copy()
        probabilities = np.ctypeslib.as_array(made.probabilities, (self.classes,))
        expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        np.testing.assert_allclose(probabilities, expected, rtol=1e-5)
        assert made.best == logits.argmax()
        return [(made.start, made.end, logits)]


class Speaker(_Made):
    """A generator of the library."""

    def __init__(self, library: Library, path: Path, seed: int, temperature: float) -> None:
        super().__init__(library, path, "generator", seed, temperature)

        self.frame_channels = self.c.wavenet_model_frame_channels(self.model)
        self.frame_samples = self.c.wavenet_model_frame_samples(self.model)

    def run(self, count: int) -> np.ndarray:
        """The next samples; fewer where frames are missing."""
        samples = np.empty(count, np.float32)
        pointer = samples.ctypes.data_as(FLOATS)
        made = self.c.wavenet_generator_run(self.made, pointer, count)
        if made < 0:
            raise FloatingPointError("parameters that are not finite")
        return samples[:made]

    def push(self, frames: np.ndarray) -> int:
        """Frames (n, M); how many were taken."""
        frames = np.ascontiguousarray(frames, np.float32)
        pointer = frames.ctypes.data_as(FLOATS)
        taken: int = self.c.wavenet_generator_push(self.made, pointer, len(frames))
        if taken < 0:
            raise ValueError("frames that are not finite")
        return taken

    def finish(self) -> None:
        """There are no more frames."""
        self.c.wavenet_generator_finish(self.made)

    def reset(self) -> None:
        """The signal starts anew."""
        self.c.wavenet_generator_reset(self.made)


class Stack(_Made):
    """A stack of the library."""

    def __init__(self, library: Library, path: Path) -> None:
        super().__init__(library, path, "stack")

    def push(self, rows: np.ndarray) -> np.ndarray:
        """(n, R) float32 -> the skip sums (n, S)."""
        rows = np.ascontiguousarray(rows, np.float32)
        assert rows.shape[1] == self.c.wavenet_stack_inputs(self.made)
        skip = np.empty((len(rows), self.c.wavenet_stack_outputs(self.made)), np.float32)
        given, to = rows.ctypes.data_as(FLOATS), skip.ctypes.data_as(FLOATS)
        self.c.wavenet_stack_push(self.made, given, len(rows), to)
        return skip

    def reset(self) -> None:
        """A new signal starts."""
        self.c.wavenet_stack_reset(self.made)
