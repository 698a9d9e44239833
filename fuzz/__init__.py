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

"""Fuzzers: whatever bytes come in, a parser takes them or says what is wrong.

A *target* is one parser: a function of bytes and the errors that it may
raise. Anything else that happens (another exception, a hang, a giant
allocation) is a bug. ``registry`` has the targets, one module per room;
``corpus/TARGET/`` has inputs worth keeping: seeds made from real messages by
``python -m fuzz --write-seeds``, and ``found-…`` for each bug there was.

    python -m fuzz                          corpus and some mutants of all
    python -m fuzz --seconds 600            longer, by coverage (atheris)
    python -m fuzz --target peer-frames FILE…       only these inputs
"""
