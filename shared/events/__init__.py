"""The events that the services exchange: CloudEvents 1.0, one model per type and version; published ones are frozen."""
