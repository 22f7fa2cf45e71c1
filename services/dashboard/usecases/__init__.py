"""What the dashboard itself does: signing in, sessions, accounts and their links. All else is asked of the services."""
