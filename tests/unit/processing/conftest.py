"""A tiny processor folder for all tests of the processing layer."""

from __future__ import annotations

from pathlib import Path

import pytest

from qwen3_vl.processing.processor import Qwen3VLProcessor
from qwen3_vl.processing.tokenizer import Tokenizer
from tests.support.tiny_processor import write_processor_folder


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_processor_folder(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="session")
def processor(folder: Path) -> Qwen3VLProcessor:
    return Qwen3VLProcessor.from_pretrained(folder)


@pytest.fixture(scope="session")
def tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.from_folder(folder)
