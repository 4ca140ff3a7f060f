"""The plain decoding loop, against loops that are plainer still."""

from __future__ import annotations

import pytest
import torch

from qwen3_vl.config.generation import GenerationConfig
from qwen3_vl.errors import ConfigError, ContextLengthError, InputError
from qwen3_vl.models.generation import Decoding
from qwen3_vl.models.qwen3_vl import Qwen3VLForConditionalGeneration
from qwen3_vl.models.vision import Pictures
from qwen3_vl.ops.sampling import penalise
from tests.support.tiny_models import CONFIGS, Image, Video, tiny_inputs, tiny_model

PIECES = [3, Image(4, 6), 2, Video(2, 2, 4), 3]


@pytest.fixture(scope="module")
def model() -> Qwen3VLForConditionalGeneration:
    return tiny_model("dense_tied")


@torch.no_grad()
def greedy(model, inputs, count: int, **penalties: float) -> list[int]:
    """The likeliest next token, again and again, with the whole text run anew each time."""
    ids = inputs["input_ids"]
    pictures = {k: v for k, v in inputs.items() if "pixel" in k or "grid" in k}
    answer: list[int] = []
    for _ in range(count):
        text = torch.cat((ids, torch.tensor([answer], dtype=torch.long)), dim=1)
        logits = model(text, **pictures).logits[0, -1]
        answer.append(int(penalise(logits, ids[0], answer, **penalties).argmax()))
    return answer


def answers(model, inputs, **options) -> list[list[int]]:
    out = model.generate(**inputs, **options)
    return out[:, inputs["input_ids"].shape[1] :].tolist()


@pytest.mark.parametrize("name", CONFIGS)
def test_the_greedy_answer_is_the_one_of_a_loop_without_a_cache(name):
    model = tiny_model(name)
    inputs = tiny_inputs(model.config, PIECES)
    out = model.generate(**inputs, max_new_tokens=12)
    assert torch.equal(out[:, :-12], inputs["input_ids"])
    assert out[0, -12:].tolist() == greedy(model, inputs, 12)


@pytest.mark.parametrize("pad", ["left", "right"])
def test_each_row_of_a_batch_is_answered_as_if_alone(model, pad):
    rows = [PIECES, [1], [7]]
    batch = answers(model, tiny_inputs(model.config, *rows, pad=pad), max_new_tokens=6)
    source = tiny_inputs(model.config, *rows)
    for row, answer in enumerate(batch):
        alone = source["input_ids"][row, source["attention_mask"][row].bool()]
        inputs = {"input_ids": alone.unsqueeze(0)}
        if row == 0:
            inputs |= {k: v for k, v in source.items() if "pixel" in k or "grid" in k}
        assert answer == greedy(model, inputs, 6)


@pytest.mark.parametrize(
    "penalties",
    [
        {"repetition_penalty": 1.5},
        {"presence_penalty": 1.5},
        {"frequency_penalty": 0.7},
        {"repetition_penalty": 1.2, "presence_penalty": 0.3, "frequency_penalty": 0.3},
    ],
    ids=str,
)
def test_penalties_see_the_prompt_and_the_answer(model, penalties):
    inputs = tiny_inputs(model.config, [9])
    (answer,) = answers(model, inputs, max_new_tokens=15, **penalties)
    plain = {name.removesuffix("_penalty"): value for name, value in penalties.items()}
    assert answer == greedy(model, inputs, 15, **plain)
    assert answer != greedy(model, inputs, 15)


