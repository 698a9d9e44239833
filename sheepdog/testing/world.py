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

"""One simulation: its loop, its network, its coordination, its hosts.

    simulation = Simulation(seed)
    host = simulation.add_host('n1')
    world = host.start()                  # a process, with its World
    world.spawn(...)
    simulation.run_for(10)                # virtual seconds
    host.kill(); world = host.start()     # the same disk, a new process
    host.power_cut(); host.power_on()     # unsynced writes are at risk

Everything that is random comes from the seed; the same seed does the same,
event by event (``simulation.trace.digest()``).
"""

import dataclasses
import gc
import logging
import random as random_module
from typing import Callable, Optional

from sheepdog.testing import disk as disk_module
from sheepdog.testing import fabric as fabric_module
from sheepdog.testing import image as image_module
from sheepdog.testing import loop as loop_module
from sheepdog.testing import membership as membership_module
from sheepdog.testing import network as network_module
from sheepdog.testing import trace as trace_module
from sheepdog.world import turn

LOG = logging.getLogger(__name__)

WALL_START = 1_750_000_000.0
COLLECTIONS = (50000, 20, 20)
"""Thresholds of the garbage collector: nearly all that it looks through is
alive. (When it runs changes nothing, see ``loop``.)"""

DISK_BYTES = 1 << 30


class SimClock:
    """See ``api.Clock``. Hosts agree neither on the time nor on how long
    they have been up; ``jump`` changes the time only."""

    def __init__(self, loop: loop_module.SimLoop, uptime: float,
                 skew: float):
        self._loop = loop
        self._boot = loop.time() - uptime
        self.skew = skew

    def monotonic(self) -> float:
        return self._loop.time() - self._boot

    def time(self) -> float:
        return WALL_START + self._loop.time() + self.skew


class SimRandom:
    """See ``api.Random``."""

    def __init__(self, source: random_module.Random):
        self.random = source.random
        self.randrange = source.randrange
        self.token = source.randbytes


class _ProcessLoop:
    """The loop for a process: what is called later is called in it,
    whoever asks."""

    def __init__(self, process: loop_module.Process):
        self._process = process

    def call_soon(self, callback, *arguments):
        return self._process.loop.call_soon(
            callback, *arguments, context=self._process.context.copy())

    def call_exception_handler(self, context: dict) -> None:
        self._process.run(self._process.loop.call_exception_handler, context)


class SimWorld:
    """See ``api.World``: that of one process on one host."""

    def __init__(self, host: 'Host', process: loop_module.Process,
                 seed: str):
        simulation = host.simulation
        self.process = process
        self.host = host
        self.trace = simulation.trace
        self.fault_random = random_module.Random(seed + '/faults')
        self._loop = simulation.loop
        self._turn = turn.Turn(_ProcessLoop(process))
        self.call_batched = self._turn.call_batched
        self.clock = host.clock
        self.random = SimRandom(random_module.Random(seed))
        self.network = network_module.SimNetwork(
            simulation.fabric, process, host.name, self._turn)
        self.disk = disk_module.SimDisk(
            process, host.image, host.faults, self.fault_random,
            simulation.trace, host.mounts)

    def membership(self) -> membership_module.SimMembership:
        """A new one on the simulation's coordination service."""
        return membership_module.SimMembership(
            self.host.simulation.coordination, self, self.host.name)

    def spawn(self, coroutine, name: str = ''):
        task = self._loop.create_task(
            coroutine, name=name or None,
            context=self.process.context.copy())
        task.add_done_callback(self._on_task_done,
                               context=self.process.context.copy())
        return task

    def fatal(self, message: str) -> None:
        LOG.error('%s: %s', self.process.name, message)
        self.process.errors.append((message, None))
        self.process.kill()
        raise loop_module.Killed(message)

    def _on_task_done(self, task) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and not isinstance(error, loop_module.Killed):
            self.process.errors.append(('task %s' % task.get_name(), error))
            LOG.error('%s: task %s: %s', self.process.name, task.get_name(),
                      error, exc_info=error)
            if isinstance(error, AssertionError):
                self.process.kill()


