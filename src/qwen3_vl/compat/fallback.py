"""What serves where something else cannot, under a name of older layouts."""

from __future__ import annotations

from qwen3_vl.config.runtime import UnifiedConfig
from qwen3_vl.hardware.device import Machine
from qwen3_vl.hardware.fallback import choose
from qwen3_vl.hardware.probe import probe
from qwen3_vl.hardware.routing import OPEN, Needs, Route, route


class FallbackManager:
    """Takes the first that can serve, and says why, and why not what would have come before."""

    choose = staticmethod(choose)

    def __init__(self, machine: Machine | None = None) -> None:
        """`machine` is by default the one that this runs on."""
        self.machine = probe() if machine is None else machine

    def route(self, config: UnifiedConfig = OPEN, needs: Needs | None = None) -> Route:
        """What the config leaves open of device, dtype and threads; for any model without needs."""
        return route(self.machine, needs or Needs(), config)
