"""How an answer is made: greedy or sampled, how random, how long, and where it stops."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from math import inf
from pathlib import Path
from typing import Any, TypedDict

from pydantic import ConfigDict

from qwen3_vl.config.model import Qwen3VLConfig
from qwen3_vl.config.reading import checked, read_object, refuse_unknown
from qwen3_vl.errors import ConfigError

# Keys of generation_config.json that cannot change an answer.
_HARMLESS = frozenset(
    {
        "_from_model_config",
        "bos_token_id",
        "output_attentions",
        "output_hidden_states",
        "output_logits",
        "output_scores",
        "return_dict_in_generate",
        "transformers_version",
        "trust_remote_code",
        "use_cache",
    }
)


# Whoever sets one of these means to sample.
_RANDOMNESS = frozenset({"temperature", "top_k", "top_p", "min_p", "seed"})


class GenerationOptions(TypedDict, total=False):
    """The settings of `GenerationConfig` as keyword arguments; None means: as it was."""

    max_new_tokens: int | None
    do_sample: bool | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    repetition_penalty: float | None
    presence_penalty: float | None
    frequency_penalty: float | None
    seed: int | None
    stop: str | tuple[str, ...] | list[str] | None
    eos_token_id: int | tuple[int, ...] | list[int] | None
    pad_token_id: int | None


@dataclass(frozen=True)
class GenerationConfig:
    """The settings of one answer. Each one's default leaves the model's own odds as they are."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    max_new_tokens: int = 512
    do_sample: bool = False
    """False: always the likeliest token, and the settings of randomness below do nothing."""
    temperature: float = 1.0
    top_k: int = 0
    """Keep the k likeliest tokens; 0 keeps all."""
    top_p: float = 1.0
    """Keep the likeliest tokens that together reach this probability."""
    min_p: float = 0.0
    """Drop tokens less likely than this share of the likeliest one."""
    repetition_penalty: float = 1.0
    """Weaken every token that stands in the prompt or the answer, by this factor."""
    presence_penalty: float = 0.0
    """Taken off the logit of every token that stands in the answer."""
    frequency_penalty: float = 0.0
    """Taken off for each time that a token stands in the answer."""
    seed: int = 0
    """The same seed gives the same answer, in any batch."""
    stop: tuple[str, ...] = ()
    """The answer ends before the first of these strings."""
    eos_token_id: tuple[int, ...] = ()
    pad_token_id: int | None = None

    def __post_init__(self) -> None:
        for name in ("stop", "eos_token_id"):  # one alone may stand without its tuple
            value = getattr(self, name)
            several = tuple(value) if isinstance(value, (list, tuple)) else (value,)
            object.__setattr__(self, name, several)
        for name, kind, low, high in (
            ("max_new_tokens", int, 1, inf),
            ("temperature", float, 0, inf),
            ("top_k", int, 0, inf),
            ("top_p", float, 0, 1),
            ("min_p", float, 0, 1),
            ("repetition_penalty", float, 0, inf),
            ("presence_penalty", float, -2, 2),
            ("frequency_penalty", float, -2, 2),
            ("seed", int, -(2**63), 2**64 - 1),
        ):
            value = getattr(self, name)
            if not _is_number(value, kind):
                what = "a whole number" if kind is int else "a number"
                raise ConfigError(f"{name} is {value!r}; it must be {what}")
            if not low <= value <= high or value == inf:
                limit = f"at least {low} and finite" if high == inf else f"between {low} and {high}"
                raise ConfigError(f"{name} is {value}; it must be {limit}")
        if not isinstance(self.do_sample, bool):
            raise ConfigError(f"do_sample is {self.do_sample!r}; it must be True or False")
        if self.top_p == 0 or self.repetition_penalty == 0:
            raise ConfigError("top_p and repetition_penalty must be above 0")
        if self.do_sample and self.temperature == 0:
            raise ConfigError("temperature 0 means the likeliest token: set do_sample=False")
        if not all(isinstance(text, str) and text for text in self.stop):
            raise ConfigError(f"stop is {self.stop!r}; it must be strings that are not empty")
        if not all(map(_is_token, self.eos_token_id)):
            raise ConfigError(f"eos_token_id is {self.eos_token_id!r}; it must be token ids")
        if not (self.pad_token_id is None or _is_token(self.pad_token_id)):
            raise ConfigError(
                f"pad_token_id is {self.pad_token_id!r}; it must be a token id, or None"
            )

    def change(self, options: GenerationOptions) -> GenerationConfig:
        """A copy with some settings changed; a setting of randomness also turns sampling on."""
        given: dict[str, Any] = {k: v for k, v in options.items() if v is not None}
        unknown = given.keys() - self.__dataclass_fields__.keys()
        if unknown:
            known = ", ".join(self.__dataclass_fields__)
            raise TypeError(f"unknown argument {', '.join(sorted(unknown))}; there are: {known}")
        random = sorted(given.keys() & _RANDOMNESS)
        if given.get("temperature") == 0 and not given.get("do_sample"):
            random.remove("temperature")
            _refuse_random("temperature=0", random)
            given |= {"do_sample": False, "temperature": 1.0}
        elif given.get("do_sample") is False:
            _refuse_random("do_sample=False", random)
        elif random:
            given["do_sample"] = True
        return replace(self, **given)

    @classmethod
    def from_pretrained(cls, folder: Path, model: Qwen3VLConfig) -> GenerationConfig:
        """Read `generation_config.json`; without it, the ends that the model's config names."""
        path = folder / "generation_config.json"
        text = model.text_config
        base: dict[str, Any] = {
            "eos_token_id": text.eos_token_id,
            "pad_token_id": text.pad_token_id,
        }
        if not path.is_file():
            return cls.from_dict(base)
        try:
            return cls.from_dict(base | read_object(path))
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> GenerationConfig:
        """Read the contents of a `generation_config.json`."""
        settings = {k: v for k, v in data.items() if k not in _HARMLESS and v is not None}
        refuse_unknown(settings, cls.__dataclass_fields__)
        for name in ("stop", "eos_token_id"):  # one alone may stand without its list
            value = settings.get(name, ())
            settings[name] = value if isinstance(value, (list, tuple)) else [value]
        return checked(cls, settings)

    def to_dict(self) -> dict[str, Any]:
        """The settings that differ from the defaults, as JSON has them."""
        default = asdict(GenerationConfig())
        changed = {k: v for k, v in asdict(self).items() if v != default[k]}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in changed.items()}


def _is_number(value: object, kind: type[int | float]) -> bool:
    kinds = int if kind is int else (int, float)
    return isinstance(value, kinds) and not isinstance(value, bool)


def _is_token(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _refuse_random(cause: str, random: list[str]) -> None:
    if random:
        raise ConfigError(f"{cause} makes {', '.join(random)} meaningless; drop one")
