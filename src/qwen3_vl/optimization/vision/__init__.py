"""Techniques that change what the decoder sees of pictures."""
