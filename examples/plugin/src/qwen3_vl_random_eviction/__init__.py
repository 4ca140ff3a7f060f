"""A technique for qwen3_vl from outside: `random_eviction`."""
