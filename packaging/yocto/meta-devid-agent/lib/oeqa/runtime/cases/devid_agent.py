# SPDX-License-Identifier: Apache-2.0
#
# The agent on the device, before anybody has configured it: TEST_SUITES += "devid_agent"

import json

from oeqa.core.decorator.depends import OETestDepends
from oeqa.runtime.case import OERuntimeTestCase
from oeqa.runtime.decorator.package import OEHasPackage


class DevidAgentTest(OERuntimeTestCase):
    def run_ok(self, command):
        status, output = self.target.run(command)
        self.assertEqual(status, 0, msg="%s: %s" % (command, output))
        return output

    @OETestDepends(["ssh.SSHTest.test_ssh"])
    @OEHasPackage(["devid-agent"])
    def test_program_runs(self):
        version = json.loads(self.run_ok("devid-agent version --json"))
        self.assertTrue(version["version"], msg=version)

    @OETestDepends(["devid_agent.DevidAgentTest.test_program_runs"])
    def test_state_belongs_to_the_agent_with_our_number(self):
        uid = self.td.get("DEVID_UID") or "713"
        self.assertEqual(self.run_ok("id -u devid-agent").strip(), uid)
        self.assertEqual(self.run_ok("stat -c '%u %a' /var/lib/devid-agent").strip(), uid + " 700")

    @OETestDepends(["devid_agent.DevidAgentTest.test_program_runs"])
    def test_unconfigured_agent_says_what_is_missing(self):
        status, output = self.target.run("devid-agent config check")
        self.assertEqual(status, 78, msg=output)
        self.assertIn("device.id", output)

    @OETestDepends(["devid_agent.DevidAgentTest.test_program_runs"])
    def test_state_survives_a_reboot(self):
        where = self.run_ok("stat -f -c %T /var/lib/devid-agent").strip()
        self.assertNotIn(where, ("tmpfs", "ramfs"), msg="the next boot forgets the identity")

    @OETestDepends(["devid_agent.DevidAgentTest.test_program_runs"])
    def test_nothing_of_one_device_is_in_the_image(self):
        found = self.run_ok("grep -rlE '^-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----$' /etc/devid-agent /usr/share /usr/lib/devid-agent 2>/dev/null || true")
        self.assertEqual(found.strip(), "")
