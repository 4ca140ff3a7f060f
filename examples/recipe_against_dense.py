"""What a recipe loses and saves, against the plain model, on questions with known answers."""

# %%
from qwen3_vl import Qwen3VLInference
from qwen3_vl.recipes import compile_recipe
from qwen3_vl.validation.quality.evaluate import evaluate
from qwen3_vl.validation.quality.suite import make_item
from qwen3_vl.validation.quality.summary import summarise

dense = Qwen3VLInference("embedded").engine

# %% The same weights, seen through a recipe
plan = compile_recipe("quantized_kv(bits=4, residual=16)", dense.model.config)
model = dense.model.with_seams(plan.seams)

# %%
items = [make_item(task, index) for index in range(5) for task in ("recall", "copy", "relation")]
records = list(evaluate(model, dense.model, dense.processor, items))
for one in summarise(records):
    print(
        f"{one.name}: {one.model.mean:.0%} right, plain {one.against.mean:.0%}; "
        f"KL {one.mean_kl:.1e}; cache {one.final_cache:.0%} of the plain one"
    )
