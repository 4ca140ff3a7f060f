"""Asking, as a program does it: with the embedded model."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from qwen3_vl.api import Qwen3VLInference, user_message
from qwen3_vl.config.generation import GenerationOptions
from qwen3_vl.config.origins import build
from qwen3_vl.config.sources import read_overrides
from qwen3_vl.errors import (
    ConfigError,
    ContextLengthError,
    DeviceError,
    Incompatible,
    InputError,
)
from qwen3_vl.hardware.device import Cpu, Disk, Gpu, Machine, Memory, Power
from qwen3_vl.models.packed import PackedLinear
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.ops import native
from tests.support.tiny_checkpoint import with_embedded_tokens, write_checkpoint
from tests.support.tiny_models import CONFIGS, random_model

WILD: GenerationOptions = {"temperature": 50.0, "seed": 2, "eos_token_id": ()}
"""Any token is about as likely as any other, and none ends the answer."""


@pytest.fixture(scope="module")
def vlm() -> Qwen3VLInference:
    return Qwen3VLInference("embedded")


@pytest.fixture
def picture() -> Image.Image:
    return Image.radial_gradient("L").resize((80, 64)).convert("RGB")


def test_stream_and_response_say_the_same(vlm: Qwen3VLInference, picture: Image.Image) -> None:
    pieces = list(vlm.stream("What?", [picture], max_new_tokens=12, **WILD))
    assert len(pieces) > 1
    whole = vlm.generate_response("What?", images=[picture], max_new_tokens=12, **WILD)
    assert "".join(pieces) == whole


def test_the_answer_is_that_of_generate(vlm: Qwen3VLInference, picture: Image.Image) -> None:
    model, processor = vlm.engine.model, vlm.engine.processor
    inputs = processor.apply_chat_template(
        user_message("What?", [picture]),
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
    )
    ids = model.generate(**inputs, max_new_tokens=12)[0, inputs["input_ids"].shape[1] :]
    expected = processor.decode(ids, skip_special_tokens=True)
    assert vlm.generate_multimodal("What?", [picture], max_new_tokens=12) == expected


def test_the_picture_matters(vlm: Qwen3VLInference) -> None:
    def answer(colour: str) -> str:
        return vlm.generate_response("what colour is it?", [Image.new("RGB", (64, 64), colour)])

    assert answer("red") != answer("blue")


def test_a_video_of_frames_is_answered(vlm: Qwen3VLInference) -> None:
    frames = [np.full((48, 64, 3), level, np.uint8) for level in (0, 80, 160, 240)]
    asked = user_message("What?", videos=[frames])
    pieces = list(vlm.chat(asked, max_new_tokens=3, **WILD))
    assert pieces[-1].finish_reason == "length"
    assert pieces[-1].answer_tokens == 3
    assert pieces[-1].prompt_tokens > 2 * 2


def test_a_stop_string_ends_the_answer_before_it(vlm: Qwen3VLInference) -> None:
    whole = vlm.generate_text("Hi", max_new_tokens=24, **WILD)
    stop = whole[8:10]
    pieces = list(vlm.chat(user_message("Hi"), max_new_tokens=24, stop=stop, **WILD))
    assert "".join(piece.text for piece in pieces) == whole[: whole.index(stop)]
    assert pieces[-1].finish_reason == "stop"
    assert [piece.finish_reason for piece in pieces[:-1]] == [None] * (len(pieces) - 1)


def test_an_end_token_ends_the_answer(vlm: Qwen3VLInference) -> None:
    every = tuple(range(vlm.engine.model.config.text_config.vocab_size))
    pieces = list(vlm.chat(user_message("Hi"), max_new_tokens=24, eos_token_id=every))
    assert [(piece.text, piece.finish_reason) for piece in pieces] == [("", "stop")]


def test_a_saved_model_answers_by_its_folder(tmp_path: Path, picture: Image.Image) -> None:
    model = random_model(with_embedded_tokens(CONFIGS["dense_tied"]))
    folder = write_checkpoint(tmp_path / "model", model)
    by_name = Qwen3VLInference(folder)
    by_hand = Qwen3VLInference(model, by_name.engine.processor)
    asked = {"images": [picture.resize((40, 32))], "max_new_tokens": 6}
    assert by_name.generate_response("Q", **asked) == by_hand.generate_response("Q", **asked)
    half = Qwen3VLInference.from_pretrained(folder, dtype="bfloat16")
    assert half.engine.model.dtype == torch.bfloat16
    assert isinstance(half.generate_response("Q", **asked), str)


def test_questions_that_cannot_be_answered(vlm: Qwen3VLInference, picture: Image.Image) -> None:
    with pytest.raises(InputError, match="images must be a list"):
        vlm.generate_response("What?", images=picture)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="needs images or videos"):
        vlm.generate_multimodal("What?")
    with pytest.raises(ContextLengthError, match="lower max_new_tokens"):
        vlm.generate_text("Hi", max_new_tokens=10**6)
    with pytest.raises(ContextLengthError, match="context of 8192"):
        vlm.generate_text("Hi " * 5000)
    with pytest.raises(InputError, match="lone surrogate"):
        vlm.generate_text("broken \ud800")
    with pytest.raises(TypeError, match="unknown argument num_beams"):
        vlm.generate_text("Hi", num_beams=4)  # type: ignore[call-arg]


def test_a_loaded_model_needs_its_processor() -> None:
    model = Qwen3VLForConditionalGeneration.random(CONFIGS["dense_tied"])
    with pytest.raises(InputError, match="needs its processor"):
        Qwen3VLInference(model)


def test_a_recipe_changes_how_the_model_runs(vlm: Qwen3VLInference) -> None:
    asked = "repeat: 4H7K2M9Q"
    plain = vlm.generate_text(asked)
    exact = Qwen3VLInference.from_pretrained("embedded", recipe="memory_efficient_attention")
    assert exact.generate_text(asked) == plain
    small = Qwen3VLInference.from_pretrained("embedded", recipe="weight_int8")
    layer = small.engine.model.get_submodule("model.language_model.layers.0.mlp.up_proj")
    assert isinstance(layer, PackedLinear)
    with pytest.raises(ConfigError, match="did you mean weight_int8"):
        Qwen3VLInference.from_pretrained("embedded", recipe="weight_int9")


def test_a_config_decides_how_the_model_runs() -> None:
    config = build(
        read_overrides(
            [
                "cpu.threads=1",
                "cpu.kernels=scalar",
                "gpu.device=cpu",
                "memory.max_context=64",
                "optimization.recipe=weight_int8",
                "generation.max_new_tokens=5",
            ]
        )
    )
    threads = torch.get_num_threads()
    try:
        vlm = Qwen3VLInference.from_config("embedded", config)
        assert torch.get_num_threads() == 1
        assert native.report().startswith("CPU kernels: scalar")
        assert list(vlm.chat(user_message("repeat: D8FSVJU353V6")))[-1].answer_tokens == 5
        with pytest.raises(ContextLengthError, match=r"limit of 64 that was set"):
            vlm.generate_text("Hi " * 60)
    finally:
        torch.set_num_threads(threads)
        os.environ.pop(native.FORCED_BY)
        native.variant.cache_clear()


def test_a_config_that_cannot_hold_the_model_is_refused_before_it_loads() -> None:
    config = build(read_overrides(["memory.max_bytes=1 GB", "gpu.device=cpu"]))
    with pytest.raises(ConfigError, match=r"memory.max_bytes: .* GB are needed for the weights"):
        Qwen3VLInference.from_config("2b-instruct", config)


OLD_LAPTOP = Cpu("x86_64", "i5-10210U", 8, 4, 4, 8, 4, instructions=("avx2", "f16c", "fma"))
PASCAL = Gpu(0, "GTX 1050", (6, 1), 2 * 10**9, 2 * 10**9)

Fake = Callable[..., None]
Door = Callable[..., Qwen3VLInference]


@pytest.fixture
def this_machine_is(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Makes this machine look like another one, as far as the decision asks it."""

    def fake(cpu: Cpu, *gpus: Gpu, memory: int = 16 * 10**9) -> None:
        found = Machine("Linux", cpu, Memory(memory, memory), gpus, Disk("."), Power())
        monkeypatch.setattr("qwen3_vl.loading.probe", lambda **_: found)
        monkeypatch.setattr("torch.cuda.get_device_capability", lambda _: gpus[0].capability)

    return fake


