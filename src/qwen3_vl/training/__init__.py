"""Learning from conversations: examples, batches, and the one trainer.

Nothing here changes what a model computes.
"""
