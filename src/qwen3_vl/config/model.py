"""The shape of a Qwen3-VL model: what `config.json` says, frozen and checked.

Three dataclasses (`TextConfig`, `VisionConfig`, `Qwen3VLConfig`) and the translation from and to
the files of both generations: `rope_theta` + `rope_scaling` (transformers 4) and `rope_parameters`
(transformers 5), dense (`qwen3_vl`) and with experts (`qwen3_vl_moe`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict

from qwen3_vl.config.reading import checked, read_object, refuse_unknown
from qwen3_vl.errors import CheckpointError, ConfigError

RopeStyle = Literal["rope_parameters", "rope_scaling"]


@dataclass(frozen=True)
class ExpertsConfig:
    """The mixture of experts that replaces the MLP of some layers."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    num_experts: int = 60
    num_experts_per_tok: int = 4
    moe_intermediate_size: int = 1408
    decoder_sparse_step: int = 1
    mlp_only_layers: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _positive(self, "num_experts", "num_experts_per_tok", "moe_intermediate_size")
        _positive(self, "decoder_sparse_step")
        if self.num_experts_per_tok > self.num_experts:
            raise ConfigError(
                f"num_experts_per_tok is {self.num_experts_per_tok} "
                f"but there are only {self.num_experts} experts"
            )


@dataclass(frozen=True)
class TextConfig:
    """The decoder. The defaults are the full-capacity shape: 32 layers, 32 heads."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    vocab_size: int = 151936
    hidden_size: int = 4096
    intermediate_size: int = 22016
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int = 32
    head_dim: int = 128
    hidden_act: Literal["silu"] = "silu"
    max_position_embeddings: int = 128000
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-6
    attention_bias: bool = False
    rope_theta: float = 500000.0
    mrope_section: tuple[int, int, int] = (24, 20, 20)
    experts: ExpertsConfig | None = None
    bos_token_id: int | None = None
    eos_token_id: int | tuple[int, ...] | None = None
    pad_token_id: int | None = None

    def __post_init__(self) -> None:
        _positive(self, "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers")
        _positive(self, "num_attention_heads", "num_key_value_heads", "head_dim")
        _positive(self, "max_position_embeddings", "rms_norm_eps", "rope_theta")
        if self.num_attention_heads % self.num_key_value_heads:
            raise ConfigError(
                f"num_attention_heads ({self.num_attention_heads}) is not a multiple of "
                f"num_key_value_heads ({self.num_key_value_heads})"
            )
        if 2 * sum(self.mrope_section) != self.head_dim:
            raise ConfigError(
                f"mrope_section {list(self.mrope_section)} must add up to half of head_dim "
                f"({self.head_dim // 2}), not to {sum(self.mrope_section)}"
            )

    def has_experts(self, layer: int) -> bool:
        """Whether this layer's MLP is a mixture of experts."""
        if self.experts is None or layer in self.experts.mlp_only_layers:
            return False
        return (layer + 1) % self.experts.decoder_sparse_step == 0


