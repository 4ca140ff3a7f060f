"""The import paths that older layouts had in a checkout, such as `src.attention`.

They lead to the installed package; `qwen3_vl.compat` holds the table.
"""

from __future__ import annotations

from qwen3_vl.compat import install

# No folder: the package that lies here would be loaded a second time, as src.qwen3_vl.
__path__: list[str] = []

install(__name__)
