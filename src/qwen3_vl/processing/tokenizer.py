"""Text to token ids and back, over the checkpoint's own tokenizer.json."""

from __future__ import annotations

import codecs
import json
import operator
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, SupportsIndex

import tokenizers

from qwen3_vl.errors import CheckpointError, ConfigError, InputError
from qwen3_vl.processing.settings import read_json

END_OF_TURN = "<|im_end|>"
END_OF_TEXT = "<|endoftext|>"


class Tokenizer:
    """A byte-level tokenizer with the special tokens of its checkpoint."""

    def __init__(self, backend: tokenizers.Tokenizer, config: dict[str, Any] | None = None):
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend
        self.config = {} if config is None else config
        self.eos_token = _token_text(self.config, "eos_token", END_OF_TURN)
        self.pad_token = _token_text(self.config, "pad_token", END_OF_TEXT)
        self.padding_side: Literal["left", "right"] = _padding_side(self.config)
        self.eos_token_id = self.token_to_id(self.eos_token)
        self.pad_token_id = self.token_to_id(self.pad_token)
        added = backend.get_added_tokens_decoder()
        self._added = {index: token.content for index, token in added.items()}
        self._alphabet = _byte_alphabet()
        self._special = frozenset(index for index, token in added.items() if token.special)

    @classmethod
    def from_folder(cls, folder: str | Path) -> Tokenizer:
        """Read tokenizer.json and, where there is one, tokenizer_config.json."""
        path = Path(folder) / "tokenizer.json"
        settings = read_json(path)
        if settings is None:
            raise CheckpointError(f"{path} is missing. Is the checkpoint download complete?")
        decoder = settings.get("decoder")
        if not isinstance(decoder, dict) or decoder.get("type") != "ByteLevel":
            raise CheckpointError(f"{path} is not a byte-level tokenizer, as Qwen3-VL has it")
        try:
            backend = tokenizers.Tokenizer.from_str(json.dumps(settings, ensure_ascii=False))
        except Exception as problem:  # the library raises plain Exception for a bad file
            raise CheckpointError(f"{path} is not a valid tokenizer file: {problem}") from problem
        return cls(backend, read_json(Path(folder) / "tokenizer_config.json"))

    @property
    def special_tokens(self) -> dict[str, str]:
        """Named tokens that a chat template may use as variables."""
        named = {"eos_token": self.eos_token, "pad_token": self.pad_token}
        for name in ("bos_token", "unk_token"):
            if self.config.get(name) is not None:
                named[name] = _token_text(self.config, name, "")
        return named

    def __len__(self) -> int:
        return self._backend.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`. Special tokens written in it are recognised; none are added."""
        return self._backend.encode(check_text(text), add_special_tokens=False).ids

    def decode(self, ids: Iterable[SupportsIndex], skip_special_tokens: bool = False) -> str:
        """The text of `ids`; an id without a token (the model has spare ones) gives no text."""
        checked = [_check_id(index) for index in ids]
        return self._backend.decode(checked, skip_special_tokens=skip_special_tokens)

    def token_to_id(self, token: str) -> int:
        """The id of one token."""
        index = self._backend.token_to_id(token)
        if index is None:
            raise CheckpointError(
                f"the tokenizer has no token {token!r}; is this a Qwen3-VL checkpoint?"
            )
        return index

    def token_bytes(self, index: int, skip_special_tokens: bool = False) -> bytes:
        """The bytes one token stands for; they need not be whole characters."""
        index = _check_id(index)
        if skip_special_tokens and index in self._special:
            return b""
        if index in self._added:
            return self._added[index].encode()
        token = self._backend.id_to_token(index)
        return b"" if token is None else bytes(map(self._alphabet.__getitem__, token))

    def stream(self, skip_special_tokens: bool = True) -> TokenStream:
        """A decoder for tokens that arrive one by one."""
        return TokenStream(self, skip_special_tokens)

    def files(self) -> dict[str, str]:
        """The content of the files this tokenizer is read from."""
        config = {"eos_token": self.eos_token, "pad_token": self.pad_token} | self.config
        return {
            "tokenizer.json": self._backend.to_str(pretty=True),
            "tokenizer_config.json": json.dumps(config, ensure_ascii=False, indent=2) + "\n",
        }


class TokenStream:
    """Turns tokens into text as they come; the pieces joined equal `Tokenizer.decode`.

    A character whose bytes are spread over tokens is held back until it is whole. One step costs
    the bytes of its own token, however long the text already is.
    """

    def __init__(self, tokenizer: Tokenizer, skip_special_tokens: bool = True):
        self._tokenizer = tokenizer
        self._skip_special_tokens = skip_special_tokens
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, index: int) -> str:
        """Add a token; returns the text that is final because of it, often but not always some."""
        return self._decoder.decode(self._tokenizer.token_bytes(index, self._skip_special_tokens))

    def flush(self) -> str:
        """End the text: a character left incomplete becomes U+FFFD."""
        return self._decoder.decode(b"", final=True)


def check_text(text: object) -> str:
    """`text` itself, if it is text that UTF-8 can hold."""
    if not isinstance(text, str):
        raise InputError(
            f"text must be a str, not {type(text).__name__}"
            + ("; decode the bytes first" if isinstance(text, (bytes, bytearray)) else "")
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as problem:
        raise InputError(
            f"the text is not valid Unicode: a lone surrogate at character {problem.start}; "
            "repair it, for example with text.encode('utf-8', 'replace').decode()"
        ) from problem
    return text


def as_id_lists(ids: Any) -> list[list[int]]:
    """Rows of ids from a list of rows or a 2-D tensor or array."""
    return [as_id_list(row) for row in as_id_list(ids)]


def as_id_list(ids: Any) -> list[Any]:
    """One row of ids from a list, a 1-D tensor or array, or a single id."""
    if isinstance(ids, (list, tuple)):
        return list(ids)
    values = ids.tolist() if hasattr(ids, "tolist") else ids
    if isinstance(values, (list, int)):
        return values if isinstance(values, list) else [values]
    raise InputError(
        f"token ids are whole numbers in a list, a tensor or an array, not {ids!r:.80}"
    )


def _byte_alphabet() -> dict[str, int]:
    """The alphabet of byte-level vocabularies: printable bytes as they are, others from U+0100."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(256) if byte not in printable]
    shifted = {chr(0x100 + place): byte for place, byte in enumerate(hidden)}
    return {chr(byte): byte for byte in printable} | shifted


def _token_text(config: dict[str, Any], name: str, default: str) -> str:
    value = config.get(name)
    if isinstance(value, dict):
        value = value.get("content")
    return default if value is None else str(value)


def _padding_side(config: dict[str, Any]) -> Literal["left", "right"]:
    side = config.get("padding_side", "right")
    if side not in ("left", "right"):
        raise ConfigError(f"padding_side must be 'left' or 'right', not {side!r}")
    return side


def _check_id(index: SupportsIndex) -> int:
    try:
        number = operator.index(index)
    except TypeError:
        raise InputError(f"a token id is a whole number, not {index!r:.80}") from None
    if number < 0:
        raise InputError(f"token ids are not negative, got {number}; cut marks such as -100 first")
    if number >= 2**32:
        raise InputError(f"the token id {number} is larger than any vocabulary")
    return number