@dataclass(frozen=True)
class VisionConfig:
    """The vision tower and its mergers."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    depth: int = 27
    hidden_size: int = 1152
    hidden_act: Literal["gelu_pytorch_tanh"] = "gelu_pytorch_tanh"
    intermediate_size: int = 4304
    num_heads: int = 16
    in_channels: int = 3
    patch_size: int = 16
    spatial_merge_size: int = 2
    temporal_patch_size: int = 2
    out_hidden_size: int = 4096
    num_position_embeddings: int = 2304
    deepstack_visual_indexes: tuple[int, ...] = (8, 16, 24)
    initializer_range: float = 0.02
    rope_theta: float = 10000.0

    def __post_init__(self) -> None:
        _positive(self, "depth", "hidden_size", "intermediate_size", "num_heads", "in_channels")
        _positive(self, "patch_size", "spatial_merge_size", "temporal_patch_size")
        _positive(self, "out_hidden_size", "num_position_embeddings", "rope_theta")
        if self.hidden_size % (4 * self.num_heads):
            raise ConfigError(
                f"the vision hidden_size ({self.hidden_size}) must be a multiple of four times "
                f"num_heads ({self.num_heads}): each head splits into two axes of pairs"
            )
        if self.position_side**2 != self.num_position_embeddings:
            raise ConfigError(
                f"num_position_embeddings ({self.num_position_embeddings}) is not a square"
            )
        outside = [i for i in self.deepstack_visual_indexes if not 0 <= i < self.depth]
        if outside or len(set(self.deepstack_visual_indexes)) < len(self.deepstack_visual_indexes):
            raise ConfigError(
                f"deepstack_visual_indexes {list(self.deepstack_visual_indexes)} must be "
                f"different blocks of 0 … {self.depth - 1}"
            )

    @property
    def position_side(self) -> int:
        """The side of the square table of learned positions."""
        return round(self.num_position_embeddings**0.5)

    @property
    def patch_dim(self) -> int:
        """How many numbers describe one patch."""
        return self.in_channels * self.temporal_patch_size * self.patch_size**2

    @property
    def merge_area(self) -> int:
        """How many patches become one token of the decoder."""
        return self.spatial_merge_size**2


@dataclass(frozen=True)
class Qwen3VLConfig:
    """A whole model: decoder, vision tower, and the token ids that join them."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    text_config: TextConfig = field(default_factory=TextConfig)
    vision_config: VisionConfig = field(default_factory=VisionConfig)
    image_token_id: int = 151655
    video_token_id: int = 151656
    vision_start_token_id: int = 151652
    vision_end_token_id: int = 151653
    tie_word_embeddings: bool = False

    def __post_init__(self) -> None:
        text, vision = self.text_config, self.vision_config
        if vision.out_hidden_size != text.hidden_size:
            raise ConfigError(
                f"the vision tower gives {vision.out_hidden_size} numbers per token "
                f"(out_hidden_size) but the decoder takes {text.hidden_size} (hidden_size)"
            )
        if len(vision.deepstack_visual_indexes) > text.num_hidden_layers:
            raise ConfigError(
                f"{len(vision.deepstack_visual_indexes)} DeepStack features need as many decoder "
                f"layers; there are {text.num_hidden_layers}"
            )
        for name in ("image_token_id", "video_token_id"):
            if not 0 <= getattr(self, name) < text.vocab_size:
                raise ConfigError(
                    f"{name} {getattr(self, name)} is outside the vocabulary of {text.vocab_size}"
                )

    @property
    def model_type(self) -> str:
        """The name that `config.json` uses for this family."""
        return "qwen3_vl" if self.text_config.experts is None else "qwen3_vl_moe"

    @classmethod
    def preset(cls, name: str) -> Qwen3VLConfig:
        """The shape of an official checkpoint, such as `2b-instruct`."""
        if name not in PRESETS:
            raise ConfigError(f"there is no preset {name!r}; there are: {', '.join(PRESETS)}")
        return PRESETS[name]()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Qwen3VLConfig:
        """Read the contents of a `config.json` of either generation."""
        return _read_model(data)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Qwen3VLConfig:
        """Read `config.json` in a model folder."""
        path = Path(folder) / "config.json"
        if not path.is_file():
            raise CheckpointError(
                f"{path} does not exist; a model folder holds config.json, "
                "tokenizer.json and *.safetensors"
            )
        try:
            return cls.from_dict(read_object(path))
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error

    def to_dict(self, rope: RopeStyle = "rope_parameters") -> dict[str, Any]:
        """The contents of a `config.json`, in the newer or the older way to write positions."""
        return _write_model(self, rope)

    def replace(self, **changes: Any) -> Qwen3VLConfig:
        """A copy with some fields changed."""
        return replace(self, **changes)


