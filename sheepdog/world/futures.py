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

"""Futures whose waiters may have gone."""

import asyncio
from typing import Any, Optional


def settle(future: asyncio.Future, error: Optional[BaseException],
           result: Any = None) -> None:
    """End a future that its waiter may have given up."""
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


class Awaited:
    """What something ends with, for whoever waits; nobody need wait."""

    def __init__(self):
        self.future = asyncio.get_running_loop().create_future()
        self.future.add_done_callback(_look_at)

    def succeed(self, result: Any) -> None:
        settle(self.future, None, result)

    def fail(self, error: Exception) -> None:
        settle(self.future, error)


def _look_at(future: asyncio.Future) -> None:
    """Or the loop would complain of an error that nobody asked for."""
    if not future.cancelled():
        future.exception()
