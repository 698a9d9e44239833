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

"""Backups: what VDIs were at one time, outside of the cluster.

``stream`` is the format of one snapshot, or of what differs between two;
``changes`` finds that. ``source`` is a snapshot that is read, ``landing`` a
VDI that gets the content of one, all or nothing.

``saving`` and ``loading`` are about all VDIs: ``documents`` is the format of
what is kept, ``depot`` the place, ``images`` puts snapshots there and gets
them. The formats are described in doc/source/backup-format.rst.
"""
