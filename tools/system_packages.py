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

"""Install the system packages of bindep.txt that are missing."""

import os
import shutil
import subprocess
import sys

BINDEP = os.path.join(os.path.dirname(sys.executable), 'bindep')

# Another one may be at work, as on a machine that has just started; and a
# mirror may fail once.
PATIENCE = ('-o', 'DPkg::Lock::Timeout=300', '-o', 'Acquire::Retries=5')


def missing(profiles, bindep=BINDEP):
    """Names of the packages that bindep.txt asks for and dpkg lacks."""
    done = subprocess.run([bindep, '--brief', *profiles],
                          capture_output=True, text=True)
    # 1 with names on standard output is bindep's word for "some missing"; 1
    # without is an error, and is explained on either.
    if done.returncode == 0:
        return []
    names = done.stdout.split()
    if done.returncode != 1 or not names or done.stderr.strip():
        raise RuntimeError('bindep failed: %s%s'
                           % (done.stdout, done.stderr))
    return names


def apt_prefix():
    """What to put before apt-get, or None if this user may not install."""
    if os.geteuid() == 0:
        return []
    if shutil.which('sudo') and subprocess.run(
            ['sudo', '-n', 'true'], stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL).returncode == 0:
        return ['sudo', '-n', 'DEBIAN_FRONTEND=noninteractive']
    return None


def install(names):
    """Install packages; False (and a message) if that cannot be done."""
    line = 'apt-get update && apt-get install -y ' + ' '.join(names)
    prefix = apt_prefix()
    if prefix is None or not shutil.which('apt-get'):
        print('The tests need packages that are not installed, and this '
              'user may not install them. Run as root:\n\n    %s\n\n'
              '`make unit sim` needs none of them.' % line, file=sys.stderr)
        return False
    print('Installing: ' + ' '.join(names), flush=True)
    environment = dict(os.environ, DEBIAN_FRONTEND='noninteractive')
    for command in (['apt-get', *PATIENCE, 'update', '-qq'],
                    ['apt-get', *PATIENCE, 'install', '-y', '-qq',
                     '--no-install-recommends', *names]):
        done = subprocess.run(prefix + command, env=environment,
                              stdin=subprocess.DEVNULL)
        if done.returncode:
            print('%s failed' % ' '.join(command), file=sys.stderr)
            return False
    return True


def main():
    if not shutil.which('dpkg'):
        print('Not a Debian system: see bindep.txt for what the tests need',
              file=sys.stderr)
        return 0
    names = missing(['compile', 'test'])
    return 0 if not names or install(names) else 1


if __name__ == '__main__':
    sys.exit(main())
