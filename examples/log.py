"""Writes lines into the log from Python: many at once, through `client --json`.

    python3 examples/log.py --config_path configs/three.txt

The options are those of the client; `--client PROGRAM` says where that is.
"""

import json
import subprocess
import sys
import threading
from concurrent.futures import Future


class Unknown(Exception):
    """The line may or may not be in the log, now or later."""


class Log:
    """A log that is written through a client process of its own."""

    def __init__(self, *options, client="target/release/client"):
        command = [client, "--json", *options]
        pipe = subprocess.PIPE
        self._client = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        self._waiting = {}
        self._requests = 0
        self._lock = threading.Lock()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def submit(self, line):
        """Writes a line. The result is the slot in which it stands.

        Lines that are under way together come into the log in any order. To have one below
        another, wait for that one's result first.
        """
        future = Future()
        with self._lock:
            self._requests += 1
            self._waiting[self._requests] = future
            request = {"id": self._requests, "line": line}
            self._client.stdin.write(json.dumps(request) + "\n")
            self._client.stdin.flush()
        return future

    def _read(self):
        for text in self._client.stdout:
            answer = json.loads(text)
            with self._lock:
                future = self._waiting.pop(answer["id"])
            if "slot" in answer:
                future.set_result(answer["slot"])
            elif "unknown" in answer:
                future.set_exception(Unknown(answer["unknown"]))
            else:
                future.set_exception(ValueError(answer["error"]))
        # The client has ended, and it answers every request that it has read.
        with self._lock:
            for future in self._waiting.values():
                future.set_exception(Unknown("the client has ended"))
            self._waiting.clear()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._client.stdin.close()
        self._reader.join()
        self._client.wait()


def main(options):
    client = "target/release/client"
    if "--client" in options:
        at = options.index("--client")
        client = options[at + 1]
        del options[at : at + 2]
    with Log(*options, client=client) as log:
        lines = [log.submit(f"line {number} of 101") for number in range(1, 101)]
        slots = sorted(line.result() for line in lines)
        print(f"{len(slots)} lines stand in slots {slots[0]} to {slots[-1]}")
        last = log.submit("the last of 101").result()
        assert last > slots[-1], "a line stands below all that were complete before it was sent"
        print(f"and one more in slot {last}")


if __name__ == "__main__":
    main(sys.argv[1:])
