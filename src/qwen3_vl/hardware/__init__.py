"""What this machine is made of, how fast it is, and what follows from that.

Nothing here may know a model or an op: what they need to be told about comes in as an argument.
"""
