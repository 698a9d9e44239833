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

"""Longer runs: atheris follows coverage, where it is installed.

Each target runs in a process of its own, libFuzzer's, which ends at its
first finding. Without atheris, mutants from one seed after the other.
"""

import importlib.util
import os
import pathlib
import subprocess
import sys
import time

from fuzz import engine
from fuzz import registry

_ROOT = pathlib.Path(__file__).resolve().parent.parent


def is_there() -> bool:
    return importlib.util.find_spec('atheris') is not None


def run(target, seconds: float, seed: int, directory: pathlib.Path) -> list:
    """Findings, one at most."""
    if not is_there():
        return _without(target, seconds, seed)
    found = directory / target.name
    found.mkdir(parents=True, exist_ok=True)
    grown = directory / 'grown' / target.name
    grown.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [sys.executable, '-m', 'fuzz.coverage', target.name,
         '-max_total_time=%d' % max(1, seconds), '-seed=%d' % seed,
         '-max_len=%d' % engine.SIZE_MAX_BYTES, '-verbosity=0',
         '-print_final_stats=0', '-timeout=%d' % (4 * engine.CPU_SECONDS),
         '-rss_limit_mb=2048', '-artifact_prefix=%s/' % found, str(grown),
         str(target.corpus)],
        cwd=_ROOT, env=dict(os.environ, PYTHONPATH=str(_ROOT)), check=False)
    findings = []
    for path in sorted(found.iterdir()):
        data = path.read_bytes()
        findings.append(engine.run_one(target, data) or engine.Finding(
            target.name, data, RuntimeError('libFuzzer stopped here; alone '
                                            'it does no harm'), path.name))
    return findings


def _without(target, seconds, seed) -> list:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        finding = engine.run_mutants(target, 1000, seed)
        if finding is not None:
            return [finding]
        seed += 1
    return []


def main() -> None:
    import logging
    import random

    import atheris

    logging.disable(logging.CRITICAL)
    name, arguments = sys.argv[1], sys.argv[2:]
    with atheris.instrument_imports(include=['sheepdog']):
        target = registry.load()[name]

    def test(data):
        finding = engine.run_one(target, data)
        if finding is not None:
            print(finding, flush=True)
            raise finding.error

    def mutate(data, size_max, seed):
        """libFuzzer's mutations are blind to checksums and JSON."""
        chance = random.Random(seed)
        if chance.random() < 0.5:
            mutated = engine.Mutator(target, chance).mutate(data)
        else:
            mutated = atheris.Mutate(data, size_max)
            if target.repair is not None and chance.random() < 0.7:
                mutated = target.repair(mutated)
        return mutated[:size_max]

    atheris.Setup(['fuzz'] + arguments, test, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == '__main__':
    main()
