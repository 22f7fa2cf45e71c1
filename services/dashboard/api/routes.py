"""All pages, and the routes of the API beside them."""

from typing import Final

from services.dashboard.api import account, entrance, links, team
from services.dashboard.api.accounts_api import ACCOUNTS
from services.dashboard.api.merchant import coupons as merchant_coupons
from services.dashboard.api.merchant import orders as merchant_orders
from services.dashboard.api.merchant import overview as merchant_overview
from services.dashboard.api.merchant import partners as merchant_partners
from services.dashboard.api.merchant import redemptions as merchant_redemptions
from services.dashboard.api.operator import accounts as operator_accounts
from services.dashboard.api.operator import dead_queues as operator_dead_queues
from services.dashboard.api.operator import overview as operator_overview
from services.dashboard.api.pages import PageRoute
from services.dashboard.api.partner import codes as partner_codes
from services.dashboard.api.partner import deliveries as partner_deliveries
from services.dashboard.api.partner import orders as partner_orders
from services.dashboard.api.partner import overview as partner_overview
from shared.web import Route

ROUTES: Final[tuple[Route, ...]] = tuple(ACCOUNTS.all)
PAGES: Final[tuple[PageRoute, ...]] = (
    *entrance.PAGES.all,
    *links.PAGES.all,
    *account.PAGES.all,
    *team.PAGES.all,
    *partner_overview.PAGES.all,
    *partner_codes.PAGES.all,
    *partner_orders.PAGES.all,
    *partner_deliveries.PAGES.all,
    *merchant_overview.PAGES.all,
    *merchant_orders.PAGES.all,
    *merchant_partners.PAGES.all,
    *merchant_coupons.PAGES.all,
    *merchant_redemptions.PAGES.all,
    *operator_overview.PAGES.all,
    *operator_accounts.PAGES.all,
    *operator_dead_queues.PAGES.all,
)
