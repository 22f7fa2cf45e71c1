"""The clients of the three HTTP APIs: each request states who acts, and has a deadline and one shape of answers."""
