"""The faults that a database or broker adapter reports upward, independent of the driver.

Exception
└── TransientFault    try the same work again later; it may be fine
"""


class TransientFault(Exception):
    """The database or the broker is away or asked for a retry (lost connection, deadlock, no free connection)."""

    is_outage = False
    """Whether the server as a whole is failing: another try costs it nothing, and should come soon."""
