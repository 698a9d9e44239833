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

"""An asyncio loop on virtual time, the same for the same seed.

Nothing waits: when no callback is ready, the clock jumps to the next timer.
What plain asyncio leaves to chance is fixed here: equal deadlines run in
the order of asking, and tasks and futures hash by a counter, so that sets
of them iterate the same way in every run.

Each callback belongs to a ``Process`` (a contextvar says which), so that a
process can be killed: none of its callbacks ever runs again, its suspended
coroutines stay suspended for ever, and no clean-up code of theirs runs, as
with kill -9.
"""

import asyncio
import collections
import contextlib
import contextvars
import heapq
import logging
import sys
from typing import Any, Callable, Optional

LOG = logging.getLogger(__name__)

START_SECONDS = 1000.0
"""Virtual time begins here: zero hides errors."""

CALLBACKS_PER_INSTANT_MAX = 2_000_000
"""More without the clock moving is an endless loop."""

WAIT_MAX_SECONDS = 2 * 3600.0
"""Of virtual time: nobody waits longer for one thing."""

CURRENT = contextvars.ContextVar('process', default=None)


class Killed(BaseException):
    """Ends the code of a process that is dead already.

    Not an Exception: no handler of the process may take it for an error.
    """


class OutOfTime(KeyboardInterrupt):
    """The run takes too much of the processor: something loops without end.

    A KeyboardInterrupt, since tasks let it through.
    """


class Stuck(Exception):
    """Nothing can happen any more, or everything happens at once."""


class Process:
    """One run of a simulated daemon, from its start to its end."""

    def __init__(self, loop: 'SimLoop', name: str):
        self.loop = loop
        self.name = name
        self.is_alive = True
        self.is_stopped = False
        self.context = contextvars.copy_context()
        self.context.run(CURRENT.set, self)
        self.errors = []
        """(what, exception): what no code of the process has handled."""
        self._deferred = []
        self._on_kill = []
        self._operations_left = 0
        self.dies_now = False
        """``operation`` has just ended the process."""

    def __repr__(self):
        return '<process %s>' % self.name

    def run(self, function: Callable, *arguments) -> Any:
        """Call something of the process from outside of it."""
        if CURRENT.get() is self:
            return function(*arguments)
        return self.context.copy().run(function, *arguments)

    def on_kill(self, function: Callable[[], None]) -> None:
        """What the kernel does when the process is gone."""
        self._on_kill.append(function)

    def kill(self) -> None:
        """As kill -9: between two callbacks, or in the middle of one."""
        if not self.is_alive:
            return
        self.is_alive = False
        self._deferred = []
        for function in self._on_kill:
            function()
        self._on_kill = []

    def kill_after(self, operations: int) -> None:
        """Kill at so many operations on disk or network from now; 0: no
        more."""
        self._operations_left = operations

    def operation(self) -> None:
        """Something that is seen outside is about to happen.

        :raises Killed: it does not happen, the process is dead
        """
        if not self.is_alive:
            self.dies_now = False
            raise Killed()
        if self._operations_left:
            self._operations_left -= 1
            if not self._operations_left:
                self.dies_now = True
                self.kill()
                raise Killed()

    def stop(self) -> None:
        """As SIGSTOP: time goes by, nothing runs."""
        self.is_stopped = True

    def resume(self) -> None:
        """As SIGCONT."""
        self.is_stopped = False
        self.loop.ready.extend(self._deferred)
        self._deferred = []

    def defer(self, handle: 'SimHandle') -> None:
        self._deferred.append(handle)


class SimHandle:
    """See ``asyncio.TimerHandle``."""

    __slots__ = ('callback', 'arguments', 'context', 'process', 'deadline',
                 'is_cancelled')

    def __init__(self, callback, arguments, context, deadline):
        if context is None:
            context = contextvars.copy_context()
        self.callback = callback
        self.arguments = arguments
        self.context = context
        self.process = context.get(CURRENT)
        self.deadline = deadline
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True
        self.callback = self.arguments = None

    def cancelled(self) -> bool:
        return self.is_cancelled

    def when(self) -> float:
        return self.deadline


class SimFuture(asyncio.Future):
    """A future whose hash is the number of its creation."""

    def __init__(self, *, loop):
        super().__init__(loop=loop)
        self._number = loop.next_number()

    def __hash__(self):
        return self._number


class SimTask(asyncio.Task):
    """A task whose hash is the number of its creation."""

    def __init__(self, coroutine, *, loop, name, context):
        # Before the base class puts the task into a set.
        self._number = loop.next_number()
        self.process = (CURRENT.get() if context is None
                        else context.get(CURRENT))
        super().__init__(coroutine, loop=loop, context=context,
                         name=name or 'task-%d' % self._number)
        # A killed process destroys no task, it leaves them pending.
        self._log_destroy_pending = False

    def __hash__(self):
        return self._number


