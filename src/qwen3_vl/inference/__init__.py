"""From a request to an answer: what runs the model, step by step.

No technique may be named here: the engine sees seams, and does not know who stands behind them.
"""
