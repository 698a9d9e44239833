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

"""Make a virtual environment with Sheepdog in it, or bring it up to date.

Runs with the system's Python, before anything is installed. Four ways to
make the environment are tried, since Debian keeps ``venv`` in a package of
its own: ``venv``; ``virtualenv``; ``venv`` without pip, filled by the
system's pip; and, for root only, installing the package.
"""

import argparse
import os
import shutil
import subprocess
import sys

MINIMUM = (3, 11)
TRIED = ('python3.11', 'python3.12', 'python3.13', 'python3.14')

NO_VENV = """\
{python} cannot make virtual environments here: its venv module is not
complete, and neither virtualenv nor pip is installed. On Debian and Ubuntu:

    sudo apt-get install python3-venv
"""


def newer_python():
    """The path of a Python that is new enough, or None."""
    for name in TRIED:
        path = shutil.which(name)
        if path:
            return path
    return None


def quietly(*command):
    """True if the command ran and succeeded."""
    try:
        done = subprocess.run(command, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    except OSError:
        return False
    return done.returncode == 0


def has_pip(directory):
    return quietly(os.path.join(directory, 'bin', 'python'), '-m', 'pip',
                   '--version')


def with_venv(directory):
    return quietly(sys.executable, '-m', 'venv', directory)


def with_virtualenv(directory):
    return quietly(sys.executable, '-m', 'virtualenv', directory)


def with_system_pip(directory):
    python = os.path.join(directory, 'bin', 'python')
    return (quietly(sys.executable, '-m', 'venv', '--without-pip', directory)
            and quietly(sys.executable, '-m', 'pip', '--python', python,
                        'install', 'pip'))


def with_apt(directory):
    if os.geteuid() != 0 or not shutil.which('apt-get'):
        return False
    print('Installing python3-venv with apt-get', flush=True)
    environment = dict(os.environ, DEBIAN_FRONTEND='noninteractive')
    for command in (['apt-get', 'update', '-qq'],
                    ['apt-get', 'install', '-y', '-qq', 'python3-venv']):
        if subprocess.run(command, env=environment).returncode:
            return False
    return with_venv(directory)


def make(directory):
    """Make the environment unless it is there; say whether it is usable."""
    if has_pip(directory):
        return True
    if (os.path.exists(directory)
            and not os.path.exists(os.path.join(directory, 'pyvenv.cfg'))):
        sys.exit('%s is there and is no virtual environment' % directory)
    for way in (with_venv, with_virtualenv, with_system_pip, with_apt):
        # What a failed way left behind must not mislead the next one.
        shutil.rmtree(directory, ignore_errors=True)
        if way(directory) and has_pip(directory):
            return True
    shutil.rmtree(directory, ignore_errors=True)
    return False


def install(directory, requirements, constraints):
    """Install this tree, editable, and requirement files; exit code."""
    command = [os.path.join(directory, 'bin', 'python'), '-m', 'pip',
               'install', '--disable-pip-version-check']
    if constraints:
        command += ['--constraint', constraints]
    for name in requirements:
        command += ['--requirement', name]
    # pip talks at length even when asked to be quiet: shown if it fails.
    done = subprocess.run(command + ['--editable', '.'], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        sys.stderr.write(done.stdout)
    return done.returncode


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('directory', help='the environment to make')
    parser.add_argument('-r', dest='requirements', action='append',
                        default=[], help='also install this file')
    parser.add_argument('-c', dest='constraints', default='',
                        help='versions to install')
    arguments = parser.parse_args()
    if sys.version_info < MINIMUM:
        python = newer_python()
        if python is None:
            sys.exit('Sheepdog needs Python %d.%d or later; this is %s. '
                     'Name another with make PYTHON=…'
                     % (MINIMUM + (sys.version.split()[0],)))
        os.execv(python, [python] + sys.argv)  # nosec B606
    if not make(arguments.directory):
        sys.exit(NO_VENV.format(python=sys.executable))
    return install(arguments.directory, arguments.requirements,
                   arguments.constraints)


if __name__ == '__main__':
    sys.exit(main())
