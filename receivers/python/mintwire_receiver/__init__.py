"""Receives Mintwire's webhooks: verify them, parse them, handle each message once.

Signatures follow Standard Webhooks, `v1` (HMAC-SHA256) and `v1a` (ed25519). It makes no network requests.
"""

from mintwire_receiver.messages import Message, parse
from mintwire_receiver.receiver import Receiver
from mintwire_receiver.seen import MemorySeen, Seen, UnderWay
from mintwire_receiver.signatures import Refused

__all__ = ["MemorySeen", "Message", "Receiver", "Refused", "Seen", "UnderWay", "parse"]
