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

"""What can be wrong with a backup."""

from sheepdog.model import errors


class BackupError(errors.SheepdogError):
    """Of no use, or not here."""

    exit_code = 1


class Damaged(BackupError):
    """It is not what was written: changed, cut off, or out of order."""


class WrongBase(BackupError):
    """What it is a difference to is not what the VDI holds."""


class Unfinished(BackupError):
    """A restore was interrupted there, or is under way."""


class NotThere(BackupError):
    """There is no such backup."""

    exit_code = 5


class Exists(BackupError):
    """There is one of that name already."""

    exit_code = 3
