"""From what was found out about a machine to the specs that settings depend on."""

from __future__ import annotations

from qwen3_vl.config.machine import MachineSpecs
from qwen3_vl.errors import DeviceError
from qwen3_vl.hardware.device import Machine
from qwen3_vl.hardware.routing import count_threads, name_of, ranked


def machine_specs(machine: Machine, device: str | None = None) -> MachineSpecs:
    """The specs of a probed machine; a GPU that torch cannot use is no GPU.

    Of several it is the one of this name, or the one with the most free memory.
    """
    memory = machine.memory.usable
    if memory is None:
        raise DeviceError(
            "this system does not tell how much memory it has; "
            "give the specs yourself: MachineSpecs(cpu_cores=…, memory_bytes=…)"
        )
    gpus = [gpu for gpu in ranked(machine.gpus) if gpu.obstacle is None]
    gpus.sort(key=lambda gpu: name_of(gpu) != device)
    gpu = gpus[0] if gpus else None
    return MachineSpecs(
        cpu_cores=count_threads(machine.cpu).count,
        memory_bytes=memory,
        gpu_bytes=(gpu.total or 0) if gpu else 0,
        gpu_capability=gpu.capability if gpu else None,
        isa=machine.cpu.instructions or (),
        on_battery=machine.power.on_mains is False,
    )
