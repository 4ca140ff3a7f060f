"""A machine in words: one line for each thing that is known, and for each that is not."""

from __future__ import annotations

from qwen3_vl.hardware.device import Bandwidth, Cpu, Disk, Gpu, Machine, Memory, Power, ReadSpeed

NOT_READABLE = "not readable here"


def describe(machine: Machine, measured: bool = False) -> dict[str, str]:
    """What is known by what it is about; `measured` says whether speeds were asked for."""
    return {
        "system": machine.system,
        **_cpu(machine.cpu),
        **_memory(machine.memory),
        **_gpus(machine.gpus),
        **_disk(machine.disk),
        **_power(machine.power),
        "memory bandwidth": _bandwidth(machine.bandwidth, measured),
        "disk reading": _reading(machine.disk.reading, measured),
    }


def _cpu(cpu: Cpu) -> dict[str, str]:
    caches = {"L1d": cpu.l1d_bytes, "L2": cpu.l2_bytes, "L3 in all": cpu.l3_bytes}
    instructions = None if cpu.instructions is None else ", ".join(cpu.instructions) or "none"
    return {
        "CPU": f"{cpu.model or NOT_READABLE} ({cpu.architecture})",
        "cores": f"physical: {_or(cpu.physical)}, fast ones among them: {_or(cpu.performance)}, "
        f"logical processors: {_or(cpu.logical)}",
        "for this process": f"logical processors: {_or(cpu.allowed)}, "
        f"fast cores: {_or(cpu.allowed_cores)}",
        "CPU quota": "none found" if cpu.quota is None else f"processors: {cpu.quota:g}",
        "instruction sets": _or(instructions),
        "caches": ", ".join(f"{name} {_binary(size)}" for name, size in caches.items()),
        "clock": f"now {_clock(cpu.mhz)}, at most {_clock(cpu.max_mhz)}",
    }


def _memory(memory: Memory) -> dict[str, str]:
    limit = "no limit found" if memory.limit is None else f"limited to {_binary(memory.limit)}"
    return {
        "memory": f"{_binary(memory.total)}, {limit}, {_binary(memory.available)} available",
        "swap": f"{_binary(memory.swap_total)}, {_binary(memory.swap_free)} free",
    }


def _gpus(gpus: tuple[Gpu, ...]) -> dict[str, str]:
    return {f"GPU {gpu.index}": _gpu(gpu) for gpu in gpus} or {"GPU": "no NVIDIA GPU was found"}


def _gpu(gpu: Gpu) -> str:
    capability = None if gpu.capability is None else ".".join(map(str, gpu.capability))
    use = "torch can use it" if gpu.obstacle is None else f"torch cannot use it: {gpu.obstacle}"
    return (
        f"{gpu.name}, capability {_or(capability)}, {_binary(gpu.total)}, "
        f"{_binary(gpu.free)} free, driver {_or(gpu.driver)}; {use}"
    )


def _disk(disk: Disk) -> dict[str, str]:
    kinds = {None: f"kind {NOT_READABLE}", True: "reported as turning", False: "not turning"}
    kind = "NVMe" if disk.nvme else kinds[disk.rotational]
    return {
        "disk": f"{disk.path} on {_or(disk.device)} ({_or(disk.file_system)}, {kind}), "
        f"{_binary(disk.free)} of {_binary(disk.total)} free"
    }


def _power(power: Power) -> dict[str, str]:
    source = {None: NOT_READABLE, True: "mains", False: "battery"}[power.on_mains]
    charge = power.battery_percent
    heat = NOT_READABLE if power.celsius is None else f"{power.celsius:.0f} °C"
    return {
        "power": f"{source}; battery "
        + ("none, or not readable" if charge is None else f"at {charge} %"),
        "heat": f"{heat}; slowed down since the start: {_or(power.throttled)}",
    }


def _bandwidth(bandwidth: Bandwidth | None, measured: bool) -> str:
    if bandwidth is None:
        return _missing(measured)
    speed = f"{bandwidth.bytes_per_second / 1e9:.1f} GB/s"
    return f"{speed}, reading {_binary(bandwidth.buffer_bytes)}, threads: {bandwidth.threads}"


def _reading(reading: ReadSpeed | None, measured: bool) -> str:
    if reading is None:
        return _missing(measured)
    cache = "may come from the system's cache" if reading.may_be_cached else "past the cache"
    speed = f"{reading.bytes_per_second / 1e6:,.0f} MB/s"
    return f"{speed}, reading {_binary(reading.bytes_read)}, {cache}"


def _missing(measured: bool) -> str:
    return "could not be measured" if measured else "not measured"


def _or(value: float | str | None) -> str:
    return NOT_READABLE if value is None else str(value)


def _clock(mhz: float | None) -> str:
    return NOT_READABLE if mhz is None else f"{mhz / 1000:.2f} GHz"


def _binary(size: int | None) -> str:
    if size is None:
        return NOT_READABLE
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size / 1024:.0f} KiB"
