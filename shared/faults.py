"""The faults that a database or broker adapter reports upward, free of any driver.

Exception
└── TransientFault    try the same work again later; nothing is known to be wrong with it
"""


class TransientFault(Exception):
    """The database or the broker is away or asked for a retry (lost connection, deadlock, no connection free)."""

    is_outage = False
    """Whether a server as a whole does not do its work: another try costs it nothing, and should not wait for long."""