def _dense_2b() -> Qwen3VLConfig:
    return Qwen3VLConfig(
        text_config=TextConfig(
            hidden_size=2048,
            intermediate_size=6144,
            num_hidden_layers=28,
            num_attention_heads=16,
            num_key_value_heads=8,
            max_position_embeddings=262144,
            rope_theta=5000000.0,
            bos_token_id=151643,
            eos_token_id=151645,
        ),
        vision_config=VisionConfig(
            depth=24,
            hidden_size=1024,
            intermediate_size=4096,
            out_hidden_size=2048,
            deepstack_visual_indexes=(5, 11, 17),
        ),
        tie_word_embeddings=True,
    )


PRESETS: Mapping[str, Callable[[], Qwen3VLConfig]] = {"2b-instruct": _dense_2b}

# Keys that cannot change what the model computes, wherever they stand.
_HARMLESS = frozenset(
    {
        "_name_or_path",
        "architectures",
        "chunk_size_feed_forward",
        "dtype",
        "id2label",
        "is_encoder_decoder",
        "label2id",
        "output_attentions",
        "output_hidden_states",
        "output_router_logits",
        "problem_type",
        "return_dict",
        "router_aux_loss_coef",
        "torch_dtype",
        "transformers_version",
        "use_cache",
    }
)
# Keys that are accepted only at the value at which they do nothing.
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "attention_dropout": (0, None),
    "sliding_window": (None,),
    "use_sliding_window": (False, None),
    "norm_topk_prob": (True, None),
    "mrope_interleaved": (True,),
    "attention_factor": (None, 1),
    "partial_rotary_factor": (None, 1),
}
_EXPERT_KEYS = frozenset(ExpertsConfig.__dataclass_fields__)


def _read_model(data: Mapping[str, Any]) -> Qwen3VLConfig:
    rest = _without_harmless(data, "")
    family = rest.pop("model_type", "qwen3_vl")
    if family not in ("qwen3_vl", "qwen3_vl_moe"):
        raise ConfigError(f"model_type is {family!r}; this package runs qwen3_vl and qwen3_vl_moe")
    text, vision = _section(rest, "text_config"), _section(rest, "vision_config")
    # transformers heeds the outer key; the inner one stands in old files that have only that.
    inner_tie = text.pop("tie_word_embeddings", False)
    rest.setdefault("tie_word_embeddings", inner_tie)
    for key in ("bos_token_id", "eos_token_id", "pad_token_id"):  # some tools write them outside
        outer = rest.pop(key, None)
        if text.get(key) is None:
            text[key] = outer
    rest["text_config"] = _read_text(text, with_experts=family == "qwen3_vl_moe")
    rest["vision_config"] = _read_vision(vision)
    refuse_unknown(rest, Qwen3VLConfig.__dataclass_fields__)
    return checked(Qwen3VLConfig, rest)


