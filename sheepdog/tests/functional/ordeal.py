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

"""What programs have in common that hurt a cluster and judge it: by hand for
as long as one wants, and for a short time in CI."""

import argparse
import contextlib
import pathlib
import random
import shutil
import signal
import sys
import time
import traceback
from typing import Callable

from sheepdog.tests.functional import case
from sheepdog.tests.functional import harness


class Failure(AssertionError):
    """What must not be: the message has all that is known."""


def wait(condition: Callable, seconds: float, what: Callable) -> None:
    """:raises Failure: it never came"""
    try:
        harness.wait_until(condition, seconds, what)
    except harness.HarnessError as exc:
        raise Failure(str(exc)) from None


def parser(name: str, description: str, minutes: float,
           sheep: int) -> argparse.ArgumentParser:
    """With the options that all of them have."""
    made = argparse.ArgumentParser(prog=name, description=description)
    made.add_argument('--minutes', type=float, default=minutes)
    made.add_argument('--seed', type=int,
                      default=random.SystemRandom().randrange(1 << 32),
                      help='of troubles and users; what they meet is a '
                           'matter of real time, and differs each time')
    made.add_argument('--sheep', type=int, default=sheep)
    made.add_argument('--coordination', default='zookeeper',
                      choices=sorted(case.SERVERS))
    made.add_argument('--keep', type=pathlib.Path,
                      default=pathlib.Path('test-results') / name,
                      help='where stores and logs go after a failure')
    return made


def teller() -> Callable[[str], None]:
    """Prints lines with the time since now."""
    begin = time.monotonic()

    def tell(line):
        print('%7.1f s  %s' % (time.monotonic() - begin, line), flush=True)

    return tell


def go_through(options, ordeal, act: Callable, tell: Callable) -> int:
    """Exit code of ``act(ordeal)``; if it fails its stores are kept.

    :param ordeal: is entered, has ``keep(directory)``
    """
    # Whoever waits no more for it must find no mounts and no sheep.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(
        128 + signal.SIGTERM))
    with ordeal:
        try:
            act(ordeal)
        except Exception as exc:
            # Also what nobody expected: without its logs it says little.
            if not isinstance(exc, AssertionError):
                traceback.print_exception(exc)
            tell('FAILED, seed %d: %s' % (options.seed, exc))
            ordeal.keep(options.keep)
            tell('stores and logs are in %s' % options.keep)
            return 1
    tell('all is well')
    return 0


def copy_stores(source, target, *ignored: str) -> None:
    """For whoever wants to look. (A disk that was pulled gives nothing.)"""
    with contextlib.suppress(shutil.Error):
        shutil.copytree(source, target, dirs_exist_ok=True, symlinks=True,
                        ignore=shutil.ignore_patterns('*.sock', 'sock',
                                                      *ignored))
