"""Every metric of the services, declared once with its meaning; asking for another name does not type-check."""

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, Counter, Gauge, Histogram, generate_latest

_LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)
_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86_400.0
# From what goes out at once to what is given up after four days.
_WAY = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, _MINUTE, 5 * _MINUTE, 15 * _MINUTE),
    *(_HOUR, 4 * _HOUR, 12 * _HOUR, _DAY, 2 * _DAY, 4 * _DAY),
)

HTTP_REQUESTS = Counter(
    "mintwire_http_requests_total",
    "Requests answered, by route template and status.",
    ["method", "route", "status"],
)
HTTP_SECONDS = Histogram(
    "mintwire_http_request_seconds", "Time from request to answer, in seconds.", ["route"], buckets=_LATENCY
)
LOOP_LAG_SECONDS = Gauge("mintwire_loop_lag_seconds", "How late the event loop runs its timers, in seconds.")
MAINTENANCE_FAILURES = Counter("mintwire_maintenance_failures_total", "Failed runs of periodic tasks.", ["task"])
ROWS_REMOVED = Counter("mintwire_rows_removed_total", "Rows removed because they were old, by table.", ["table"])

DATABASE_FAULTS = Counter(
    "mintwire_database_faults_total", "Statements that the database could not run, by kind of fault.", ["kind"]
)
DATABASE_FAILING = Gauge(
    "mintwire_database_failing", "Pools of this process whose database fails as a whole, by kind of fault.", ["kind"]
)
SECRETS_UNREADABLE = Gauge(
    "mintwire_secrets_unreadable",
    "Secrets in use that no configured key opens: endpoints by secret (signing_key, auth), kept answers.",
    ["secret"],
)

EVENTS_PUBLISHED = Counter("mintwire_events_published_total", "Events confirmed by the broker.")
PUBLISHER_BLOCKED = Gauge(
    "mintwire_publisher_blocked",
    "1 while the broker, in a memory or disk alarm, accepts nothing for this exchange.",
    ["exchange"],
)
EVENTS_UNCONFIRMED = Counter(
    "mintwire_events_unconfirmed_total", "Publishes without a confirm, by outcome.", ["outcome"]
)
OUTBOX_SWEPT = Counter("mintwire_outbox_swept_total", "Events that the sweeper found unpublished and took over.")
OUTBOX_WAITING = Gauge("mintwire_outbox_waiting", "Events handed over in this process and not yet confirmed.")
OUTBOX_OLDEST_SECONDS = Gauge(
    "mintwire_outbox_oldest_seconds", "Age of the oldest event handed over and not yet confirmed, in seconds."
)

MESSAGES_CONSUMED = Counter(
    "mintwire_messages_consumed_total", "Messages settled, by queue and outcome.", ["queue", "outcome"]
)
CONSUMER_BATCH = Histogram(
    "mintwire_consumer_batch_messages",
    "Messages per batch.",
    ["queue"],
    buckets=(1, 2, 5, 10, 25, 50, 100, 250, 500),
)
CONSUMER_SECONDS = Histogram(
    "mintwire_consumer_batch_seconds", "Time to handle one batch, in seconds.", ["queue"], buckets=_LATENCY
)
CONSUMER_RECONNECTS = Counter("mintwire_consumer_reconnects_total", "Times a consumer had to reconnect.", ["queue"])
CONSUMER_PAUSES = Counter("mintwire_consumer_pauses_total", "Pauses because of a transient fault.", ["queue"])

BROKER_DEAD_MESSAGES = Gauge(
    "mintwire_broker_dead_messages",
    "Messages in the dead queue that the broker itself moved there, by its reason; the same in every replica.",
    ["queue", "reason"],
)

OUTBOX_REFUSED = Counter(
    "mintwire_outbox_refused_total",
    "Events that the broker refused, because a queue is full or none accepts them; they wait in the outbox.",
)
DEAD_LETTERS_MOVED = Counter(
    "mintwire_dead_letters_moved_total", "Dead letters moved to the database because their queue was full.", ["queue"]
)
DEAD_LETTERS_KEPT = Gauge(
    "mintwire_dead_letters_kept",
    "Dead letters in the database because their queue has no room for them; counted up to 10,000.",
    ["queue"],
)

CODES_MINTED = Counter("mintwire_codes_minted_total", "Codes minted for partners.")
MINTS_REFUSED = Counter("mintwire_mints_refused_total", "Mints refused, by reason.", ["reason"])
MINT_GROUP = Histogram(
    "mintwire_mint_group_requests",
    "Mints decided in one transaction.",
    buckets=(1, 2, 5, 10, 25, 50, 100, 250, 500),
)

