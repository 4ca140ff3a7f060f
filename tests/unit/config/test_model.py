"""config.json of both generations and both families: read, written, and refused when wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import transformers

from qwen3_vl.config.model import ExpertsConfig, Qwen3VLConfig, TextConfig, VisionConfig
from qwen3_vl.errors import CheckpointError, ConfigError
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from tests.support.tiny_models import CONFIGS

every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
every_style = pytest.mark.parametrize("rope", ["rope_parameters", "rope_scaling"])

# As in the official checkpoint of 2B, written by transformers 4.
OFFICIAL_2B: dict[str, Any] = {
    "architectures": ["Qwen3VLForConditionalGeneration"],
    "image_token_id": 151655,
    "model_type": "qwen3_vl",
    "text_config": {
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 151643,
        "dtype": "bfloat16",
        "eos_token_id": 151645,
        "head_dim": 128,
        "hidden_act": "silu",
        "hidden_size": 2048,
        "initializer_range": 0.02,
        "intermediate_size": 6144,
        "max_position_embeddings": 262144,
        "model_type": "qwen3_vl_text",
        "num_attention_heads": 16,
        "num_hidden_layers": 28,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-06,
        "rope_scaling": {
            "mrope_interleaved": True,
            "mrope_section": [24, 20, 20],
            "rope_type": "default",
        },
        "rope_theta": 5000000,
        "tie_word_embeddings": True,
        "use_cache": True,
        "vocab_size": 151936,
    },
    "tie_word_embeddings": True,
    "transformers_version": "4.57.0.dev0",
    "video_token_id": 151656,
    "vision_config": {
        "deepstack_visual_indexes": [5, 11, 17],
        "depth": 24,
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_size": 1024,
        "in_channels": 3,
        "initializer_range": 0.02,
        "intermediate_size": 4096,
        "model_type": "qwen3_vl",
        "num_heads": 16,
        "num_position_embeddings": 2304,
        "out_hidden_size": 2048,
        "patch_size": 16,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    },
    "vision_end_token_id": 151653,
    "vision_start_token_id": 151652,
}


def theirs(config: Qwen3VLConfig) -> Any:
    """The same model, described by transformers."""
    dense = config.text_config.experts is None
    kind = transformers.Qwen3VLConfig if dense else transformers.Qwen3VLMoeConfig
    return kind(**config.to_dict())


def with_text(**changes: Any) -> dict[str, Any]:
    return {"text_config": changes}


def with_experts(**changes: Any) -> dict[str, Any]:
    return {"model_type": "qwen3_vl_moe"} | with_text(**changes)


def test_the_official_file_is_the_preset():
    assert Qwen3VLConfig.from_dict(OFFICIAL_2B) == Qwen3VLConfig.preset("2b-instruct")


def test_the_preset_has_the_official_number_of_parameters():
    model = Qwen3VLForConditionalGeneration.skeleton(Qwen3VLConfig.preset("2b-instruct"))
    assert all(parameter.is_meta for parameter in model.parameters())
    assert sum(parameter.numel() for parameter in model.parameters()) == 2_127_532_032


def test_the_default_is_the_full_capacity():
    config = Qwen3VLConfig.from_dict({})
    assert config == Qwen3VLConfig()
    assert (config.text_config.num_hidden_layers, config.text_config.num_attention_heads) == (
        32,
        32,
    )


def test_an_unknown_preset_is_told_with_the_known_ones():
    with pytest.raises(ConfigError, match="no preset '3b'; there are: 2b-instruct"):
        Qwen3VLConfig.preset("3b")


@every_style
@every_config
def test_what_is_written_is_read_back(config, rope, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict(rope)))
    assert Qwen3VLConfig.from_pretrained(tmp_path) == config


@every_config
def test_transformers_reads_what_is_written_and_its_files_are_read(config, tmp_path):
    reference = theirs(config)
    assert Qwen3VLConfig.from_dict(reference.to_dict()) == config
    reference.save_pretrained(tmp_path)
    assert Qwen3VLConfig.from_pretrained(tmp_path) == config
    text, ours = reference.text_config, config.text_config
    assert text.rope_parameters["rope_theta"] == ours.rope_theta
    assert tuple(text.rope_parameters["mrope_section"]) == ours.mrope_section
    assert reference.vision_config.num_position_embeddings == 36


def test_the_older_style_has_the_older_keys():
    text = Qwen3VLConfig.preset("2b-instruct").to_dict("rope_scaling")["text_config"]
    assert text["rope_theta"] == OFFICIAL_2B["text_config"]["rope_theta"]
    assert text["rope_scaling"] == OFFICIAL_2B["text_config"]["rope_scaling"]
    assert "rope_parameters" not in text


def test_the_older_style_cannot_hold_a_vision_theta():
    config = Qwen3VLConfig(vision_config=VisionConfig(rope_theta=500.0))
    assert config.to_dict()["vision_config"]["rope_parameters"]["rope_theta"] == 500.0
    with pytest.raises(ConfigError, match=r"older config\.json cannot hold a vision rope_theta"):
        config.to_dict("rope_scaling")


def test_null_is_an_empty_section():
    assert Qwen3VLConfig.from_dict({"text_config": None, "vision_config": None}) == Qwen3VLConfig()
    assert Qwen3VLConfig.from_dict(with_text(rope_scaling=None)) == Qwen3VLConfig()


def test_no_key_heads_means_as_many_as_heads():
    config = Qwen3VLConfig.from_dict(with_text(num_attention_heads=8, num_key_value_heads=None))
    assert config.text_config.num_key_value_heads == 8


@pytest.mark.parametrize(("outer", "inner", "tied"), [(False, True, False), (None, True, True)])
def test_the_outer_tie_decides(outer, inner, tied):
    data = with_text(tie_word_embeddings=inner)
    if outer is not None:
        data["tie_word_embeddings"] = outer
    assert Qwen3VLConfig.from_dict(data).tie_word_embeddings is tied


@pytest.mark.parametrize("key", ["num_experts", "num_local_experts"])
def test_experts_under_either_name(key):
    config = Qwen3VLConfig.from_dict(with_experts(**{key: 6}, num_experts_per_tok=2))
    assert config.text_config.experts == replace(
        ExpertsConfig(), num_experts=6, num_experts_per_tok=2
    )
    assert config.model_type == "qwen3_vl_moe"


def test_experts_without_a_head_dim_share_the_width():
    data = with_experts(num_attention_heads=16, num_key_value_heads=4, head_dim=None)
    data["text_config"] |= {
        "rope_scaling": {"mrope_section": [64, 32, 32]},
        "mlp_only_layers": None,
    }
    config = Qwen3VLConfig.from_dict(data)
    assert config.text_config.head_dim == 4096 // 16


def test_which_layers_have_experts():
    experts = ExpertsConfig(decoder_sparse_step=2, mlp_only_layers=(3,))
    text = TextConfig(num_hidden_layers=8, experts=experts)
    assert [layer for layer in range(8) if text.has_experts(layer)] == [1, 5, 7]
    assert not any(TextConfig().has_experts(layer) for layer in range(32))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (with_text(hiden_size=64), "unknown key text_config.hiden_size; did you mean hidden_size"),
        (with_text(flash=1, turbo=2), "key text_config.flash; unknown key text_config.turbo$"),
        ({"image_token": 5}, "unknown key image_token; did you mean image_token_id"),
        ({"vision_config": {"depht": 2}}, "vision_config.depht; did you mean depth"),
        (with_text(num_experts=8), "unknown key text_config.num_experts"),
        (with_experts(num_expert=8), "did you mean num_experts"),
        (with_text(experts={}), "unknown key text_config.experts"),
        (with_text(rope_scaling={"factor": 2.0}), "unknown key text_config.factor"),
    ],
)
def test_unknown_keys_are_named(data, message):
    with pytest.raises(ConfigError, match=message):
        Qwen3VLConfig.from_dict(data)


@pytest.mark.parametrize(
    "data",
    [
        with_text(attention_dropout=0.1),
        with_text(sliding_window=4096),
        with_text(rope_parameters={"mrope_interleaved": False}),
        with_experts(norm_topk_prob=False),
    ],
)
def test_keys_that_would_change_the_model_are_taken_at_their_neutral_value_only(data):
    with pytest.raises(ConfigError, match="this package implements only"):
        Qwen3VLConfig.from_dict(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"vision_config": {"out_hidden_size": 3584}}, "gives 3584 .* takes 4096"),
        (with_text(num_key_value_heads=5), "not a multiple of num_key_value_heads"),
        (with_text(mrope_section=[24, 20, 21]), r"half of head_dim \(64\), not to 65"),
        (with_text(num_hidden_layers=2), "3 DeepStack features .* there are 2"),
        (with_text(vocab_size=1000), "image_token_id 151655 is outside the vocabulary of 1000"),
        (with_text(hidden_size=0), "hidden_size is 0; it must be a positive number"),
        (with_text(rms_norm_eps=float("nan")), "rms_norm_eps is nan"),
        ({"vision_config": {"num_position_embeddings": 50}}, "not a square"),
        ({"vision_config": {"num_heads": 7}}, "multiple of four times"),
        ({"vision_config": {"deepstack_visual_indexes": [1, 1]}}, "different blocks"),
        ({"vision_config": {"deepstack_visual_indexes": [1, 27]}}, "different blocks of 0 … 26"),
        (with_experts(num_experts=3), "num_experts_per_tok is 4 but there are only 3"),
        (with_experts(num_experts=8, num_local_experts=9), "gives num_experts twice"),
        (with_text(rope_theta=1e4, rope_parameters={"rope_theta": 1e6}), "gives rope_theta twice"),
    ],
)
def test_contradictions_are_refused(data, message):
    with pytest.raises(ConfigError, match=message):
        Qwen3VLConfig.from_dict(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (with_text(hidden_size="64"), "text_config.hidden_size is '64': .* valid integer"),
        (with_text(attention_bias=1), "text_config.attention_bias is 1: .* valid boolean"),
        (with_text(hidden_act="relu"), "text_config.hidden_act is 'relu': .*'silu'"),
        (with_text(mrope_section=[32, 32]), "text_config.mrope_section.2"),
        (with_text(rope_scaling=5), "text_config.rope_scaling is int, not a JSON object"),
        (with_experts(hidden_size="64"), "text_config.hidden_size is '64'"),
        (with_experts(num_attention_heads=0), "num_attention_heads is 0; it must be"),
        ({"vision_config": [1]}, "vision_config is list, not a JSON object"),
        ({"tie_word_embeddings": None}, "tie_word_embeddings is None"),
    ],
)
def test_wrong_types_are_named(data, message):
    with pytest.raises(ConfigError, match=message):
        Qwen3VLConfig.from_dict(data)


@pytest.mark.parametrize("scaling", [{"rope_type": "yarn"}, {"type": "yarn"}])
def test_a_scaled_context_is_refused(scaling):
    with pytest.raises(ConfigError, match="rope type 'yarn'; only 'default' is supported"):
        Qwen3VLConfig.from_dict(with_text(rope_scaling=scaling))


@pytest.mark.parametrize("family", ["qwen2_5_vl", "llama", 3])
def test_another_family_is_refused(family):
    with pytest.raises(ConfigError, match="this package runs qwen3_vl and qwen3_vl_moe"):
        Qwen3VLConfig.from_dict({"model_type": family})


def test_a_missing_file_is_told_with_what_a_folder_holds(tmp_path):
    with pytest.raises(CheckpointError, match=r"config.json does not exist; a model folder holds"):
        Qwen3VLConfig.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"{", "not valid JSON"), (b"\xff\xfe\x00", "not valid JSON"), (b"[]", "holds list, not")],
)
def test_a_broken_file_is_told(tmp_path, content, message):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        Qwen3VLConfig.from_pretrained(tmp_path)


def test_an_error_in_a_file_names_the_file(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"colour": "red"}))
    with pytest.raises(ConfigError, match=r"config\.json: unknown key colour"):
        Qwen3VLConfig.from_pretrained(tmp_path)


def test_ends_that_stand_outside_the_text_section_are_taken_from_there() -> None:
    data = Qwen3VLConfig.preset("2b-instruct").to_dict()
    del data["text_config"]["eos_token_id"]
    read = Qwen3VLConfig.from_dict(data | {"eos_token_id": [7, 8], "bos_token_id": 3})
    assert read.text_config.eos_token_id == (7, 8)
    assert read.text_config.bos_token_id == 151643
