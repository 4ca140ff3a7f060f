"""What a model is and how it is asked: frozen settings, read from files and checked.

Nothing here may touch weights, devices or inputs.
"""
