"""Techniques that change how attention is computed, never what is stored."""