def test_a_sampled_answer_follows_from_its_seed(model):
    inputs = tiny_inputs(model.config, [4])
    drawn = [answers(model, inputs, max_new_tokens=12, seed=seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]


def test_a_sampled_answer_does_not_depend_on_the_batch(model):
    options = {"max_new_tokens": 8, "temperature": 0.8, "top_k": 40, "top_p": 0.9, "seed": 5}
    together = tiny_inputs(model.config, [6], [3], [6])
    batch = answers(model, together, **options)
    for row, length in enumerate([6, 3, 6]):
        alone = {"input_ids": together["input_ids"][[row], :length]}
        assert answers(model, alone, **options) == [batch[row]]


def test_global_randomness_neither_matters_nor_moves(model):
    inputs = tiny_inputs(model.config, [4])
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = answers(model, inputs, max_new_tokens=8, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert answers(model, inputs, max_new_tokens=8, seed=3) == first


def test_top_k_of_one_is_greedy(model):
    inputs = tiny_inputs(model.config, [4])
    assert answers(model, inputs, max_new_tokens=8, top_k=1) == [greedy(model, inputs, 8)]


def test_an_answer_ends_with_its_end_token_and_is_padded(model):
    inputs = tiny_inputs(model.config, [4], [7])
    free = answers(model, inputs, max_new_tokens=10)
    end = free[0][3]
    assert end not in free[0][:3]
    assert end not in free[1]
    ended = answers(model, inputs, max_new_tokens=10, eos_token_id=end, pad_token_id=299)
    assert ended == [[*free[0][:4], *[299] * 6], free[1]]
    by_default = answers(model, inputs, max_new_tokens=10, eos_token_id=(end, 5))
    assert by_default[0] == [*free[0][:4], *[end] * 6]


def test_nothing_is_computed_after_the_last_row_has_ended(model):
    inputs = tiny_inputs(model.config, [4])
    free = answers(model, inputs, max_new_tokens=10)[0]
    end = free[2]
    expected = free[: free.index(end) + 1]
    assert answers(model, inputs, max_new_tokens=10, eos_token_id=end) == [expected]


def test_what_is_not_given_is_as_the_config_says():
    model = tiny_model("dense_tied")
    inputs = tiny_inputs(model.config, [4])
    model.generation_config = GenerationConfig(max_new_tokens=3)
    own = answers(model, inputs)[0]
    assert len(own) == 3
    settings = GenerationConfig(max_new_tokens=5)
    assert answers(model, inputs, generation_config=settings)[0][:3] == own
    assert len(answers(model, inputs, generation_config=settings, max_new_tokens=2)[0]) == 2


def test_an_answer_carries_no_gradient_and_leaves_the_model_trainable(model):
    inputs = tiny_inputs(model.config, [4])
    model.generate(**inputs, max_new_tokens=2)
    loss = model(**inputs, labels=inputs["input_ids"]).loss
    assert loss.requires_grad


def test_an_answer_that_cannot_fit_the_context_is_refused(model):
    inputs = tiny_inputs(model.config, [500])
    with pytest.raises(ContextLengthError, match=r"500 tokens and 13 new ones .* context of 512"):
        model.generate(**inputs, max_new_tokens=13)
    assert len(answers(model, inputs, max_new_tokens=2)[0]) == 2


@pytest.mark.parametrize(
    ("ids", "mask"),
    [
        (torch.zeros(1, 0, dtype=torch.long), None),
        (torch.ones(2, 3, dtype=torch.long), torch.tensor([[1, 1, 1], [0, 0, 0]])),
    ],
    ids=["no tokens", "one row of padding"],
)
def test_an_empty_prompt_is_refused(model, ids, mask):
    with pytest.raises(InputError, match="a prompt is empty"):
        model.generate(ids, mask, max_new_tokens=1)


@pytest.mark.parametrize("do_sample", [True, False])
@pytest.mark.parametrize("logit", [float("nan"), float("inf"), float("-inf")])
def test_logits_that_allow_no_token_are_told(do_sample, logit):
    model = tiny_model("dense_untied")
    model.lm_head = Always(0, model.config.text_config.vocab_size)
    model.lm_head.logits.fill_(logit)
    inputs = tiny_inputs(model.config, [4])
    with pytest.raises(InputError, match=f"the highest logit is {logit}; are the weights"):
        model.generate(**inputs, max_new_tokens=1, do_sample=do_sample)


def test_a_tiny_temperature_is_greedy(model):
    inputs = tiny_inputs(model.config, [4])
    assert answers(model, inputs, max_new_tokens=8, temperature=1e-45) == [greedy(model, inputs, 8)]


def test_each_run_of_the_steps_begins_anew(model):
    ids = tiny_inputs(model.config, [4])["input_ids"]
    settings = GenerationConfig(max_new_tokens=8, do_sample=True, presence_penalty=1.0)
    decoding = Decoding(model, ids, None, Pictures(), settings)
    assert list(decoding.steps()) == list(decoding.steps())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"mm_token_type_ids": torch.zeros(1, 13)}, InputError, "mm_token_type_ids disagree"),
        ({"pixel_values": None}, InputError, "belong together"),
        ({"attention_mask": torch.ones(1, 14)}, InputError, "does not fit"),
        ({"input_ids": [[1, 2]]}, InputError, "input_ids is a list"),
        ({"attention_mask": [[1]]}, InputError, "attention_mask is a list"),
        ({"image_grid_thw": [[1, 4, 6]]}, InputError, "image_grid_thw is a list"),
        ({"stop": "end"}, InputError, "no stop strings"),
        ({"temperature": 0.5, "do_sample": False}, ConfigError, "temperature meaningless"),
        ({"max_new_tokens": 0}, ConfigError, "max_new_tokens is 0"),
        ({"num_beams": 4}, TypeError, "unknown argument num_beams"),
    ],
)
def test_arguments_that_contradict_are_refused(model, change, error, message):
    inputs = tiny_inputs(model.config, [3, Image(4, 6), 2])
    with pytest.raises(error, match=message):
        model.generate(**(inputs | {"max_new_tokens": 1} | change))


class Always(torch.nn.Module):
    """A head that wants one token, whatever it sees."""

    def __init__(self, token: int, vocabulary: int) -> None:
        super().__init__()
        self.logits = torch.eye(vocabulary)[token]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(len(x), -1)


def test_a_placeholder_that_the_model_writes_itself_is_text():
    model = tiny_model("dense_untied")
    token = model.config.image_token_id
    model.lm_head = Always(token, model.config.text_config.vocab_size)
    inputs = tiny_inputs(model.config, [5, Image(4, 4), 6])
    assert answers(model, inputs, max_new_tokens=3) == [[token] * 3]
