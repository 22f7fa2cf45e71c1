"""The use cases that the handlers call, and the key under which the application holds them."""

from dataclasses import dataclass
from typing import Final

from aiohttp import web

from services.codes.usecases.archive_coupon import ArchiveCoupon
from services.codes.usecases.archive_partner import ArchivePartner
from services.codes.usecases.archive_promotion_code import ArchivePromotionCode
from services.codes.usecases.cancel_job import CancelJob
from services.codes.usecases.change_coupon import ChangeCoupon
from services.codes.usecases.change_key import ChangeKey
from services.codes.usecases.change_many_codes import ChangeManyCodes
from services.codes.usecases.change_partner import ChangePartner
from services.codes.usecases.change_program import ChangeProgram
from services.codes.usecases.change_promotion_code import ChangePromotionCode
from services.codes.usecases.create_batch import CreateBatch
from services.codes.usecases.create_coupon import CreateCoupon
from services.codes.usecases.create_key import CreateKey
from services.codes.usecases.create_partner import CreatePartner
from services.codes.usecases.create_program import CreateProgram
from services.codes.usecases.create_promotion_code import CreatePromotionCode
from services.codes.usecases.export_codes import ExportCodes
from services.codes.usecases.generate_code import Mints
from services.codes.usecases.move_quota import MoveQuota
from services.codes.usecases.read_audit_log import ReadAuditLog
from services.codes.usecases.read_codes import ReadCodes
from services.codes.usecases.read_coupons import ReadCoupons
from services.codes.usecases.read_job_errors import ReadJobErrors
from services.codes.usecases.read_jobs import ReadJobs
from services.codes.usecases.read_keys import ReadKeys
from services.codes.usecases.read_ledger import ReadLedger
from services.codes.usecases.read_partners import ReadPartners
from services.codes.usecases.read_programs import ReadPrograms
from services.codes.usecases.read_promotion_codes import ReadPromotionCodes
from services.codes.usecases.redeem_code import RedeemCode
from services.codes.usecases.revoke_key import RevokeKey
from services.codes.usecases.rotate_key import RotateKey
from services.codes.usecases.set_partner_status import SetPartnerStatus
from services.codes.usecases.start_import import StartImport


@dataclass(frozen=True, slots=True, kw_only=True)
class UseCases:
    """Everything that this service does for those who ask over HTTP."""

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
    move_quota: MoveQuota
    read_ledger: ReadLedger
    generate_code: Mints
    read_codes: ReadCodes
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
    read_audit_log: ReadAuditLog


USE_CASES: Final = web.AppKey("use_cases", UseCases)
