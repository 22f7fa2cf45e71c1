"""Whether a partner buys with its own code: by its id, or by its mailbox in any spelling."""

from services.redemption.domain.purchase import Buyer
from services.redemption.domain.reasons import Fault
from services.redemption.domain.terms import CodeTerms
from shared.mailboxes import mailbox
from shared.modes import shown_id


def is_partner(terms: CodeTerms, buyer: Buyer) -> bool:
    """Whether the buyer is the code's partner."""
    if terms.partner_id is None:
        return False
    if buyer.id is not None and buyer.id.strip().casefold() == shown_id(terms.partner_id):
        return True
    if buyer.email is None or terms.partner_email is None:
        return False
    return mailbox(buyer.email) == mailbox(terms.partner_email)


def fault_of_self_referral(terms: CodeTerms, buyer: Buyer) -> Fault | None:
    """Return why a partner may not buy with its own code, unless the code is only for the partner."""
    if terms.allows_self_referral or terms.restrictions.is_limited_to_partner or not is_partner(terms, buyer):
        return None
    return Fault("self_referral", "The buyer is the code's own partner, which the program does not allow.")


def commission_rate(terms: CodeTerms, buyer: Buyer) -> int | None:
    """Return the partner's share in hundredths of a percent: 0 for its own purchases, if these are not allowed."""
    if terms.partner_id is None or terms.commission_hundredths is None:
        return None
    return terms.commission_hundredths if fault_of_self_referral(terms, buyer) is None else 0