@pytest.fixture
def half(tmp_path: Path) -> Path:
    """A checkpoint in bfloat16."""
    model = random_model(with_embedded_tokens(CONFIGS["dense_tied"])).to(torch.bfloat16)
    return write_checkpoint(tmp_path / "half", model)


def by_name(name: str | Path, **_: Any) -> Qwen3VLInference:
    return Qwen3VLInference(name)


def by_arguments(name: str | Path, recipe: str = "", device: str = "auto") -> Qwen3VLInference:
    return Qwen3VLInference.from_pretrained(name, recipe=recipe, device_map=device)


def by_config(name: str | Path, recipe: str = "", device: str = "auto") -> Qwen3VLInference:
    given = [f"optimization.recipe={recipe}", f"gpu.device={device}", "cpu.threads=1"]
    return Qwen3VLInference.from_config(name, build(read_overrides(given)))


@pytest.fixture(params=[by_name, by_arguments, by_config])
def door(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Door:
    """Each way to load by name; the threads of the tests stay as they are."""
    monkeypatch.setattr("torch.set_num_threads", lambda _: None)
    return request.param


@pytest.mark.parametrize(
    ("sets", "dtype", "why"),
    [
        (("avx2", "fma"), torch.float32, "exact; no arithmetic in bfloat16 was found"),
        (("avx2", "avx512_bf16"), torch.bfloat16, "the files' own format; the CPU computes in it"),
    ],
)
def test_all_doors_decide_alike(
    this_machine_is: Fake, half: Path, door: Door, sets: tuple[str, ...], dtype: Any, why: str
) -> None:
    this_machine_is(Cpu("x86_64", "a CPU", allowed_cores=1, instructions=sets))
    vlm = door(half)
    assert vlm.engine.model.dtype == dtype
    assert vlm.engine.model.device.type == "cpu"
    assert vlm.route is not None
    assert why in vlm.route.dtype.why
    assert vlm.generate_text("Hi", max_new_tokens=2)


def test_what_does_not_fit_widened_stays_as_it_is_stored(this_machine_is: Fake, half: Path) -> None:
    """Which memory.max_bytes decides here: the weights take 0.5 MB, widened the double."""
    this_machine_is(OLD_LAPTOP)
    config = build(read_overrides(["memory.max_bytes=900 kB", "memory.max_context=64"]))
    config = config.model_copy(update={"generation": {"max_new_tokens": 8}})
    vlm = Qwen3VLInference.from_config(half, config)
    assert vlm.engine.model.dtype == torch.bfloat16
    assert vlm.route is not None
    assert "slow, because no arithmetic" in vlm.route.dtype.why
    assert "of memory.max_bytes" in str(vlm.route.dtype)


def test_float32_files_stay_float32_whatever_config_json_says(
    this_machine_is: Fake, tmp_path: Path
) -> None:
    this_machine_is(Cpu("x86_64", "a server", allowed_cores=1, instructions=("avx512_bf16",)))
    model = random_model(with_embedded_tokens(CONFIGS["dense_tied"]))
    folder = write_checkpoint(tmp_path / "full", model)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"dtype": "bfloat16"}))
    assert Qwen3VLInference(folder).engine.model.dtype == torch.float32


