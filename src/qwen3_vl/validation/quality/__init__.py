"""The visual playground: tasks whose answers are known, and what a recipe loses on them.

No model may be changed here, and no technique known by name.
"""
