"""From what was found out about a machine to the specs that settings depend on."""

from __future__ import annotations

from qwen3_vl.config.machine import MachineSpecs
from qwen3_vl.errors import DeviceError
from qwen3_vl.hardware.device import Machine


def machine_specs(machine: Machine) -> MachineSpecs:
    """The specs of a probed machine; a GPU that torch cannot use is no GPU."""
    cores = machine.cpu.allowed_cores or machine.cpu.physical or machine.cpu.logical
    memory = machine.memory.usable
    if cores is None or memory is None:
        raise DeviceError(
            "this system does not tell how many cores or how much memory it has; "
            "give the specs yourself: MachineSpecs(cpu_cores=…, memory_bytes=…)"
        )
    gpu = next((gpu for gpu in machine.gpus if gpu.obstacle is None), None)
    return MachineSpecs(
        cpu_cores=cores,
        memory_bytes=memory,
        gpu_bytes=(gpu.total or 0) if gpu else 0,
        gpu_capability=gpu.capability if gpu else None,
        isa=machine.cpu.instructions or (),
        on_battery=machine.power.on_mains is False,
    )
