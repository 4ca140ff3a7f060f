"""Techniques that change the number format of weights."""
