"""The webhooks API under `/v1/webhooks`: parse, call one use case, render."""
