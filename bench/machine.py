# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""What processes cost, and how fast this machine is just now."""

import os
import platform
import struct
import time

_CALIBRATION_TURNS = 100000


def cpu_seconds(pids) -> float:
    """User and system time of processes so far, all their threads."""
    # Linux makes the clock of another process from its id: see
    # clock_getcpuclockid(3). In nanoseconds; /proc counts in 10 ms.
    return sum(time.clock_gettime(~pid << 3 | 2) for pid in pids)


def busy_seconds() -> float:
    """CPU time that anybody on this machine has had so far."""
    with open('/proc/stat') as file:
        user, nice, system, _idle, _iowait, *rest = map(
            int, file.readline().split()[1:])
    # Interrupts, soft ones, and what other guests took.
    return (user + nice + system + sum(rest[:3])) / os.sysconf('SC_CLK_TCK')


def resident_bytes(pid: int) -> tuple:
    """(resident now, resident at most) of a process."""
    sizes = {}
    with open('/proc/%d/status' % pid) as status:
        for line in status:
            name, _, value = line.partition(':')
            if name in ('VmRSS', 'VmHWM'):
                sizes[name] = int(value.split()[0]) << 10
    return sizes['VmRSS'], sizes['VmHWM']


def forget_highest(pids) -> None:
    """Let "resident at most" begin anew."""
    for pid in pids:
        with open('/proc/%d/clear_refs' % pid, 'w') as file:
            file.write('5')


def calibrate(times: int = 5) -> float:
    """CPU seconds of one turn of a plain Python loop, the best of some.

    The loop does what a daemon does all day: calls, headers, dictionaries.
    Costs per operation over this number may be compared across machines.
    """
    return min(_calibration_loop() for _ in range(times))


def _calibration_loop():
    header = struct.Struct('<BBHIIIQQIIII')
    table, waiting = {}, []
    buffer = bytearray(header.size)

    def handle(number, oid):
        table[oid & 1023] = number
        waiting.append(oid)

    begin = time.process_time()
    for number in range(_CALIBRATION_TURNS):
        header.pack_into(buffer, 0, 1, 2, 3, 4, number, 6, number << 8, 8, 9,
                         10, 11, 12)
        fields = header.unpack_from(buffer)
        handle(fields[4], fields[6])
        if len(waiting) >= 32:
            waiting.clear()
    return (time.process_time() - begin) / _CALIBRATION_TURNS


def describe() -> dict:
    return {'system': platform.platform(),
            'python': platform.python_version(),
            'cpus': os.cpu_count(),
            'load': os.getloadavg()[0]}
