"""One file per op: its plain torch meaning, and the compiled kernel where there is one.

No model, no state, no policy: tensors in, tensors out.
"""
