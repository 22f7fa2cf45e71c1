"""The pure rules of the dashboard: who may do what, and how things are worded and drawn."""
