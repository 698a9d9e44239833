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

"""From the facts of all sheep to what the cluster waits for or suffers from.

Pure. ``symptoms`` finds what is wrong; here it is put in order and summed
up, as an exit code and a word.
"""

import typing

from sheepdog.cmd import remedies
from sheepdog.cmd import symptoms
from sheepdog.cmd import words

WELL, DEGRADED, DOWN = 0, 1, 2
"""Exit codes."""

_ORDER = (remedies.DOWN, remedies.DEGRADED, remedies.NOTE)


class Diagnosis(typing.NamedTuple):
    """``serving`` of ``known`` sheep serve; ``leader`` '' for none."""

    findings: list
    serving: int
    known: int
    epoch: int
    leader: str

    @property
    def exit_code(self) -> int:
        if not self.serving:
            return DOWN
        if any(finding.remedy.severity != remedies.NOTE
               for finding in self.findings):
            return DEGRADED
        return WELL

    @property
    def verdict(self) -> str:
        return {WELL: 'well', DEGRADED: 'degraded',
                DOWN: 'not serving'}[self.exit_code]


def unanswered(reason: str) -> Diagnosis:
    """No sheep could be asked."""
    return Diagnosis(
        [symptoms.Finding('no-answer', 'no sheep answers: ' + reason)],
        0, 0, 0, '')


def diagnose(found: list) -> Diagnosis:
    """:param found: see ``symptoms.Facts``"""
    facts = symptoms.Facts(found)
    findings = [finding for rule in symptoms.RULES for finding in rule(facts)]
    findings.sort(key=lambda one: _ORDER.index(one.remedy.severity))
    leaders = [words.address(one['leader']) for one in facts.answers
               if one['leader']]
    return Diagnosis(
        findings, len(facts.serving), len(facts.known),
        facts.newest['view']['epoch'] if facts.newest['view'] else 0,
        max(set(leaders), key=leaders.count) if leaders else '')
