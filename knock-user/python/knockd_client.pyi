"""Knocks on servers that run knockd."""

from typing import Literal, Optional, final

class KnockError(Exception):
    """The knock was not made or not sent. The message says why, and contains no secret."""

@final
class Knocker:
    """A client that is ready to knock on one door of one server. All threads can use it at once."""

    def __new__(
        cls,
        door: str,
        *,
        invitation: Optional[str] = None,
        key: Optional[str] = None,
        server: Optional[str] = None,
        server_key: Optional[str] = None,
        base: Optional[int] = None,
        udp_port: Optional[int] = None,
        source_ip: Optional[str] = None,
        lease: int = 0,
    ) -> Knocker:
        """Takes an invitation, or else `key`, `server` and `server_key`.

        One of them that is given takes precedence over the same part of the invitation. `lease` is in
        seconds: 0 leaves it to the door, 2**32 - 1 closes the door. Raises ValueError with the name of
        the argument that is wrong.
        """

    def knock(
        self, transport: Literal["syn", "udp", "both"] = "syn", timeout: float = 10.0
    ) -> list[str]:
        """Knocks once on each address of the server, and returns them.

        A knock is never answered: try the door then. `timeout` is the time for the server's name, in
        seconds. Other threads run meanwhile. Raises KnockError if nothing was sent.
        """

    def ports(self) -> list[int]:
        """The 16 ports of a fresh SYN knock. A SYN has to be sent to each, in this order."""

    def datagram(self) -> bytes:
        """The 144 bytes of a fresh datagram knock, for the server's UDP port."""