def _read_text(text: dict[str, Any], *, with_experts: bool) -> dict[str, Any]:
    text = _read_rope(text, "text_config", kind="default")
    heads = text.get("num_attention_heads", TextConfig.num_attention_heads)
    if text.get("num_key_value_heads", 0) is None:
        text["num_key_value_heads"] = heads
    known = TextConfig.__dataclass_fields__.keys() - {"experts"}
    if not with_experts:
        refuse_unknown(text, known, "text_config.")
        return text
    if "num_local_experts" in text:
        text = _joined(text, {"num_experts": text.pop("num_local_experts")}, "text_config")
    for key in ("mlp_only_layers", "head_dim"):
        if text.get(key, 0) is None:
            del text[key]
    refuse_unknown(text, known | _EXPERT_KEYS, "text_config.")
    with suppress(TypeError, ZeroDivisionError):  # the check of the types names what is wrong
        text.setdefault("head_dim", text.get("hidden_size", TextConfig.hidden_size) // heads)
    text["experts"] = {key: text.pop(key) for key in list(text) if key in _EXPERT_KEYS}
    return text


def _read_vision(vision: dict[str, Any]) -> dict[str, Any]:
    vision = _read_rope(vision, "vision_config", kind="axial")
    refuse_unknown(vision, VisionConfig.__dataclass_fields__, "vision_config.")
    return vision


def _read_rope(section: dict[str, Any], where: str, *, kind: str) -> dict[str, Any]:
    """Put the rope keys of both generations among the section's own, as our flat fields are."""
    for key in ("rope_scaling", "rope_parameters"):
        rope = _section(section, key, f"{where}.")
        old_name = rope.pop("type", kind)
        found = rope.pop("rope_type", old_name)
        if found not in (kind, "default", "mrope"):
            raise ConfigError(
                f"{where} asks for rope type {found!r}; only {kind!r} is supported: "
                "remove the scaling to run within the context the model was trained with"
            )
        section = _joined(section, rope, where)
    return section


def _joined(one: dict[str, Any], other: dict[str, Any], where: str) -> dict[str, Any]:
    """Both, if they agree where they overlap."""
    for key in one.keys() & other.keys():
        if one[key] != other[key]:
            raise ConfigError(
                f"{where} gives {key} twice, as {one[key]!r} and as {other[key]!r}; keep one"
            )
    return one | other


def _section(data: dict[str, Any], key: str, where: str = "") -> dict[str, Any]:
    """Take an inner object out, without what cannot change the model; null is an empty one."""
    value = data.pop(key, None)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}{key} is {type(value).__name__}, not a JSON object")
    section = _without_harmless(value, f"{where}{key}.")
    section.pop("model_type", None)
    return section


def _without_harmless(data: Mapping[str, Any], where: str) -> dict[str, Any]:
    for key, allowed in _NEUTRAL.items():
        if key in data and data[key] not in allowed:
            raise ConfigError(
                f"{where}{key} is {data[key]!r}; this package implements only {allowed[0]!r}"
            )
    return {k: v for k, v in data.items() if k not in _HARMLESS and k not in _NEUTRAL}


def _write_model(config: Qwen3VLConfig, rope: RopeStyle) -> dict[str, Any]:
    text, vision = asdict(config.text_config), asdict(config.vision_config)
    experts = text.pop("experts")
    sections = {"text_config": text, "vision_config": vision}
    mrope = {"mrope_section": text.pop("mrope_section"), "mrope_interleaved": True}
    if rope == "rope_parameters":
        theta = {"rope_theta": text.pop("rope_theta")}
        text["rope_parameters"] = theta | mrope | {"rope_type": "default"}
        vision_theta = {"rope_theta": vision.pop("rope_theta")}
        vision["rope_parameters"] = vision_theta | {"rope_type": "axial"}
    else:
        text["rope_scaling"] = mrope | {"rope_type": "default"}
        if vision.pop("rope_theta") != VisionConfig.rope_theta:
            raise ConfigError("the older config.json cannot hold a vision rope_theta")
    if experts is not None:
        text |= experts
        text["num_local_experts"] = text.pop("num_experts")
        if rope == "rope_scaling":
            text["num_experts"] = text.pop("num_local_experts")
    for name, section in sections.items():
        section["model_type"] = f"{config.model_type}_{name.removesuffix('_config')}"
    outer = {
        key: getattr(config, key) for key in config.__dataclass_fields__ if key not in sections
    }
    suffix = "" if experts is None else "Moe"
    return {
        "architectures": [f"Qwen3VL{suffix}ForConditionalGeneration"],
        "model_type": config.model_type,
        **outer,
        **{name: _jsonable(section) for name, section in sections.items()},
    }


def _jsonable(section: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps({k: v for k, v in section.items() if v is not None}))


def _positive(config: object, *names: str) -> None:
    for name in names:
        if not 0 < getattr(config, name) < math.inf:
            raise ConfigError(f"{name} is {getattr(config, name)}; it must be a positive number")
