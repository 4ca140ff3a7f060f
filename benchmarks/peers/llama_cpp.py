"""llama.cpp through the library that llama-cpp-python builds, pictures through its mtmd part."""

from __future__ import annotations

import ctypes
import json
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from llama_cpp import mtmd_cpp as mtmd

from benchmarks.peers.gguf_files import write_text, write_vision
from benchmarks.peers.worker import SteppingEngine, serve

FORMATS = {
    "Q4_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0,
    "Q4_K_M": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M,
    "Q8_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0,
}
PROMPT = "<|im_start|>user\n{}{}<|im_end|>\n<|im_start|>assistant\n"
BATCH = 2048
"""As llama.cpp has it by default; its compute batches are 512."""


class LlamaCpp(SteppingEngine):
    """`text` and `vision` in the settings are formats; keys and values are in float16."""

    packages = ("llama-cpp-python",)
    _context: int | None = None
    _room = 0

    def prepare(self, checkpoint: Path, folder: Path) -> None:
        plain = folder / "text-BF16.gguf"
        wanted = self._file(folder, "text")
        if not wanted.is_file():
            if not plain.is_file():
                write_text(checkpoint, plain)
            settings = llama_cpp.llama_model_quantize_default_params()
            settings.ftype = FORMATS[self.settings["text"]]
            made = wanted.with_suffix(".partial")
            names = (str(plain).encode(), str(made).encode())
            if llama_cpp.llama_model_quantize(*names, ctypes.byref(settings)):
                raise RuntimeError(f"llama_model_quantize could not write {wanted.name}")
            made.rename(wanted)
        if not self._file(folder, "vision").is_file():
            write_vision(checkpoint, self._file(folder, "vision"), self.settings["vision"])

    def load(self, checkpoint: Path, folder: Path, threads: int, vision: bool) -> None:
        llama_cpp.llama_backend_init()
        self._threads = threads
        settings = llama_cpp.llama_model_default_params()
        name = str(self._file(folder, "text")).encode()
        self._model = _there(llama_cpp.llama_model_load_from_file(name, settings), "the model")
        self._words = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self._model))
        self._eyes = self._open_eyes(folder) if vision else None
        patches = json.loads((checkpoint / "config.json").read_text())["vision_config"]
        self._block = patches["patch_size"] * patches["spatial_merge_size"]

    def begin(self, tokens: int) -> None:
        """A context is as long as it must be: by default it would be that of the model."""
        if self._context is None or self._room != tokens:
            if self._context is not None:
                llama_cpp.llama_free(self._context)
            settings = llama_cpp.llama_context_default_params()
            settings.n_ctx = tokens
            settings.n_batch = BATCH
            settings.n_threads = settings.n_threads_batch = self._threads
            settings.no_perf = True
            made = llama_cpp.llama_init_from_model(self._model, settings)
            self._context, self._room = _there(made, "a context"), tokens
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), False)

    def prompt(self, ids: list[int]) -> None:
        for start in range(0, len(ids), BATCH):
            self._take(ids[start : start + BATCH])

    def step(self) -> None:
        self._take([self._best()])

    def pixels(self, picture: np.ndarray) -> Any:
        """Chunks of a prompt that is nothing but the picture; mtmd prepares pixels with them."""
        return self._chunks(picture, mtmd.mtmd_default_marker().decode())

    def see(self, pixels: Any) -> None:
        for index in range(mtmd.mtmd_input_chunks_size(pixels)):
            chunk = mtmd.mtmd_input_chunks_get(pixels, index)
            if mtmd.mtmd_input_chunk_get_type(chunk) == mtmd.MTMD_INPUT_CHUNK_TYPE_IMAGE:
                _check(mtmd.mtmd_encode_chunk(self._eyes, chunk), "mtmd_encode_chunk")
        mtmd.mtmd_input_chunks_free(pixels)

    def look(self, picture: np.ndarray, question: str) -> int:
        height, width, _ = picture.shape
        tokens = width // self._block * (height // self._block)
        self.begin(-(-(tokens + 256) // 256) * 256)
        marker = mtmd.mtmd_default_marker().decode()
        chunks = self._chunks(picture, PROMPT.format(marker, question))
        reached = llama_cpp.llama_pos(0)
        done = mtmd.mtmd_helper_eval_chunks(
            self._eyes, self._context, chunks, 0, 0, BATCH, True, ctypes.byref(reached)
        )
        _check(done, "mtmd_helper_eval_chunks")
        self._best()
        tokens = mtmd.mtmd_helper_get_n_tokens(chunks)
        mtmd.mtmd_input_chunks_free(chunks)
        return tokens

    def _file(self, folder: Path, part: str) -> Path:
        return folder / f"{part}-{self.settings[part]}.gguf"

    def _open_eyes(self, folder: Path) -> Any:
        settings = mtmd.mtmd_context_params_default()
        settings.use_gpu = False
        settings.n_threads = self._threads
        settings.warmup = False  # it would take memory for a picture larger than any shown
        name = str(self._file(folder, "vision")).encode()
        return _there(mtmd.mtmd_init_from_file(name, self._model, settings), "the vision tower")

    def _take(self, ids: list[int]) -> None:
        given = (llama_cpp.llama_token * len(ids))(*ids)
        batch = llama_cpp.llama_batch_get_one(given, len(ids))
        _check(llama_cpp.llama_decode(self._context, batch), "llama_decode")
        llama_cpp.llama_synchronize(self._context)

    def _best(self) -> int:
        scores = llama_cpp.llama_get_logits_ith(self._context, -1)
        return int(np.ctypeslib.as_array(scores, shape=(self._words,)).argmax())

    def _chunks(self, picture: np.ndarray, text: str) -> Any:
        height, width, _ = picture.shape
        data = np.ascontiguousarray(picture).ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        bitmap = mtmd.mtmd_bitmap_init(width, height, data)
        written = text.encode()
        prompt = mtmd.mtmd_input_text(written, len(written), False, True)
        chunks = mtmd.mtmd_input_chunks_init()
        bitmaps = (mtmd.mtmd_bitmap_p_ctypes * 1)(bitmap)
        done = mtmd.mtmd_tokenize(self._eyes, chunks, ctypes.byref(prompt), bitmaps, 1)
        mtmd.mtmd_bitmap_free(bitmap)
        _check(done, "mtmd_tokenize")
        return chunks


def _there(made: Any, what: str) -> Any:
    if not made:
        raise RuntimeError(f"llama.cpp could not load {what}; its log says why")
    return made


def _check(code: int, call: str) -> None:
    if code:
        raise RuntimeError(f"{call} ended with code {code}; the log says why")


if __name__ == "__main__":
    serve(LlamaCpp)
