"""The definition of the model: modules whose attribute names are the checkpoint's names.

No technique may be named here, and no request may leave state behind.
"""
