"""A command in a real terminal, in whose foreground it is, and what can be read there."""

import os
import pty
import select
import signal
import subprocess
import sys
import termios

from sweep_tasks import wait_until


class Terminal:
    def __init__(self, *command, cwd, columns=100):
        self.parent, child = pty.openpty()
        termios.tcsetwinsize(child, (24, columns))
        self.process = subprocess.Popen(
            ["setsid", "-c", "-w", *command],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=child,
            stdout=child,
            stderr=child,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        os.close(child)
        self.shown = ""

    def wait_for(self, condition, seconds=120):
        """Reads on meanwhile, as a terminal does: a full one would stop the command."""

        def there():
            self._read()
            return condition()

        wait_until(there, seconds)

    def press_ctrl_c(self):
        os.write(self.parent, b"\x03")

    def end(self, seconds=120):
        """The exit code."""
        self.wait_for(lambda: self.process.poll() is not None, seconds)
        self._read()
        return self.process.returncode

    def _read(self):
        while select.select([self.parent], [], [], 0)[0]:
            try:
                self.shown += os.read(self.parent, 65536).decode()
            except OSError:  # the terminal closes with its last process
                return

    def lines(self):
        """What stands there now."""
        screen = []
        for line in self.shown.replace("\r\n", "\n").split("\n"):
            cells = ""
            for part in line.split("\r"):
                erased = part.startswith("\x1b[K")
                part = part.removeprefix("\x1b[K").replace("^C", "")
                cells = part if erased else part + cells[len(part) :]
            screen.append(cells.rstrip())
        return [line for line in screen if line]
