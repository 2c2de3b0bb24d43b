from mlops.tenancy.models.base import TenantManager, TenantModel, TenantQuerySet
from mlops.tenancy.models.keys import ApiKey
from mlops.tenancy.models.logins import LoginRecord
from mlops.tenancy.models.people import Customer, Membership, User

__all__ = ["ApiKey", "Customer", "LoginRecord", "Membership", "TenantManager", "TenantModel", "TenantQuerySet", "User"]