def test_what_was_announced_before_a_download_is_checked_after_it(
    monkeypatch: pytest.MonkeyPatch, this_machine_is: Fake, half: Path, tmp_path: Path
) -> None:
    announced = tmp_path / "announced"
    announced.mkdir()
    settings = json.loads((half / "config.json").read_text())
    (announced / "config.json").write_text(json.dumps(settings | {"dtype": "float32"}))
    monkeypatch.setattr(
        "qwen3_vl.loading.resolve", lambda *_, weights=True: half if weights else announced
    )
    this_machine_is(Cpu("x86_64", "a server", allowed_cores=1, instructions=("avx512_bf16",)))
    assert Qwen3VLInference("someone/model").engine.model.dtype == torch.bfloat16


def test_a_gpu_that_cannot_hold_the_model_is_passed_over(
    this_machine_is: Fake, half: Path, door: Door
) -> None:
    this_machine_is(OLD_LAPTOP, replace(PASCAL, free=400_000))
    route = door(half).route
    assert route is not None
    assert route.device.used == "cpu"
    assert "not cuda:0, because weights and cache of" in str(route.device)


def test_a_wanted_gpu_that_cannot_serve_is_an_error(this_machine_is: Fake, half: Path) -> None:
    for door in (by_arguments, by_config):
        this_machine_is(OLD_LAPTOP, replace(PASCAL, free=400_000))
        with pytest.raises(DeviceError, match=r"cuda:0 cannot serve, because .* take auto or cpu"):
            door(half, device="cuda")
        this_machine_is(OLD_LAPTOP)
        with pytest.raises(DeviceError, match="no NVIDIA GPU was found; take auto or cpu"):
            door(half, device="cuda:0")
    with pytest.raises(DeviceError, match="device_map is 'mps'; it can be auto, cpu, cuda, or"):
        by_arguments(half, device="mps")


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_a_technique_that_the_chosen_gpu_cannot_serve_is_an_error(
    this_machine_is: Fake, half: Path, device: str
) -> None:
    this_machine_is(OLD_LAPTOP, PASCAL)
    for door in (by_arguments, by_config):
        with pytest.raises(Incompatible, match="flash_attention_2 needs a GPU of compute"):
            door(half, "flash_attention_2", device)


