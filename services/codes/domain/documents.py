"""JSON that we keep: what a job was asked for and where it stands, what an entry of the audit log says.

Whoever reads one back checks it; none becomes members of ours unread.
"""

from collections.abc import Mapping
from typing import Any

Document = Mapping[str, Any]
