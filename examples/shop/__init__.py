"""Aurora Cards, a demo shop: checks codes, holds them while the customer pays, and publishes `checkout.completed`.

It stands on aiohttp, aio-pika and jinja2 alone and imports nothing of Mintwire, so the folder can be copied as it is.
"""
