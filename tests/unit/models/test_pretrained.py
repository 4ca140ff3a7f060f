"""From and to disk: our own round trip, and folders exchanged with transformers."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
import transformers

from qwen3_vl.config.generation import GenerationConfig
from qwen3_vl.errors import CheckpointError, ConfigError, DeviceError
from qwen3_vl.models.packed import PackedLinear
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration, Qwen3VLModel
from qwen3_vl.ops.chunked_attention import chunked_attention
from qwen3_vl.optimization.precision.weight_int8 import WeightInt8
from qwen3_vl.seams import PLAIN, LinearRule, Seams
from tests.support.tiny_models import CONFIGS, Image, Video, tiny_inputs, tiny_model

every_model = pytest.mark.parametrize("name", CONFIGS)


def inputs_for(model):
    return tiny_inputs(model.config, [3, Image(4, 6), 2, Video(2, 2, 4), 4], [5])


def theirs(name: str):
    kind = "Qwen3VLMoe" if name == "experts" else "Qwen3VL"
    return getattr(transformers, f"{kind}ForConditionalGeneration")


def check_same_logits(ours, reference) -> None:
    inputs = inputs_for(ours)
    mask = inputs["attention_mask"].bool()
    actual, expected = ours(**inputs).logits, reference(**inputs).logits
    torch.testing.assert_close(actual[mask], expected[mask], rtol=1e-4, atol=1e-4)


@torch.no_grad()
@every_model
def test_a_model_comes_back_from_disk(name, tmp_path):
    model = tiny_model(name)
    model.generation_config = GenerationConfig(do_sample=True, top_k=7, eos_token_id=(1, 2))
    model.save_pretrained(tmp_path)
    loaded = Qwen3VLForConditionalGeneration.from_pretrained(tmp_path)
    assert loaded.config == model.config
    assert loaded.generation_config == model.generation_config
    assert not loaded.training
    inputs = inputs_for(model)
    assert torch.equal(loaded(**inputs).logits, model(**inputs).logits)


@torch.no_grad()
@every_model
def test_the_model_without_its_head_loads_from_either_folder(name, tmp_path):
    model = tiny_model(name)
    model.save_pretrained(tmp_path / "whole")
    model.model.save_pretrained(tmp_path / "core")
    inputs = inputs_for(model)
    expected = model.model(**inputs).last_hidden_state
    for folder in ("whole", "core"):
        loaded = Qwen3VLModel.from_pretrained(tmp_path / folder)
        assert torch.equal(loaded(**inputs).last_hidden_state, expected)


def test_a_folder_without_a_head_is_no_whole_model(tmp_path):
    tiny_model("dense_untied").model.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"no tensor model\.visual"):
        Qwen3VLForConditionalGeneration.from_pretrained(tmp_path)


@torch.no_grad()
@every_model
@pytest.mark.parametrize("rope", ["rope_parameters", "rope_scaling"])
def test_transformers_loads_what_we_save(name, rope, tmp_path):
    model = tiny_model(name)
    model.save_pretrained(tmp_path, rope=rope, max_shard_bytes=400_000)
    reference, report = theirs(name).from_pretrained(
        tmp_path, dtype=torch.float32, output_loading_info=True
    )
    assert not any(report.values())
    check_same_logits(model, reference)


@torch.no_grad()
@every_model
def test_we_load_what_transformers_saves(name, tmp_path):
    torch.manual_seed(0)
    reference = theirs(name)(theirs(name).config_class(**CONFIGS[name].to_dict())).eval()
    reference.save_pretrained(tmp_path / "whole")
    ours = Qwen3VLForConditionalGeneration.from_pretrained(tmp_path / "whole")
    assert ours.config == CONFIGS[name]
    check_same_logits(ours, reference)
    reference.model.save_pretrained(tmp_path / "core")
    core = Qwen3VLModel.from_pretrained(tmp_path / "core")
    assert torch.equal(core.language_model.norm.weight, reference.model.language_model.norm.weight)


def test_a_tied_head_that_is_stored_too_is_the_embeddings(tmp_path):
    model = tiny_model("dense_untied")
    model.lm_head.weight.data = model.model.language_model.embed_tokens.weight.data.clone()
    model.config = CONFIGS["dense_tied"]
    model.save_pretrained(tmp_path)
    tied = Qwen3VLForConditionalGeneration.from_pretrained(tmp_path)
    assert tied.lm_head.weight is tied.model.language_model.embed_tokens.weight
    assert "lm_head.weight" not in dict(tied.named_parameters())


@pytest.mark.parametrize("kind", [Qwen3VLForConditionalGeneration, Qwen3VLModel])
def test_a_tied_config_beside_a_head_of_its_own_is_refused(kind, tmp_path):
    model = tiny_model("dense_untied")
    model.config = CONFIGS["dense_tied"]
    model.save_pretrained(tmp_path)
    if kind is Qwen3VLModel:
        kind.from_pretrained(tmp_path)  # it has no head that could be wrong
        return
    with pytest.raises(CheckpointError, match=r"differs from .*embed_tokens.* config\.json ties"):
        kind.from_pretrained(tmp_path)


def test_a_tie_outlives_moves_and_copies():
    model = tiny_model("dense_tied")
    copy = deepcopy(model).to(torch.bfloat16)
    assert copy.lm_head.weight is copy.model.language_model.embed_tokens.weight
    assert copy.lm_head.weight.dtype == torch.bfloat16
    assert model.lm_head.weight.dtype == torch.float32


def test_a_random_model_follows_from_its_seed():
    config = CONFIGS["experts"]
    one, same, other = (
        Qwen3VLForConditionalGeneration.random(config, seed).state_dict() for seed in (1, 1, 2)
    )
    assert all(torch.equal(one[name], same[name]) for name in one)
    matrices = [name for name in one if one[name].ndim > 1]
    assert not any(torch.equal(one[name], other[name]) for name in matrices)
    assert all(one[name].isfinite().all() for name in one)


def test_a_random_model_is_the_same_on_every_machine():
    table = Qwen3VLForConditionalGeneration.random(CONFIGS["dense_tied"], 5).lm_head.weight
    known = torch.tensor([0.00796234, -0.20895179, 0.12062369, 0.07445429])
    torch.testing.assert_close(table[0, :4], known, rtol=1e-5, atol=1e-7)


def test_a_skeleton_has_no_memory():
    config = CONFIGS["experts"]
    skeleton = Qwen3VLForConditionalGeneration.skeleton(config)
    assert skeleton.device.type == "meta"
    shapes = {name: weight.shape for name, weight in skeleton.named_parameters()}
    full = Qwen3VLForConditionalGeneration.random(config)
    assert shapes == {name: weight.shape for name, weight in full.named_parameters()}


@pytest.mark.parametrize("dtype", ["int8", "float64", torch.float64, torch.int8])
def test_a_dtype_that_no_model_computes_in_is_refused(dtype, tmp_path):
    tiny_model("dense_tied").save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="it can be auto, float32, bfloat16, float16"):
        Qwen3VLForConditionalGeneration.from_pretrained(tmp_path, dtype=dtype)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", {"": "cpu"}, "meta"], ids=str)
def test_a_device_that_is_not_here_is_refused(device, tmp_path):
    tiny_model("dense_tied").save_pretrained(tmp_path)
    with pytest.raises(DeviceError, match="use 'auto', 'cpu', or a device such as 'cuda:0'"):
        Qwen3VLForConditionalGeneration.from_pretrained(tmp_path, device_map=device)


def test_dtype_and_device_are_checked_before_anything_is_looked_for():
    with pytest.raises(ConfigError, match="dtype is 'int8'"):
        Qwen3VLForConditionalGeneration.from_pretrained("nobody/nothing", dtype="int8")
    with pytest.raises(DeviceError, match="device_map is 'gpu'"):
        Qwen3VLForConditionalGeneration.from_pretrained("nobody/nothing", device_map="gpu")


def test_loading_prints_nothing(tmp_path, capfd):
    tiny_model("dense_tied").save_pretrained(tmp_path)
    Qwen3VLForConditionalGeneration.from_pretrained(tmp_path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("device", ["cpu", "auto", torch.device("cpu")], ids=str)
def test_devices(device, tmp_path):
    tiny_model("dense_tied").save_pretrained(tmp_path)
    model = Qwen3VLForConditionalGeneration.from_pretrained(tmp_path, device_map=device)
    expected = "cuda" if device == "auto" and torch.cuda.is_available() else "cpu"
    assert {parameter.device.type for parameter in model.parameters()} == {expected}


@torch.no_grad()
@every_model
def test_with_other_seams_the_weights_are_the_same_memory(name):
    model = tiny_model(name)
    other = model.with_seams(Seams(mixer=Tiles()))
    for key, parameter in model.named_parameters():
        assert other.get_parameter(key).data_ptr() == parameter.data_ptr()
    inputs = tiny_inputs(model.config, (5, Image(4, 4), 3))
    assert not torch.equal(other(**inputs).logits, model(**inputs).logits), "it did not run"
    torch.testing.assert_close(other(**inputs).logits, model(**inputs).logits, atol=1e-4, rtol=0)
    assert torch.equal(other.with_seams(PLAIN)(**inputs).logits, model(**inputs).logits)


def test_with_other_seams_a_model_stays_what_it_was():
    model = tiny_model("dense_tied").bfloat16().train()
    model.generation_config = GenerationConfig(max_new_tokens=3)
    other = model.with_seams(Seams(linear=(LinearRule("mlp", WeightInt8()),)))
    assert other.training
    assert other.dtype == torch.bfloat16
    assert other.generation_config == model.generation_config
    assert other.seams.linear
    assert not model.seams.linear
    assert isinstance(other.model.language_model.layers[0].mlp.up_proj, PackedLinear)
    assert isinstance(model.model.language_model.layers[0].mlp.up_proj, torch.nn.Linear)


class Tiles:
    """Attention whose sums are added in another order."""

    def __call__(self, q, k, v, *, causal):
        return chunked_attention(q, k, v, causal=causal, query_chunk=3, key_chunk=2)[0]
