"""A process that serves pages, as a test sees it."""

from __future__ import annotations

import http.client
import signal
import subprocess
import sys
from dataclasses import dataclass, field


@dataclass
class LocalServer:
    """The process of `sde-edit ...`, at the port that it had when it is started again."""

    process: subprocess.Popen[str] | None = field(default=None, kw_only=True)
    port: int = field(default=0, kw_only=True)

    def run(self, *words: str) -> None:
        """Start it."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sde_edit", *words, "--port", str(self.port)],
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        """The next line that it prints; waits for it."""
        assert self.process
        assert self.process.stdout
        return self.process.stdout.readline()

    def stop(self, how: signal.Signals = signal.SIGKILL) -> int:
        assert self.process
        self.process.send_signal(how)
        self.process.communicate(timeout=60)
        return self.process.returncode

    def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> int:
        """The status of an answer to a request that no browser would send."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        named = {"host": f"127.0.0.1:{self.port}", "content-length": str(len(body)), **headers}
        for name, value in named.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        status = connection.getresponse().status
        connection.close()
        return status
