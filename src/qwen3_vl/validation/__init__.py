"""Proof: does the model compute what it should, and does it still see what it saw?

Nothing here may be needed to run a model.
"""