class SimLoop(asyncio.AbstractEventLoop):
    """Just what asyncio's tasks, futures, locks and timeouts ask for."""

    def __init__(self):
        self.ready = collections.deque()
        self.callbacks_run = 0
        self._now = START_SECONDS
        self._timers = []
        self._counter = 0
        self._numbers = 0
        self._tasks = []
        self._tasks_limit = 1000
        self._instant_limit = CALLBACKS_PER_INSTANT_MAX
        self._is_running = False
        self._is_closed = False
        self._exception_handler = None

    def next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    # Time and callbacks.

    def time(self) -> float:
        return self._now

    def call_soon(self, callback, *args, context=None):
        handle = SimHandle(callback, args, context, self._now)
        self.ready.append(handle)
        return handle

    def call_later(self, delay, callback, *args, context=None):
        return self.call_at(self._now + delay, callback, *args,
                            context=context)

    def call_at(self, when, callback, *args, context=None):
        handle = SimHandle(callback, args, context, when)
        self._counter += 1
        heapq.heappush(self._timers, (when, self._counter, handle))
        return handle

    # No thread exists that could call.
    call_soon_threadsafe = call_soon

    def run_in_executor(self, executor, func, *args):
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def create_future(self):
        return SimFuture(loop=self)

    def create_task(self, coro, *, name=None, context=None):
        task = SimTask(coro, loop=self, name=name, context=context)
        # Strong references: when a task is collected must depend on no
        # collector, and a dead process's tasks are never collected, since
        # that would run their clean-up code.
        self._tasks.append(task)
        if len(self._tasks) > self._tasks_limit:
            self._tasks = [task for task in self._tasks if not task.done()]
            self._tasks_limit = 2 * len(self._tasks) + 1000
        return task

    def pending_tasks(self, process: Optional[Process]) -> list:
        """The tasks of a process that have not ended, oldest first."""
        return [task for task in self._tasks if not task.done() and
                task.process is process]

    # Running.

    def run_until_complete(self, future):
        """:raises Stuck: also where it takes WAIT_MAX_SECONDS"""
        future = asyncio.ensure_future(future, loop=self)
        until = self._now + WAIT_MAX_SECONDS
        self.run_while(lambda: not future.done() and self._now < until)
        if not future.done():
            raise Stuck('not done in %d s' % WAIT_MAX_SECONDS)
        return future.result()

    def run_for(self, seconds: float) -> None:
        """Let so much virtual time go by."""
        until = asyncio.ensure_future(asyncio.sleep(seconds), loop=self)
        self.run_while(lambda: not until.done())

    def run_while(self, condition: Callable[[], bool]) -> None:
        """Run callbacks as long as ``condition()``.

        :raises Stuck: no callback is left, or the clock stands still
        """
        assert not self._is_running and not self._is_closed
        before = asyncio.events._get_running_loop()
        self._is_running = True
        asyncio.events._set_running_loop(self)
        try:
            while condition():
                if not self.ready:
                    self._advance()
                self._run_one(self.ready.popleft())
        finally:
            self._is_running = False
            asyncio.events._set_running_loop(before)

    def _advance(self) -> None:
        timers = self._timers
        while timers and timers[0][2].is_cancelled:
            heapq.heappop(timers)
        if not timers:
            raise Stuck('no callback is left to run')
        when = timers[0][0]
        if when > self._now:
            self._now = when
            self._instant_limit = (self.callbacks_run +
                                   CALLBACKS_PER_INSTANT_MAX)
        elif self.callbacks_run > self._instant_limit:
            raise Stuck('the clock stands still')
        while timers and timers[0][0] <= self._now:
            self.ready.append(heapq.heappop(timers)[2])

    def _run_one(self, handle: SimHandle) -> None:
        if handle.is_cancelled:
            return
        process = handle.process
        if process is not None:
            if not process.is_alive:
                return
            if process.is_stopped:
                process.defer(handle)
                return
        self.callbacks_run += 1
        if self.callbacks_run > self._instant_limit:
            raise Stuck('the clock stands still')
        try:
            handle.context.run(handle.callback, *handle.arguments)
        except Killed:
            pass
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            handle.context.run(self.call_exception_handler, {
                'message': 'callback %r failed' % (handle.callback,),
                'exception': error})

    def is_running(self):
        return self._is_running

    def is_closed(self):
        return self._is_closed

    def get_debug(self):
        return False

    def set_debug(self, enabled):
        pass

    # Errors and the end.

    def set_exception_handler(self, handler):
        self._exception_handler = handler

    def get_exception_handler(self):
        return self._exception_handler

    def default_exception_handler(self, context):
        LOG.error('%s', context.get('message'),
                  exc_info=context.get('exception'))

    def call_exception_handler(self, context):
        if self._is_closed or 'future' in context:
            # What a future says when it is collected comes at any time.
            return
        error = context.get('exception')
        process = CURRENT.get()
        if isinstance(error, Killed):
            return
        if process is not None:
            process.errors.append((context.get('message'), error))
        if self._exception_handler is not None:
            self._exception_handler(self, context)
        elif process is None:
            # A fault of the simulator or of the test.
            self.default_exception_handler(context)

    def close(self) -> None:
        """Let go of everything, in silence: what coroutines of dead
        processes have to say when they are collected is nobody's business.
        """
        self._is_closed = True
        with _silence():
            self.ready.clear()
            self._timers.clear()
            tasks = self._tasks
            self._tasks = []
            for task in tasks:
                coroutine = task.get_coro()
                with contextlib.suppress(BaseException):
                    coroutine.close()
            del tasks

    async def shutdown_asyncgens(self):
        pass

    async def shutdown_default_executor(self, timeout=None):
        pass


@contextlib.contextmanager
def _silence():
    hook = sys.unraisablehook
    sys.unraisablehook = lambda unraisable: None
    try:
        yield
    finally:
        sys.unraisablehook = hook
