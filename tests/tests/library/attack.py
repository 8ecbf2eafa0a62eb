"""Attacks the module: hostile arguments, threads, forks. Run by tests/tests/library.rs."""

import os
import threading
import time

from knockd_client import KnockError, Knocker

KEY = "knock2:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
SERVER_KEY = "OWi8OvvoNuFLFfqIRpjks5-RpGPpJ__7drFY2e0KngI"
GOOD = {"key": KEY, "server": "192.0.2.1", "server_key": SERVER_KEY}


def expect(error, call, *arguments, **named):
    try:
        call(*arguments, **named)
    except error as raised:
        assert "AAECAwQF" not in str(raised), raised
        return str(raised)
    raise AssertionError(f"{arguments} {named}")


for wrong in [
    {"invitation": "knock://" + "a" * 10_000_000},
    {"invitation": "knock://laptop@h:1?server=\0"},
    {"server": KEY},
    {"server": "\x1b[2J"},
    {"server_key": KEY},
    {"source_ip": KEY},
    {"key": KEY[:-1]},
    {"udp_port": 0},
    {"base": 65281},
]:
    text = expect(ValueError, Knocker, "ssh", **{**GOOD, **wrong})
    assert text.startswith(next(iter(wrong)) + ": ") and text.isprintable(), text
expect(ValueError, Knocker, "", **GOOD)
expect(ValueError, Knocker, "ssh")
expect(OverflowError, Knocker, "ssh", lease=2**32, **GOOD)
expect(OverflowError, Knocker, "ssh", base=-1, **GOOD)
expect(UnicodeEncodeError, Knocker, "\ud800", **GOOD)
expect(TypeError, Knocker, b"ssh", **GOOD)

knocker = Knocker("ssh", **GOOD)
assert "AAEC" not in repr(knocker) + str(knocker)
for timeout in [-1.0, float("nan"), float("inf"), 1e300]:
    expect(ValueError, knocker.knock, "udp", timeout)
expect(ValueError, knocker.knock, "tcp")
expect(KnockError, Knocker("ssh", lease=100_000, **GOOD).ports)
expect(KnockError, Knocker("ssh", **{**GOOD, "server": "name.invalid"}).knock, "udp", 0.05)

assert len(knocker.datagram()) == 144 and len(knocker.ports()) == 16

# Other threads run while one knocks.
ticks = []
thread = threading.Thread(target=knocker.knock)
thread.start()
while thread.is_alive():
    ticks.append(time.monotonic())
    time.sleep(0.001)
assert len(ticks) > 1, ticks

made = []
threads = [
    threading.Thread(target=lambda: made.extend(tuple(knocker.ports()) for _ in range(16)))
    for _ in range(4)
]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert len(set(made)) == 64, len(set(made))

child = os.fork()
if child == 0:
    os._exit(0 if len(knocker.ports()) == 16 else 1)
assert os.waitpid(child, 0)[1] == 0
