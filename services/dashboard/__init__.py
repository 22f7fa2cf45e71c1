"""The pages for partners, merchants and operators.

Owns accounts, their memberships, sessions, links (invitations and resets), the throttle of sign-ins and the activity
of accounts (schema `dashboard`). For everything else it is a client of the three HTTP APIs: it has no key of theirs,
and signs for each request a statement of who acts. It neither consumes nor emits events.
"""
