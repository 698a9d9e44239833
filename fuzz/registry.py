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

"""What a target is, and all of them.

A module named here registers its targets when it is imported. That none is
forgotten is a test: each module of ``sheepdog.wire``, and whatever unpacks
bytes elsewhere, is covered by a target or excused by name.
"""

from collections.abc import Callable
import dataclasses
import importlib
import pathlib

CORPUS = pathlib.Path(__file__).resolve().parent / 'corpus'
MODULES = ('native', 'nbd', 'peer', 'messages', 'volumes', 'store',
           'ledger', 'legacy', 'backups', 'texts', 'whole')


@dataclasses.dataclass(frozen=True)
class Target:
    """``run(data)`` parses; ``errors`` are what it may raise. ``covers``:
    modules whose parsers it drives. ``seeds()`` makes well-formed inputs.
    ``repair(data)`` sets lengths and checksums right, so that mutants get
    past them; it takes anything and never fails. ``cases``: mutants in the
    short run."""

    name: str
    run: Callable
    errors: tuple
    covers: tuple
    seeds: Callable
    repair: Callable = None
    cases: int = 1500

    @property
    def corpus(self) -> pathlib.Path:
        return CORPUS / self.name

    def inputs(self) -> list:
        """``(file name, bytes)`` of the corpus, in order."""
        if not self.corpus.is_dir():
            return []
        return [(path.name, path.read_bytes())
                for path in sorted(self.corpus.iterdir())]


_TARGETS = {}


def target(name, errors, covers, seeds, repair=None, cases=1500):
    """Decorates the function that parses."""
    def register(run):
        assert name not in _TARGETS, name
        _TARGETS[name] = Target(name, run, tuple(errors), tuple(covers),
                                seeds, repair, cases)
        return run
    return register


def load() -> dict:
    """All targets by name."""
    for module in MODULES:
        importlib.import_module('fuzz.' + module)
    return dict(sorted(_TARGETS.items()))
