"""Techniques that change what is computed for a token."""
