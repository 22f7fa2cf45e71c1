"""JSON that we store: the request and the position of a job, the changes in the audit log.

Readers check it again before they use it.
"""

from collections.abc import Mapping
from typing import Any

Document = Mapping[str, Any]
