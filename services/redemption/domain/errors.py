"""The errors of the redemption service.

RedemptionError
└── Missing
"""


class RedemptionError(Exception):
    """Base of the errors of this service."""


class Missing(RedemptionError):
    """There is no such redemption or reservation, or it belongs to another program."""