@pytest.mark.parametrize("door", [by_arguments, by_config], indirect=True)
def test_a_recipe_is_judged_for_the_device_that_was_chosen(
    this_machine_is: Fake, half: Path, door: Door
) -> None:
    """Not for a GPU that was passed over."""
    this_machine_is(OLD_LAPTOP, replace(PASCAL, obstacle="torch has no kernels for it"))
    route = door(half, "flash_attention_2").route
    assert route is not None
    assert route.device.used == "cpu"


def test_what_does_not_fit_this_machine_is_refused_at_each_door(
    this_machine_is: Fake, door: Door
) -> None:
    this_machine_is(OLD_LAPTOP, memory=4 * 10**9)
    with pytest.raises(
        ConfigError, match=r"memory.max_bytes: 4\.3 GB are needed .* there are 4\.0"
    ):
        door("2b-instruct")


def test_a_machine_that_does_not_tell_its_memory_is_not_judged_by_it(
    half: Path, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = Machine("?", OLD_LAPTOP, Memory(), (), Disk("."), Power())
    monkeypatch.setattr("qwen3_vl.loading.probe", lambda **_: unknown)
    assert door(half).route is not None


def test_threads_are_told_as_they_are(this_machine_is: Fake) -> None:
    """Of the whole process they are, so only a config sets them."""
    this_machine_is(OLD_LAPTOP)
    before = torch.get_num_threads()
    route = Qwen3VLInference("embedded").route
    assert route is not None
    assert route.threads.count == torch.get_num_threads() == before
    try:
        route = Qwen3VLInference.from_config("embedded", build({})).route
        assert route is not None
        assert route.threads.count == torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)


def test_a_loaded_model_has_no_route(vlm: Qwen3VLInference) -> None:
    assert Qwen3VLInference(vlm.engine.model, vlm.engine.processor).route is None


def test_the_cpu_is_taken_without_a_look_at_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "qwen3_vl.hardware.probe.read_gpus", lambda: pytest.fail("a GPU was looked at")
    )
    vlm = Qwen3VLInference.from_pretrained("embedded", device_map="cpu")
    assert vlm.engine.model.device.type == "cpu"
