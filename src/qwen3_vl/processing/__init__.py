"""Turns what a user has (text, chat messages, pictures, videos) into the tensors the model reads.

Nothing here may import model code, hold state between calls, or touch a device other than the CPU.
"""
