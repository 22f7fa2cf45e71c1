"""The use cases that the handlers call, and the key under which the application holds them."""

from dataclasses import dataclass
from typing import Final

from aiohttp import web

from services.codes.usecases.batches import CreateBatch
from services.codes.usecases.change_many_codes import ChangeManyCodes
from services.codes.usecases.code_orders import DecideCodeOrder, PlaceCodeOrder, ReadCodeOrders
from services.codes.usecases.coupons import ArchiveCoupon, ChangeCoupon, CreateCoupon, ReadCoupons
from services.codes.usecases.export_codes import ExportCodes
from services.codes.usecases.generate_code import Mints
from services.codes.usecases.jobs import CancelJob, ReadJobErrors, ReadJobs
from services.codes.usecases.keys import AdmitAccount, ChangeKey, CreateKey, ReadKeys, RevokeKey, RotateKey
from services.codes.usecases.partners import (
    ArchivePartner,
    ChangePartner,
    CreatePartner,
    ReadPartners,
    SetPartnerStatus,
)
from services.codes.usecases.programs import ChangeProgram, CreateProgram, ReadPrograms
from services.codes.usecases.promotion_codes import ArchivePromotionCode, ChangePromotionCode, CreatePromotionCode
from services.codes.usecases.quota import MoveQuota, ReadLedger
from services.codes.usecases.read_audit_log import ReadAuditLog
from services.codes.usecases.read_codes import ReadCodes
from services.codes.usecases.read_profile import ReadProfile
from services.codes.usecases.read_promotion_codes import ReadPromotionCodes
from services.codes.usecases.read_stats import ReadStats
from services.codes.usecases.redeem_code import RedeemCode
from services.codes.usecases.start_import import StartImport


@dataclass(frozen=True, slots=True, kw_only=True)
class UseCases:
    """Everything that this service does over HTTP."""

    create_program: CreateProgram
    read_programs: ReadPrograms
    change_program: ChangeProgram
    create_partner: CreatePartner
    read_partners: ReadPartners
    change_partner: ChangePartner
    set_partner_status: SetPartnerStatus
    create_key: CreateKey
    read_keys: ReadKeys
    change_key: ChangeKey
    rotate_key: RotateKey
    revoke_key: RevokeKey
    admit_account: AdmitAccount
    move_quota: MoveQuota
    read_ledger: ReadLedger
    place_code_order: PlaceCodeOrder
    decide_code_order: DecideCodeOrder
    read_code_orders: ReadCodeOrders
    generate_code: Mints
    read_codes: ReadCodes
    read_profile: ReadProfile
    create_batch: CreateBatch
    read_jobs: ReadJobs
    read_job_errors: ReadJobErrors
    cancel_job: CancelJob
    export_codes: ExportCodes
    start_import: StartImport
    change_many_codes: ChangeManyCodes
    redeem_code: RedeemCode
    archive_partner: ArchivePartner
    create_coupon: CreateCoupon
    read_coupons: ReadCoupons
    change_coupon: ChangeCoupon
    archive_coupon: ArchiveCoupon
    create_promotion_code: CreatePromotionCode
    read_promotion_codes: ReadPromotionCodes
    change_promotion_code: ChangePromotionCode
    archive_promotion_code: ArchivePromotionCode
    read_stats: ReadStats
    read_audit_log: ReadAuditLog


USE_CASES: Final = web.AppKey("use_cases", UseCases)
