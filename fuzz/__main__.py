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

"""Fuzz: ``python -m fuzz``; see the package."""

import argparse
import logging
import pathlib
import shutil
import sys

from fuzz import engine
from fuzz import registry

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOUND = ROOT / 'test-results' / 'fuzz'


def write_seeds(target) -> int:
    """Bring the seeds in the corpus up to what the code makes today."""
    target.corpus.mkdir(parents=True, exist_ok=True)
    for path in target.corpus.glob('seed-*'):
        path.unlink()
    count = 0
    for number, data in enumerate(target.seeds()):
        (target.corpus / ('seed-%02d' % number)).write_bytes(data)
        count += 1
    return count


def keep(finding) -> pathlib.Path:
    """Where the input of a finding can be had."""
    directory = FOUND / finding.target
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / ('found-%08x' % (hash(finding.data) & 0xFFFFFFFF))
    path.write_bytes(finding.data)
    return path


def short(target, cases, seed) -> list:
    found = engine.run_corpus(target)
    if not found:
        finding = engine.run_mutants(target, cases, seed)
        found = [finding] if finding else []
    return found


def main(arguments=None) -> int:
    # Parsers tell the log what they leave out.
    logging.disable(logging.CRITICAL)
    targets = registry.load()
    parser = argparse.ArgumentParser(
        prog='fuzz', description='Fuzz the parsers of wire and disk.')
    parser.add_argument('--target', action='append', metavar='NAME',
                        help='only this one; may be given again')
    parser.add_argument('--seconds', type=float, default=0,
                        help='how long in all, by coverage if atheris is '
                             'there; 0: the short run of CI')
    parser.add_argument('--seed', type=int, default=1,
                        help='of the mutants of the short run')
    parser.add_argument('--write-seeds', action='store_true',
                        help='make the corpus anew from real messages')
    parser.add_argument('--list', action='store_true')
    parser.add_argument('files', nargs='*', help='run only these inputs')
    options = parser.parse_args(arguments)
    unknown = set(options.target or ()) - set(targets)
    if unknown:
        parser.error('no such target: %s; there are %s' % (
            ' '.join(sorted(unknown)), ' '.join(targets)))
    chosen = [targets[name] for name in options.target or targets]
    if options.list:
        print('\n'.join(target.name for target in chosen))
        return 0
    if options.write_seeds:
        for target in chosen:
            print('%-20s %d seeds' % (target.name, write_seeds(target)))
        return 0
    if options.files:
        found = [engine.run_one(target, pathlib.Path(name).read_bytes())
                 for target in chosen for name in options.files]
    elif options.seconds:
        found = run_long(chosen, options.seconds, options.seed)
    else:
        found = []
        for target in chosen:
            found += short(target, target.cases, options.seed)
    found = [finding for finding in found if finding is not None]
    for finding in found:
        print('%s\nkept as %s: mend it, and put it into fuzz/corpus/%s/\n'
              % (finding, keep(finding), finding.target))
    print('%d targets, %d bugs' % (len(chosen), len(found)))
    return 1 if found else 0


def run_long(chosen, seconds, seed) -> list:
    from fuzz import coverage
    if not coverage.is_there():
        print('atheris is not installed (fuzz/requirements.txt): mutants '
              'without coverage')
    shutil.rmtree(FOUND, ignore_errors=True)
    found = []
    for target in chosen:
        print('%s: %d s' % (target.name, seconds / len(chosen)), flush=True)
        found += coverage.run(target, seconds / len(chosen), seed, FOUND)
    return found


if __name__ == '__main__':
    sys.exit(main())
