"""The command line: one file a command, each a thin layer over the Python API.

Nothing here may compute; what a command can do, a program can do too.
"""