JOB_ITEMS = Counter("mintwire_job_items_total", "Codes or lines that jobs worked through, by kind of job.", ["kind"])

REDEMPTIONS = Counter("mintwire_redemptions_total", "Codes redeemed.")
REDEMPTIONS_VOIDED = Counter(
    "mintwire_redemptions_voided_total", "Redemptions voided, by whether the use is free again.", ["is_released"]
)
RESERVATIONS = Counter("mintwire_reservations_total", "Reservations created or extended.")
CHECKOUT_GROUP = Histogram(
    "mintwire_checkout_group_requests",
    "Checkout requests decided in one transaction.",
    buckets=(1, 2, 5, 10, 25, 50, 100, 250, 500),
)
VALIDATION_GROUP = Histogram(
    "mintwire_validation_group_requests",
    "Validations answered by the same statements.",
    buckets=(1, 2, 5, 10, 25, 50, 100, 250, 500),
)
MESSAGE_GROUP = Histogram(
    "mintwire_message_group_requests",
    "Messages of programs published in one transaction.",
    buckets=(1, 2, 5, 10, 25, 50, 100, 250, 500),
)
GUESSES_REFUSED = Counter(
    "mintwire_guesses_refused_total", "Validations with publishable keys refused unseen because too many had failed."
)
REDEMPTIONS_REJECTED = Counter("mintwire_redemptions_rejected_total", "Codes refused, by reason.", ["reason"])

WEBHOOK_ATTEMPTS = Counter(
    "mintwire_webhook_attempts_total",
    "Attempts, by class of the answer, or error code if there was none, and by trigger.",
    ["answer", "trigger"],
)
WEBHOOK_SECONDS = Histogram(
    "mintwire_webhook_attempt_seconds", "Duration of one attempt, in seconds.", buckets=_LATENCY
)
WEBHOOK_DELIVERY_SECONDS = Histogram(
    "mintwire_webhook_delivery_seconds",
    "Time from the event to the 2xx that ended its automatic delivery, in seconds, by first or later try.",
    ["tries"],
    buckets=_WAY,
)
WEBHOOKS_IN_FLIGHT = Gauge("mintwire_webhooks_in_flight", "Attempts in flight in this process.")
WEBHOOKS_HELD = Gauge("mintwire_webhooks_held", "Deliveries leased to this process and not yet sent.")
WEBHOOKS_UNWRITTEN = Gauge("mintwire_webhooks_unwritten", "Attempts made by this process and not yet written.")
WEBHOOKS_DUE = Gauge("mintwire_webhooks_due", "Deliveries that are due and not leased; counted up to 10,000.")
WEBHOOKS_DEAD = Counter("mintwire_webhooks_dead_total", "Deliveries that became dead letters.")
WEBHOOKS_OLDEST_DUE_SECONDS = Gauge(
    "mintwire_webhooks_oldest_due_seconds",
    "How long the oldest due delivery has been due, in seconds.",
)
WEBHOOK_BREAKER_TRIPS = Counter(
    "mintwire_webhook_breaker_trips_total", "Times a breaker opened because attempts kept failing."
)
WEBHOOK_ENDPOINTS_DISABLED = Counter(
    "mintwire_webhook_endpoints_disabled_total",
    "Endpoints disabled because of their attempts' results, by reason.",
    ["reason"],
)
WEBHOOKS_FENCED = Counter(
    "mintwire_webhooks_fenced_total", "Results refused because another process had taken over the delivery."
)
WEBHOOK_ENDPOINTS = Gauge(
    "mintwire_webhook_endpoints", "Endpoints by state: active, resting, paused, disabled.", ["state"]
)
WEBHOOK_BREAKERS = Gauge(
    "mintwire_webhook_breakers", "Endpoints by their breaker: closed, open, half_open.", ["breaker"]
)
WEBHOOK_PAUSES = Gauge(
    "mintwire_webhook_pauses",
    "Endpoints that nothing is sent to, by reason: owner, secret_unreadable, breaker, retry_after, disabled_….",
    ["reason"],
)
WEBHOOK_CERTIFICATES = Gauge(
    "mintwire_webhook_certificates",
    "Endpoints whose client certificate has expired or expires soon: expired, 1_day, 7_days, 30_days.",
    ["within"],
)
WEBHOOKS_RESTATED = Counter(
    "mintwire_webhooks_restated_total", "Stored bodies rewritten because they showed partners too much."
)


def render() -> tuple[bytes, str]:
    """Return the metrics in Prometheus' text format, and its content type."""
    return generate_latest(REGISTRY), CONTENT_TYPE_LATEST
