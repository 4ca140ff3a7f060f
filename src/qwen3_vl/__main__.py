"""`python -m qwen3_vl` is the command line."""

from qwen3_vl.cli.main import main

main()
