"""One file a technique, found by its name; each answers seams and says what it gives and costs.

Nothing here may import another technique or the engine.
"""
