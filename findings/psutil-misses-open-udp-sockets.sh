#!/usr/bin/env bash
# psutil 7.0.0 on Linux: net_connections leaves out a UDP socket that is open all the time.
#
# A good guess is that psutil.net_connections(kind="udp4") lists every UDP socket that exists from
# before the call until after it. It reads /proc/net/udp, which the kernel writes a page at a time;
# between two pages it finds its place again by counting. While other processes open and close
# sockets, the count no longer fits, and a socket that was there all the time is missing from some
# answers. Whoever takes one answer for the state of a host (a monitor, a test that looks whether a
# port is taken, a reader of the column of drops) must look again before it believes an absence.
# The kernel's socket diagnosis over netlink is another way to ask; it was not tried here.
#
# Seen (psutil 7.0.0, Linux 6.18): "an open socket was missing from 167 of 1000 answers", other
# counts in other runs. Fails if it is in all of 5,000.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv" 2> /dev/null || { echo "python3 with venv is missing" >&2; exit 2; }
"$dir/venv/bin/pip" install -q --disable-pip-version-check psutil==7.0.0
cat > "$dir/look.py" <<'PY'
import socket
import subprocess
import sys

import psutil

OTHERS = """
import socket
while True:
    some = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(60)]
    for one in some:
        one.bind(("127.0.0.1", 0))
    for one in some:
        one.close()
"""


def bound():
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind(("127.0.0.1", 0))
    return one


# A list of several pages.
open_all_the_time = [bound() for _ in range(100)]
port = open_all_the_time[0].getsockname()[1]
others = [subprocess.Popen([sys.executable, "-c", OTHERS]) for _ in range(2)]
missing = looks = 0
try:
    while looks < 1000 or (missing == 0 and looks < 5000):
        every = psutil.net_connections(kind="udp4")
        listed = {entry.laddr.port for entry in every if entry.laddr}
        missing += port not in listed
        looks += 1
finally:
    for other in others:
        other.kill()
        other.wait()
print(f"an open socket was missing from {missing} of {looks} answers")
sys.exit(0 if missing else 1)
PY
"$dir/venv/bin/python" "$dir/look.py"
