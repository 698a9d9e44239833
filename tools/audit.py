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

"""Known holes in what we depend on, without a network.

``tools/advisories.txt`` has the versions that are known to be bad; none of
them may be installed, or stand in constraints.txt. With ``--online`` the
advisory service is asked too, by pip-audit, where it and the service are
there; if not, that is said, and is no failure.
"""

import argparse
import dataclasses
import importlib.metadata
import importlib.util
import json
import pathlib
import subprocess
import sys

from packaging import utils
from packaging import version

ROOT = pathlib.Path(__file__).resolve().parent.parent
ADVISORIES = ROOT / 'tools' / 'advisories.txt'
CONSTRAINTS = ROOT / 'constraints.txt'
ONLINE_SECONDS = 120


@dataclasses.dataclass(frozen=True)
class Advisory:
    name: str
    fixed: version.Version
    number: str
    text: str


def advisories(text: str) -> list:
    """:raises ValueError: a line is not one"""
    found = []
    for line in text.splitlines():
        if line and not line.startswith('#'):
            name, fixed, number, reason = line.split(None, 3)
            found.append(Advisory(utils.canonicalize_name(name),
                                  version.Version(fixed), number, reason))
    return found


def pinned(text: str) -> dict:
    """Name → version of a file of constraints."""
    found = {}
    for line in text.splitlines():
        name, equals, pin = line.partition('#')[0].strip().partition('==')
        if equals:
            found[utils.canonicalize_name(name)] = version.Version(pin)
    return found


def installed() -> dict:
    return {utils.canonicalize_name(one.metadata['Name']):
            version.Version(one.version)
            for one in importlib.metadata.distributions()
            if one.metadata['Name']}


def holes(known: list, versions: dict, where: str) -> list:
    """A line for each."""
    return ['%s: %s %s has %s (%s); from %s on it is mended' % (
        where, one.name, versions[one.name], one.number, one.text, one.fixed)
        for one in known
        if one.name in versions and versions[one.name] < one.fixed]


def ask_online() -> int:
    """What pip-audit finds; 0 also where it cannot be asked."""
    if importlib.util.find_spec('pip_audit') is None:
        print('pip-audit is not installed here: only tools/advisories.txt '
              'was compared')
        return 0
    try:
        done = subprocess.run(
            [sys.executable, '-m', 'pip_audit', '--progress-spinner=off',
             '--format=json', '-r', str(CONSTRAINTS), '--no-deps',
             '--disable-pip'],
            capture_output=True, text=True, timeout=ONLINE_SECONDS)
    except subprocess.TimeoutExpired:
        print('the advisory service does not answer: only '
              'tools/advisories.txt was compared')
        return 0
    try:
        answers = json.loads(done.stdout)['dependencies']
    except (ValueError, KeyError, TypeError):
        print('the advisory service cannot be reached: only '
              'tools/advisories.txt was compared')
        return 0
    return tell(answers)


def tell(answers: list) -> int:
    """Print what pip-audit says of each package; 1 where one has a hole.
    What it could not look up it leaves out, and finds nothing: so does a
    mirror that has packages and no advisories."""
    unknown = [one['name'] for one in answers if 'skip_reason' in one]
    found = [(one, hole) for one in answers for hole in one.get('vulns', ())]
    for one, hole in found:
        print('%s %s has %s; from %s on it is mended' % (
            one['name'], one['version'], hole['id'],
            ' or '.join(hole.get('fix_versions', ())) or 'no version'))
    print('the advisory service was asked for %d packages: %d holes' % (
        len(answers) - len(unknown), len(found)))
    if unknown:
        print('it does not know %d others, for which only '
              'tools/advisories.txt was compared: %s' % (
                  len(unknown), ' '.join(unknown)))
    return 1 if found else 0


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--online', action='store_true',
                        help='ask the advisory service, too')
    options = parser.parse_args(arguments)
    known = advisories(ADVISORIES.read_text())
    found = (holes(known, installed(), 'installed') +
             holes(known, pinned(CONSTRAINTS.read_text()), 'constraints'))
    for line in found:
        print(line)
    print('%d advisories compared, %d holes' % (len(known), len(found)))
    code = ask_online() if options.online else 0
    return 1 if found or code else 0


if __name__ == '__main__':
    sys.exit(main())