class Host:
    """A machine: a disk that stays, and the process that runs now."""

    def __init__(self, simulation: 'Simulation', name: str,
                 disk_bytes: int, sound: disk_module.DiskFaults):
        self.simulation = simulation
        self.name = name
        self.image = image_module.DiskImage(name, disk_bytes)
        self.faults = dataclasses.replace(sound)
        self._sound = sound
        self.mounts = {}
        """Path → ``disk.Mount``."""
        self.world = None
        self.starts = 0
        self.is_on = True
        self.errors = []
        """(process name, what, exception) of all its processes so far."""
        self._random = random_module.Random(
            '%s/%s' % (simulation.seed, name))
        self.clock = None
        self._new_clock(1000.0 + 1000.0 * self._random.random())

    def _new_clock(self, uptime: float) -> None:
        self.clock = SimClock(self.simulation.loop, uptime,
                              self._random.random() - 0.5)

    @property
    def process(self) -> Optional[loop_module.Process]:
        return self.world.process if self.world else None

    @property
    def is_running(self) -> bool:
        return self.world is not None and self.process.is_alive

    def start(self) -> SimWorld:
        """Start a process; what it does is up to who asked."""
        assert self.is_on and not self.is_running
        self.starts += 1
        name = '%s#%d' % (self.name, self.starts)
        process = loop_module.Process(self.simulation.loop, name)
        process.on_kill(lambda: self._gone(process))
        self.simulation.trace.note(self.name, 'starts', name)
        self.world = SimWorld(
            self, process, '%s/%s' % (self.simulation.seed, name))
        return self.world

    def make_durable_directory(self, path: str) -> None:
        """Before anything starts: a directory that is there for good."""
        directory, name = self.image.parent(path)
        directory.change((name, image_module.Directory()))
        directory.make_durable(directory.position())

    def mount(self, path: str, share: float = 1.0) -> None:
        """Another disk, empty."""
        self.make_durable_directory(path)
        self.mounts[path] = disk_module.Mount(
            dataclasses.replace(self._sound), share)

    def pull(self, path: str) -> None:
        """That disk is gone: what is open fails, the rest is not there."""
        self.simulation.trace.note(self.name, 'pull', path)
        faults = self.mounts[path].faults
        faults.fails_reads = faults.fails_writes = faults.fails_syncs = True
        directory, name = self.image.parent(path)
        directory.change((name, None))
        directory.make_durable(directory.position())
        del self.mounts[path]

    def all_faults(self) -> list:
        """Of each disk."""
        return [self.faults] + [mount.faults
                                for mount in self.mounts.values()]

    def run(self, coroutine):
        """Run in the process of now until it is done; its result."""
        return self.simulation.run(self.simulation.loop.create_task(
            coroutine, context=self.process.context.copy()))

    def kill(self) -> None:
        """kill -9."""
        if self.is_running:
            self.process.kill()

    def stop(self) -> None:
        """SIGSTOP."""
        if self.is_running and not self.process.is_stopped:
            self.simulation.trace.note(self.name, 'stops')
            self.process.stop()

    def resume(self) -> None:
        """SIGCONT."""
        if self.is_running and self.process.is_stopped:
            self.simulation.trace.note(self.name, 'resumes')
            self.process.resume()

    def power_cut(self) -> None:
        """Off at once. Writes that were not synced stay, or not, or half.
        """
        if not self.is_on:
            return
        self.is_on = False
        self.kill()
        self.simulation.trace.note(self.name, 'power-cut')
        self.simulation.fabric.power_off(self.name)
        self.image.lose_power(self._random)

    def power_on(self) -> None:
        self.is_on = True
        self._new_clock(10.0 * self._random.random())
        self.simulation.trace.note(self.name, 'power-on')
        self.simulation.fabric.power_on(self.name)

    def new_disk(self) -> None:
        """Another one, empty."""
        assert not self.is_running
        self.simulation.trace.note(self.name, 'new-disk')
        boots = self.image.boots
        self.mounts.clear()
        self.image = image_module.DiskImage(
            self.name, self.image.total_pages * image_module.PAGE)
        self.image.boots = boots

    def heal_disk(self) -> None:
        """What it does from now on it does as it should."""
        for faults in self.all_faults():
            for name, value in dataclasses.asdict(self._sound).items():
                setattr(faults, name, value)
        self.image.unfill()

    def jump(self, seconds: float) -> None:
        """Somebody sets the clock."""
        self.simulation.trace.note(self.name, 'jump', seconds)
        self.clock.skew += seconds

    def _gone(self, process: loop_module.Process) -> None:
        self.simulation.trace.note(self.name, 'dies', process.name)
        self.simulation.fabric.process_gone(process, not self.is_on)
        self.errors += [(process.name, what, error)
                        for what, error in process.errors]

    def all_errors(self) -> list:
        """What no code has handled, of all processes."""
        errors = list(self.errors)
        if self.is_running:
            errors += [(self.process.name, what, error)
                       for what, error in self.process.errors]
        return errors


class Simulation:
    """Everything, from one seed. Close it at the end."""

    def __init__(self, seed, network_settings=None,
                 coordination_settings=None):
        self.seed = seed
        self._collections = gc.get_threshold()
        gc.set_threshold(*COLLECTIONS)
        self.loop = loop_module.SimLoop()
        self.trace = trace_module.Trace(self.loop)
        self.random = random_module.Random('%s/simulation' % seed)
        self.fabric = fabric_module.Fabric(
            self.loop, random_module.Random('%s/network' % seed),
            self.trace, network_settings)
        self.coordination = membership_module.Coordination(
            self.loop, random_module.Random('%s/coordination' % seed),
            self.trace, coordination_settings)
        self.hosts = {}

    def add_host(self, name: str, disk_bytes: int = DISK_BYTES,
                 disk: Optional[disk_module.DiskFaults] = None) -> Host:
        """``disk``: how fast it is while nothing is wrong with it."""
        self.hosts[name] = Host(self, name, disk_bytes,
                                disk or disk_module.DiskFaults())
        return self.hosts[name]

    def run(self, coroutine):
        """Run until it is done; return its result."""
        return self.loop.run_until_complete(coroutine)

    def run_for(self, seconds: float) -> None:
        self.loop.run_for(seconds)

    def run_until(self, condition: Callable[[], bool],
                  timeout: float, step: float = 0.01) -> bool:
        """Let time go by until ``condition()``; False if it stays out."""
        deadline = self.loop.time() + timeout
        while not condition():
            if self.loop.time() >= deadline:
                return False
            self.loop.run_for(step)
        return True

    def heal(self) -> None:
        """No more faults of network, coordination and disks."""
        self.trace.note('simulation', 'heals')
        self.fabric.heal()
        self.coordination.heal()
        for host in self.hosts.values():
            host.heal_disk()
            host.resume()

    def errors(self) -> list:
        return [error for host in self.hosts.values()
                for error in host.all_errors()]

    def close(self) -> None:
        for host in self.hosts.values():
            host.kill()
        self.loop.close()
        self.hosts = {}
        gc.collect()
        gc.set_threshold(*self._collections)

    def __enter__(self) -> 'Simulation':
        return self

    def __exit__(self, *exception) -> None:
        self.close()
