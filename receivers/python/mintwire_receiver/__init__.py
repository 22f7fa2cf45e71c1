"""For those who receive Mintwire's webhooks: verify them, parse them, handle each message once.

Signatures are those of Standard Webhooks, `v1` (HMAC-SHA256) and `v1a` (ed25519). Nothing here talks to a network.
"""

from mintwire_receiver.messages import Message, parse
from mintwire_receiver.receiver import Receiver
from mintwire_receiver.seen import MemorySeen, Seen, UnderWay
from mintwire_receiver.signatures import Refused

__all__ = ["MemorySeen", "Message", "Receiver", "Refused", "Seen", "UnderWay", "parse"]
