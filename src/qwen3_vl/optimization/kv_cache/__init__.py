"""Techniques that change what of the past is held, and in which form."""
